"""How far drawn pictures are from real ones, in the features of a classifier: FID and KID.

Published numbers are in the features of one Inception network; ours are in those of a classifier trained
here. They rank samplers by the same classifier and the same real pictures, and compare with nothing else.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bottega.data.pictures import Pictures
from bottega.errors import InputError
from bottega.models.abilities import EmbedsPictures, SamplesPictures

Features = NDArray[np.float64]

SUBSETS, SUBSET_SIZE = 50, 1000  # for KID


def fid(real: ArrayLike, drawn: ArrayLike) -> float:
    """The Fréchet distance of the Gaussians with the sets' means and covariances (Heusel et al. 2017, eq. 6).

        ‖μ₁ - μ₂‖² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½)

    Features are (pictures, width) and finite. It is biased: fewer pictures give a larger distance, so that
    only those of as many pictures compare. Raises InputError for less than two of either, or another width.
    """
    first, second = _checked(real, drawn, 2)
    (mean1, covariance1), (mean2, covariance2) = _moments(first), _moments(second)
    return frechet_distance(mean1, covariance1, mean2, covariance2)


def frechet_distance(mean1: Features, covariance1: Features, mean2: Features, covariance2: Features) -> float:
    """The squared Fréchet distance (Wasserstein-2) of two Gaussians, in closed form (Dowson & Landau 1982).

    (Σ₁Σ₂)^½ has the eigenvalues of the symmetric (Σ₁^½ Σ₂ Σ₁^½)^½, which stays real however near to
    singular the covariances are.
    """
    values, vectors = np.linalg.eigh(covariance1)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    common = np.sqrt(np.linalg.eigvalsh(root @ covariance2 @ root).clip(min=0)).sum()
    between = ((mean1 - mean2) ** 2).sum() + np.trace(covariance1) + np.trace(covariance2) - 2 * common
    return max(0.0, float(between))


def kid(real: ArrayLike, drawn: ArrayLike) -> float:
    """The kernel distance, unbiased at any number of pictures; `kid_and_error` says how."""
    return kid_and_error(real, drawn)[0]


def kid_and_error(
    real: ArrayLike, drawn: ArrayLike, subsets: int = SUBSETS, size: int = SUBSET_SIZE, seed: int = 0
) -> tuple[float, float]:
    """The squared maximum mean discrepancy with the kernel (x·y / width + 1)³ (Bińkowski et al. 2018).

    Its unbiased estimate, which may be below 0, on so many subsets of `size` pictures of each set, at most
    half of it: their mean and its standard error. Features are (pictures, width) and finite. Raises
    InputError for less than four of either, or another width.
    """
    first, second = _checked(real, drawn, 4)
    if subsets < 2 or size < 2:
        raise InputError(f"{subsets} subsets of {size} pictures; expected 2 or more of 2 or more")
    size = min(size, len(first) // 2, len(second) // 2)
    rng = np.random.default_rng(seed)
    estimates = [
        unbiased_mmd(rng.permutation(first)[:size], rng.permutation(second)[:size]) for _ in range(subsets)
    ]
    return float(np.mean(estimates)), float(np.std(estimates, ddof=1) / math.sqrt(subsets))


def unbiased_mmd(first: Features, second: Features) -> float:
    """Gretton et al. 2012, eq. 3: pairs of one set leave out those of a picture with itself."""
    m, n = len(first), len(second)

    def kernel(x: Features, y: Features) -> Features:
        found: Features = (x @ y.T / x.shape[1] + 1) ** 3
        return found

    of_first, of_second = kernel(first, first), kernel(second, second)
    within = (of_first.sum() - np.trace(of_first)) / (m * (m - 1))
    within += (of_second.sum() - np.trace(of_second)) / (n * (n - 1))
    return float(within - 2 * kernel(first, second).mean())


def evaluate_samples(
    model: SamplesPictures, pictures: Pictures, classifier: EmbedsPictures, n: int, seed: int = 0
) -> dict[str, float]:
    """Measure `n` pictures that the model draws against as many of `pictures`, the first ones.

    Returns `fid`, `kid` and its `kid_error`, and `drawn`, how many were compared. Raises InputError where the
    model, the pictures and the classifier are not of one shape, or there are too few pictures.
    """
    import torch

    shapes = {"the model draws": model.picture_shape, "the classifier sees": classifier.picture_shape}
    for whose, shape in shapes.items():
        if tuple(shape) != pictures.shape:
            raise InputError(
                f"{whose} pictures of {tuple(shape)} (channels, height, width), but the real ones are of "
                f"{pictures.shape}; compare what was trained on the same pictures"
            )
    n = min(n, len(pictures))
    real = classifier.embed(torch.from_numpy(pictures.floats(slice(n)))).numpy(force=True)
    drawn = classifier.embed(model.sample(n, seed).float().cpu()).numpy(force=True)
    value, error = kid_and_error(real, drawn)
    return {"fid": fid(real, drawn), "kid": value, "kid_error": error, "drawn": n}


def _checked(real: ArrayLike, drawn: ArrayLike, least: int) -> tuple[Features, Features]:
    sets = np.asarray(real, np.float64), np.asarray(drawn, np.float64)
    for name, features in zip(("real", "drawn"), sets, strict=True):
        if features.ndim != 2 or len(features) < least:
            raise InputError(
                f"features of the {name} pictures are of shape {features.shape}; expected (pictures, width) "
                f"with {least} pictures or more"
            )
        if not np.isfinite(features).all():
            raise InputError(f"features of the {name} pictures hold NaN or infinity; look at what draws them")
    if sets[0].shape[1] != sets[1].shape[1]:
        raise InputError(
            f"features of {sets[0].shape[1]} and {sets[1].shape[1]} numbers; "
            "embed both sets by one classifier"
        )
    return sets


def _moments(features: Features) -> tuple[Features, Features]:
    return features.mean(0), np.atleast_2d(np.cov(features, rowvar=False))
