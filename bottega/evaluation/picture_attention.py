"""Who looks at whom when a Vision Transformer sees a picture, for the attention page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bottega.data.pictures import picture_for
from bottega.interop.locate import read_json
from bottega.models.load import load, resolve
from bottega.models.vit import MODEL_TYPE, ViT
from bottega.nn.attention_maps import rollout
from bottega.plots.picture_attention_page import require_small

SAID = 3  # classes that are told


@dataclass(frozen=True)
class PictureAttention:
    """The picture as it was read, channels × height × width in [0, 1], and who looks at whom in it.

    `weights`: layer × head × token × token; `through`, their rollout: token × token; the tokens are <cls>
    and the patches of `grid`, rows × columns. `said`: the likeliest classes and their probabilities.
    """

    picture: NDArray[np.float32]
    weights: NDArray[np.float32]
    through: NDArray[np.float32]
    grid: tuple[int, int]
    said: list[tuple[str, float]]


def sees_pictures(path: str | Path) -> bool:
    """Whether the model in `path` is a Vision Transformer."""
    return read_json(resolve(path) / "config.json").get("model_type") == MODEL_TYPE


def read_picture_attention(path: str | Path, file: Path) -> PictureAttention:
    """Let the ViT in `path` see the picture in `file`, made as large as its own, and return its attention.

    Raises InputError where the file is no picture, or the model is too large for a page.
    """
    model = load(path)
    encoder = model.encoder if isinstance(model, ViT) else model  # a bare encoder names no classes
    config = encoder.config
    require_small(config.n_layer, config.n_head, config.tokens)
    picture = picture_for(file, (config.channels, config.height, config.width))
    given = torch.from_numpy(picture)
    weights = encoder.attention(given)
    said: list[tuple[str, float]] = []
    if isinstance(model, ViT):
        [shares] = model.predict_proba(given[None])
        said = [(model.classes[best], float(shares[best])) for best in np.argsort(-shares)[:SAID]]
    return PictureAttention(picture, weights.numpy(), rollout(weights).numpy(), config.grid, said)
