"""A mixture of Gaussians over pictures, fitted by expectation–maximisation (Dempster, Laird and Rubin 1977).

    z = Wᵀ (x − μ),    p(z) = Σ_k π_k N(z; m_k, Σ_k),    p(x) = p(z) · N(x − μ − W z; 0, σ² I)

A picture of 28 × 28 pixels would need covariances of 784 × 784 numbers, more than there are pictures to learn
them from, and pixels that are always black make them singular. So the mixture stands on the first principal
directions W, and what they leave over is noise of one variance σ², the mean of the discarded eigenvalues
(Tipping and Bishop 1999, eq. 8): a proper density of all pixels. Computed by scikit-learn. Without torch but
for the pictures that go in and come out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from bottega.data.disk import atomic_file, disk_errors, write_json
from bottega.errors import InputError
from bottega.models.abilities import LogLikelihood
from bottega.models.folders import read_config
from bottega.nn.picture_networks import check_pictures

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

MODEL_TYPE = "bottega-mixture"
Progress = Callable[[int, int], None]
_BLOCK = 5  # iterations between two reports: each costs scikit-learn an expectation more


@dataclass(frozen=True)
class MixtureConfig:
    """The pictures' shape, and the mixture over them.

    Attributes:
        channels, height, width: of a picture.
        n_components: Gaussians in the mixture, K.
        n_dimensions: principal directions that the mixture stands on; never more than the pixels.
        covariance: one for each Gaussian, full or diagonal or spherical, or one full one for all (tied).
        reg_covar: added to every variance, and the least σ²: a Gaussian on a single picture stays finite.
        iterations: of expectation–maximisation, at most; it ends where the mean log-likelihood no longer
            rises by `tolerance`.
    """

    channels: int = 1
    height: int = 28
    width: int = 28
    n_components: int = 20
    n_dimensions: int = 40
    covariance: Literal["full", "tied", "diag", "spherical"] = "full"
    reg_covar: int | float = 1e-3
    iterations: int = 100
    tolerance: int | float = 1e-3

    def __post_init__(self) -> None:
        for name in ("channels", "height", "width", "n_components", "n_dimensions", "iterations"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least 1")
        if not (0 < self.reg_covar < np.inf and 0 <= self.tolerance < np.inf):
            raise InputError(
                f"reg_covar is {self.reg_covar} and tolerance {self.tolerance}; expected finite numbers, the "
                "first above 0"
            )

    @property
    def n_pixels(self) -> int:
        """Numbers in a picture."""
        return self.channels * self.height * self.width


class Mixture:
    """A Gaussian mixture of pictures; `fit` makes one."""

    def __init__(
        self,
        config: MixtureConfig,
        mean: Float64[np.ndarray, " pixel"],
        directions: Float64[np.ndarray, "direction pixel"],
        noise: float,
        model: GaussianMixture,
        iterations: int = 0,
    ) -> None:
        self.config, self.mean, self.directions, self.noise = config, mean, directions, noise
        self.model = model
        """scikit-learn's mixture over the directions."""
        self.iterations = iterations
        """How many it took."""
        self.finished = bool(model.converged_) or iterations >= config.iterations
        """False after a Ctrl-C."""

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.config.channels, self.config.height, self.config.width

    @property
    def scores_density(self) -> bool:
        """Log p is of grey values."""
        return True

    @classmethod
    def fit(
        cls,
        pictures: Float[Tensor, "n channels height width"],
        config: MixtureConfig,
        progress: Progress | None = None,
        seed: int = 0,
    ) -> Mixture:
        """Fit the directions, then the mixture; Ctrl-C keeps what it has come to.

        Args:
            pictures: grey values in [0, 1].
            config: the mixture; with more directions than pixels, all are taken.
            progress: told the iterations done and the most there will be.
            seed: of k-means, in whose clusters the Gaussians begin.

        Raises InputError where there are fewer pictures than Gaussians or than two, where all are the same,
        or where they are not of this shape with numbers from 0 to 1.
        """
        from sklearn.decomposition import PCA

        rows = _rows(pictures, config)
        if len(rows) < max(2, config.n_components):
            raise InputError(
                f"{len(rows):,} pictures for a mixture of {config.n_components:,} Gaussians; expected two "
                "pictures, and one for each Gaussian: give more pictures or a smaller n_components"
            )
        if (rows == rows[0]).all():
            raise InputError(f"all {len(rows):,} pictures are the same: there is nothing to learn from them")
        n = min(config.n_dimensions, config.n_pixels, len(rows) - 1)
        pca = PCA(n, svd_solver="full" if len(rows) < config.n_pixels else "covariance_eigh").fit(rows)
        model, iterations = _expect_and_maximise(pca.transform(rows), config, progress, seed)
        noise = max(float(pca.noise_variance_), float(config.reg_covar))
        return cls(config, pca.mean_, pca.components_, noise, model, iterations)

    def score(self, pictures: Float[Tensor, "n channels height width"]) -> LogLikelihood:
        """log p(x) of each picture, in nats, exact.

        A density of grey values in [0, 1], which may be far above 0 nats: nothing to compare with the
        probability of binary pictures. Raises InputError where they are not of this shape with numbers from
        0 to 1.
        """
        centred = _rows(pictures, self.config) - self.mean
        z = centred @ self.directions.T
        left_over = np.maximum((centred**2).sum(1) - (z**2).sum(1), 0)
        dimensions = self.config.n_pixels - len(self.directions)
        nats = self.model.score_samples(z)
        if dimensions:
            nats -= 0.5 * (left_over / self.noise + dimensions * np.log(2 * np.pi * self.noise))
        return LogLikelihood(nats, "exact", density=self.scores_density)

    def sample(self, n: int, seed: int = 0) -> Float[Tensor, "n channels height width"]:
        """Draw pictures: a Gaussian by its weight, and z from it; each pixel is its mean given z, in [0, 1].

        So the noise σ² is left out of the pictures, as decoders show means.
        """
        if n < 1:
            raise InputError(f"{n} pictures were asked for; expected at least 1")
        self.model.random_state = seed
        z, gaussians = self.model.sample(n)
        order = np.random.default_rng(seed).permutation(len(gaussians))  # scikit-learn sorts by Gaussian
        return self._pictures(z[order])

    def features(self) -> Float[Tensor, "gaussian channels height width"]:
        """The mean picture of each Gaussian, the heaviest first."""
        return self._pictures(self.model.means_[np.argsort(-self.model.weights_, kind="stable")])

    def save_pretrained(self, folder: str | Path) -> None:
        """Write model.safetensors and, last, config.json: each whole or not at all."""
        from safetensors.numpy import save

        folder = Path(folder)
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            "mean": self.mean,
            "directions": self.directions,
            "noise": np.array([self.noise]),
            **{name: getattr(self.model, f"{name}_") for name in _ARRAYS},
        }
        with atomic_file(folder / "model.safetensors") as file:
            file.write(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
        settings = {"model_type": MODEL_TYPE, **asdict(self.config), "iterations_taken": self.iterations}
        write_json(folder / "config.json", settings)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Mixture:
        """Read what `save_pretrained` wrote; InputError where it is damaged or another model's."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        config = read_config(folder, MODEL_TYPE, MixtureConfig)
        path = Path(folder) / "model.safetensors"
        try:
            arrays = load_file(path)
            _check(arrays, config)
        except FileNotFoundError:
            raise InputError(f"{folder} has no model.safetensors; train the model again") from None
        except (SafetensorError, KeyError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path} is damaged ({reason}); train the model again") from None
        model = _unfitted(config, 0)
        for name in _ARRAYS:
            setattr(model, f"{name}_", arrays[name])
        model.n_features_in_, model.converged_ = len(arrays["directions"]), True
        return cls(config, arrays["mean"], arrays["directions"], float(arrays["noise"][0]), model)

    def _pictures(self, z: np.ndarray) -> Tensor:
        rows = np.clip(self.mean + z @ self.directions, 0, 1).astype(np.float32)
        return torch.from_numpy(rows).reshape(-1, *self.picture_shape)


_ARRAYS = ("weights", "means", "covariances", "precisions_cholesky")  # scikit-learn's names, less the _


def _expect_and_maximise(
    z: np.ndarray, config: MixtureConfig, progress: Progress | None, seed: int
) -> tuple[GaussianMixture, int]:
    """scikit-learn's mixture, fitted a few iterations at a time, and how many it took."""
    from sklearn.exceptions import ConvergenceWarning

    model, done = _unfitted(config, seed), 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a block that ends before the maximum
            while done < config.iterations and not (done and model.converged_):
                model.max_iter = min(_BLOCK, config.iterations - done)
                model.fit(z)
                done += model.n_iter_
                if progress:
                    progress(done, config.iterations)
    except KeyboardInterrupt:
        if not done:
            raise
    except ValueError as error:
        raise InputError(
            f"the mixture of {config.n_components:,} Gaussians has collapsed ({str(error).split('.')[0]}); "
            "give more pictures, a smaller n_components or n_dimensions, or a larger reg_covar"
        ) from None
    return model, done


def _unfitted(config: MixtureConfig, seed: int) -> GaussianMixture:
    from sklearn.mixture import GaussianMixture

    return GaussianMixture(
        config.n_components,
        covariance_type=config.covariance,
        reg_covar=config.reg_covar,
        tol=config.tolerance,
        random_state=seed,
        warm_start=True,
    )


def _rows(pictures: Tensor, config: MixtureConfig) -> Float64[np.ndarray, "n pixel"]:
    """Pictures as rows of pixels in float64; InputError where they are no pictures of this shape."""
    shape = (config.channels, config.height, config.width)
    return check_pictures(pictures, shape, "the mixture").flatten(1).detach().cpu().double().numpy()


def _check(arrays: dict[str, np.ndarray], config: MixtureConfig) -> None:
    """Raise ValueError unless the arrays are what the configuration says, finite and of positive variance."""
    n, k, pixels = len(arrays["directions"]), config.n_components, config.n_pixels
    covariances = {"full": (k, n, n), "tied": (n, n), "diag": (k, n), "spherical": (k,)}[config.covariance]
    shapes = {
        "mean": (pixels,),
        "directions": (n, pixels),
        "noise": (1,),
        "weights": (k,),
        "means": (k, n),
        "covariances": covariances,
        "precisions_cholesky": covariances,
    }
    for name, shape in shapes.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != np.float64 or not np.isfinite(array).all():
            raise ValueError(f"{name} is not {shape} finite numbers")
    if arrays["noise"][0] <= 0 or (arrays["weights"] < 0).any():
        raise ValueError("a variance or a weight is below 0")
