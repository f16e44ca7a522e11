"""The small CNN: it learns, embeds, comes back from the disk, and refuses what it cannot see."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bottega.errors import InputError
from bottega.models.abilities import ClassifiesPictures
from bottega.models.cnn import CNN, CNNConfig
from bottega.models.load import load

TINY = CNNConfig(1, 8, 8, ("left", "right"), filters=4, n_embd=8, dropout=0.0)


def halves(n: int) -> dict[str, torch.Tensor]:
    """Noise that is brighter on the left (0) or on the right (1)."""
    generator = torch.Generator().manual_seed(0)
    pictures, labels = torch.rand(n, 1, 8, 8, generator=generator) / 2, torch.arange(n) % 2
    pictures[labels == 0, :, :, :4] += 0.5
    pictures[labels == 1, :, :, 4:] += 0.5
    return {"pictures": pictures, "labels": labels}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_learns(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, batch = CNN(TINY).to(dtype), halves(32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(40):
        loss = model.loss(batch)
        optimizer.zero_grad()
        loss.mean.backward()
        optimizer.step()
    assert loss.mean.item() < 0.1 and int(loss.metrics["accuracy"]) == 32
    assert model.predict_proba(batch["pictures"]).argmax(1).tolist() == batch["labels"].tolist()


def test_it_begins_unsure() -> None:
    loss = CNN(TINY).loss(halves(6))
    assert float(loss.total) == pytest.approx(6 * np.log(2), rel=1e-6) and int(loss.count) == 6


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 33, 50), (1, 1, 1), (1, 28, 28)])
def test_pictures_of_any_size(shape: tuple[int, int, int]) -> None:
    channels, height, width = shape
    model = CNN(replace(TINY, channels=channels, height=height, width=width)).eval()
    pictures = torch.rand(300, *shape)
    assert model.picture_shape == shape
    found, vectors = model.predict_proba(pictures), model.embed(pictures)
    assert found.shape == (300, 2) and vectors.shape == (300, 8) and vectors.dtype == torch.float32
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    torch.testing.assert_close(model.head(vectors).softmax(-1).detach(), torch.from_numpy(found))
    assert model.features().shape == (4, channels, 5, 5)


def test_it_goes_to_disk_and_back(tmp_path: Path) -> None:
    model, pictures = CNN(TINY).eval(), halves(4)["pictures"]
    torch.nn.init.normal_(model.head.weight)
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, CNN) and isinstance(again, ClassifiesPictures)
    assert again.config == TINY and list(again.classes) == ["left", "right"]
    np.testing.assert_allclose(again.predict_proba(pictures), model.predict_proba(pictures), atol=1e-6)


BAD: list[dict[str, Any]] = [
    {"classes": ()},
    {"classes": ("only",)},
    {"classes": ("same", "same")},
    {"channels": 0},
    {"width": -1},
    {"n_embd": 0},
    {"dropout": 1},
]


@pytest.mark.parametrize("fields", BAD)
def test_senseless_shapes(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        replace(TINY, **fields)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 1, 8, 9)])
def test_pictures_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="this model sees 1 × 8 × 8"):
        CNN(TINY).predict_proba(torch.rand(shape))


@pytest.mark.parametrize("classes", [["a", 3], "ab", [], ["a", "a"]])
def test_damaged_classes(classes: Any, tmp_path: Path) -> None:
    CNN(TINY).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"classes": classes}))
    with pytest.raises(InputError, match=r"config\.json.*class"):
        CNN.from_pretrained(tmp_path)
