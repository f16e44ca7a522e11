"""ViT: its published sizes, what it learns and shows, what it refuses."""

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
from bottega.models.load import load
from bottega.models.vit import ViT, ViTConfig, ViTEncoder
from bottega.nn.attention_maps import rollout
from bottega.recipes.picture_classifiers import PRESETS

TINY = ViTConfig(1, 8, 8, ("left", "right"), 4, n_layer=2, n_head=2, n_embd=16)
A_THOUSAND = tuple(map(str, range(1000)))


def halves(n: int) -> dict[str, torch.Tensor]:
    """Noise that is brighter on the left (0) or on the right (1)."""
    generator = torch.Generator().manual_seed(0)
    pictures, labels = torch.rand(n, 1, 8, 8, generator=generator) / 2, torch.arange(n) % 2
    pictures[labels == 0, :, :, :4] += 0.5
    pictures[labels == 1, :, :, 4:] += 0.5
    return {"pictures": pictures, "labels": labels}


@pytest.mark.parametrize(
    ("name", "published"),
    [("vit-base", 86_567_656), ("vit-large", 304_326_632), ("vit-huge", 632_045_800)],
)
def test_published_parameter_counts(name: str, published: int) -> None:
    """Of table 1, to the parameter as `torchvision` publishes them, with ImageNet's 1,000 classes."""
    with torch.device("meta"):
        model = ViT(replace(PRESETS[name].shape, classes=A_THOUSAND))
    assert sum(parameter.numel() for parameter in model.parameters()) == published


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_learns(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, batch = ViT(TINY), halves(32)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = model.loss(batch)
        optimizer.zero_grad()
        loss.mean.backward()
        optimizer.step()
    assert loss.mean.item() < 0.1 and int(loss.metrics["accuracy"]) == 32
    assert model.predict_proba(batch["pictures"]).argmax(1).tolist() == batch["labels"].tolist()


def test_it_begins_unsure() -> None:
    loss = ViT(TINY).loss(halves(6))
    assert loss.total.item() == pytest.approx(6 * np.log(2), rel=1e-6) and int(loss.count) == 6


def test_patches_are_read_row_by_row() -> None:
    config = replace(TINY, height=4, width=8, patch=2, mean=(0.0,), std=(1.0,))
    encoder = ViTEncoder(config)
    assert (config.grid, config.tokens) == ((2, 4), 9)
    pictures = torch.rand(1, 1, 4, 8)
    patch = pictures[0, :, 2:4, 4:6]  # the third of the second row: number 6, behind <cls>
    by_hand = encoder.patches.weight.flatten(1) @ patch.flatten() + encoder.patches.bias
    found = encoder.patches(pictures).flatten(2).transpose(1, 2)
    torch.testing.assert_close(found[0, 6], by_hand)


def test_it_sees_where_a_patch_is() -> None:
    torch.manual_seed(0)
    encoder = ViTEncoder(TINY).eval()
    torch.nn.init.normal_(encoder.pos_emb)
    picture = torch.rand(1, 1, 8, 8)
    turned = picture.roll(4, 3)
    states, others = encoder(picture)[:, 0], encoder(turned)[:, 0]
    assert not torch.allclose(states, others, atol=1e-4)
    encoder.pos_emb.data[:, 1:] = 0.0
    torch.testing.assert_close(encoder(picture)[:, 0], encoder(turned)[:, 0], atol=1e-5, rtol=1e-5)


def test_rollout_is_the_product_of_the_layers() -> None:
    one = torch.tensor([[[[0.2, 0.8], [0.6, 0.4]], [[0.4, 0.6], [0.0, 1.0]]]])
    mean = torch.tensor([[0.3, 0.7], [0.3, 0.7]])
    step = (mean + torch.eye(2)) / 2
    torch.testing.assert_close(rollout(one), step)
    other = torch.eye(2).expand(1, 3, 2, 2)[:, :2]
    torch.testing.assert_close(rollout(torch.cat([one, other])), step)
    torch.testing.assert_close(rollout(torch.cat([one, one])), step @ step)


def test_attention_and_rollout_over_the_picture() -> None:
    model, picture = ViT(replace(TINY, height=12)).eval(), torch.rand(1, 12, 8)
    table = model.attention(picture)["self"]
    assert table.shape == (2, 2, 7, 7)
    torch.testing.assert_close(table.sum(-1), torch.ones(2, 2, 7))
    heat = model.rollout(picture)
    assert heat.shape == (3, 2) and float(heat.min()) > 0
    torch.testing.assert_close(heat.sum(), torch.tensor(1.0))
    from_all = rollout(table)[0]
    torch.testing.assert_close(heat.flatten(), from_all[1:] / (1 - from_all[0]))


def test_it_goes_to_disk_and_back(tmp_path: Path) -> None:
    model, pictures = (
        ViT(replace(TINY, mean=(0.13,), std=(0.31,), dropout=0.25)).eval(),
        halves(4)["pictures"],
    )
    torch.nn.init.normal_(model.head.weight)
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, ViT) and isinstance(again, ClassifiesPictures)
    assert again.config == replace(model.config, n_inner=64) and again.picture_shape == (1, 8, 8)
    found = again.predict_proba(pictures)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(found, model.predict_proba(pictures), atol=1e-6)
    torch.testing.assert_close(again.embed(pictures), model.embed(pictures))
    assert again.features().shape == (16, 1, 4, 4)


