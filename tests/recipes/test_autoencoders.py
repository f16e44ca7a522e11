"""The autoencoders' presets: what they learn from the embedded digits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA
from torch import Tensor

from bottega.data.pictures import open_pictures
from bottega.models.autoencoder import Autoencoder
from bottega.models.load import load
from bottega.recipes.autoencoders import PRESETS
from bottega.recipes.presets import find


@pytest.mark.parametrize("name", PRESETS)
def test_it_trains_on_the_embedded_digits(name: str, tmp_path: Path) -> None:
    preset = find(name)
    shape, training = replace(preset.shape, hidden=8), replace(preset.training, steps=20, validate_every=20)
    line = preset.run(shape, ("embedded",), tmp_path / "run", training, None)
    assert "20 steps" in line and "held-out squared" in line
    model = load(tmp_path / "run")
    assert isinstance(model, Autoencoder) and model.picture_shape == (1, 8, 8)
    assert (tmp_path / "run" / "samples" / "step-000020.png").is_file()


def test_the_linear_one_spans_the_subspace_of_the_principal_components(tmp_path: Path) -> None:
    preset = find("autoencoder-linear")
    training = replace(preset.training, steps=1000, batch_size=512, learning_rate=3e-2, decay_fraction=0.9)
    preset.run(replace(preset.shape, latent=4), ("embedded",), tmp_path, training, None)
    model = load(tmp_path)
    taught, _ = open_pictures(("embedded",))
    pictures = torch.from_numpy(taught.floats())
    flat = pictures.flatten(1).numpy()
    pca = PCA(4).fit(flat)
    angles = subspace_angles(model.decoder[0].weight.detach().numpy(), pca.components_.T)
    assert angles.max() < 0.02  # radians, of four
    least = np.square(pca.inverse_transform(pca.transform(flat)) - flat).sum(1).mean()
    with torch.no_grad():
        found = float((model(pictures) - pictures).square().sum((1, 2, 3)).mean())
    assert least <= found < 1.001 * least


def test_who_learnt_with_noise_takes_it_out_better(tmp_path: Path) -> None:
    _, held = open_pictures(("embedded",))
    clean = torch.from_numpy(held.floats())
    torch.manual_seed(0)
    noisy = (clean + 0.4 * torch.randn_like(clean)).clamp(0, 1)

    def distance(noise: str) -> tuple[float, float]:
        preset = find("autoencoder-denoising")
        shape = replace(preset.shape, hidden=128, n_layer=1, latent=64, noise=noise, level=0.4)
        training = replace(preset.training, steps=300, learning_rate=5e-3, precision="fp32")
        preset.run(shape, ("embedded",), tmp_path / noise, training, None)
        model = load(tmp_path / noise)

        def of(given: Tensor) -> float:
            return float((model.reconstruct(given) - clean).square().sum((1, 2, 3)).mean())

        return of(clean), of(noisy)

    plain, denoising = distance("none"), distance("gaussian")
    untouched = float((noisy - clean).square().sum((1, 2, 3)).mean())
    assert denoising[1] < 0.7 * plain[1] and plain[1] < untouched
    assert plain[0] < denoising[0]  # what has no noise the plain one keeps better