def test_flops_count_the_matrices_and_the_attention() -> None:
    matrices = 2 * 12 * 16 * 16 + 16 * 16  # of two blocks, and of the patches
    assert ViT(TINY).flops_per_token() == 6 * 5 * (matrices + 2 * 2 * 5 * 16)


BAD: list[dict[str, Any]] = [
    {"n_layer": 0},
    {"n_head": 3},
    {"n_inner": 0},
    {"dropout": 1.0},
    {"patch": 0},
    {"mean": (0.5, 0.5)},
    {"std": (0.0,)},
    {"std": ()},
    {"channels": 0},
]


@pytest.mark.parametrize("fields", BAD)
def test_senseless_shapes(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        replace(TINY, **fields)


def test_pictures_that_it_cannot_see() -> None:
    with pytest.raises(InputError, match="4 × 4 pixels do not tile pictures of 8 × 10"):
        ViT(replace(TINY, width=10))
    with pytest.raises(InputError, match=r"3 × 8 × 8 .* this model sees 1 × 8 × 8"):
        ViT(TINY).predict_proba(torch.rand(2, 3, 8, 8))
    for classes in ((), ("one",), ("one", "one")):
        with pytest.raises(InputError, match="class"):
            ViT(replace(TINY, classes=classes))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("qkv_bias", False, "qkv_bias"),
        ("hidden_act", "silu", "hidden_act"),
        ("hidden_size", 18, "wrong shape"),
        ("num_hidden_layers", 3, "missing"),
        ("num_hidden_layers", 1, "unknown"),
        ("patch_size", 3, "not a multiple of patch_size"),
        ("patch_size", [4, 2], "squares"),
        ("image_size", [8, 8, 8], "height and width"),
        ("image_size", "large", "image_size"),
        ("num_channels", 3, "wrong shape"),
        ("id2label", {"0": "only"}, "at least 2 classes"),
        ("id2label", {"1": "a", "2": "b"}, "names no classes"),
        ("id2label", {"0": "a", "1": "b", "2": "c"}, "wrong shape"),
    ],
)
def test_folders_that_do_not_fit(field: str, value: Any, message: str, tmp_path: Path) -> None:
    ViT(TINY).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {field: value}))
    with pytest.raises(InputError, match=message):
        ViT.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_mean", [0.5, 0.5]),
        ("image_std", [0]),
        ("image_std", "one"),
        ("rescale_factor", 1),
        ("image_mean", []),
    ],
)
def test_preprocessors_that_do_not_fit(field: str, value: Any, tmp_path: Path) -> None:
    ViT(TINY).save_pretrained(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    written = json.loads(file.read_text())
    file.write_text(json.dumps(written | {field: value}))
    with pytest.raises(InputError, match="preprocessor_config"):
        load(tmp_path)
    file.write_text(json.dumps(written | {"do_normalize": False}))
    assert load(tmp_path).config.mean == (0.0,)
    file.unlink()
    assert load(tmp_path).config.mean == (0.5,)
