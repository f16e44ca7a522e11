"""The same weights give the same numbers here and in `transformers`' ViT, both ways."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bottega.data.pictures import picture_for
from bottega.models.load import load
from bottega.models.vit import ViT, ViTConfig, ViTEncoder

transformers = pytest.importorskip("transformers")
transformers.logging.disable_progress_bar()

SMALL = ViTConfig(3, 12, 12, ("angel", "lion", "eagle"), 4, 2, 4, 24, 40, mean=(0.4, 0.5, 0.6), std=(0.2,))
PICTURES = torch.rand(5, 3, 12, 12, generator=torch.Generator().manual_seed(1))
NORMALISED = (PICTURES - torch.tensor(SMALL.mean)[:, None, None]) / 0.2


def theirs(**fields: Any) -> Any:
    sizes = {
        "num_channels": 3,
        "image_size": 12,
        "patch_size": 4,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 40,
        "num_labels": 3,
    }
    return transformers.ViTConfig(**sizes | fields)


def random(model: Any) -> Any:
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("act", ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu"])
def test_their_classifier_here(act: str, tmp_path: Path) -> None:
    reference = random(transformers.ViTForImageClassification(theirs(hidden_act=act)))
    reference.config.id2label = {0: "angel", 1: "lion", 2: "eagle"}
    reference.save_pretrained(tmp_path)
    transformers.ViTImageProcessor(image_mean=[0.4, 0.5, 0.6], image_std=[0.2] * 3).save_pretrained(tmp_path)
    model = load(tmp_path)
    assert isinstance(model, ViT) and list(model.classes) == ["angel", "lion", "eagle"]
    assert (model.config.mean, model.config.std) == ((0.4, 0.5, 0.6), (0.2, 0.2, 0.2))
    with torch.no_grad():
        close(model(PICTURES), reference(NORMALISED).logits)
        states = reference.vit(NORMALISED).last_hidden_state
        close(model.encoder(PICTURES), states)
        close(model.embed(PICTURES), states[:, 0])


def test_ours_there_and_back(tmp_path: Path) -> None:
    model = random(ViT(SMALL))
    model.save_pretrained(tmp_path)
    reference = transformers.ViTForImageClassification.from_pretrained(tmp_path).eval()
    assert reference.config.id2label == dict(enumerate(SMALL.classes))
    with torch.no_grad():
        close(model(PICTURES), reference(NORMALISED).logits)
        reference.save_pretrained(tmp_path / "again")
        encoder = ViTEncoder.from_pretrained(tmp_path / "again")  # by default it takes half off, twice
        close(encoder((NORMALISED + 1) / 2), model.encoder(PICTURES))
    assert ViT.from_pretrained(tmp_path).config == replace(SMALL, std=(0.2, 0.2, 0.2))


def test_their_bare_encoder_here(tmp_path: Path) -> None:
    reference = random(transformers.ViTModel(theirs()))
    reference.save_pretrained(tmp_path)
    encoder = load(tmp_path)
    assert isinstance(encoder, ViTEncoder)
    with torch.no_grad():
        close(encoder(PICTURES), reference(2 * PICTURES - 1).last_hidden_state)


def test_grey_pictures_that_are_not_square(tmp_path: Path) -> None:
    config = replace(SMALL, channels=1, height=8, width=12, mean=(0.1,))
    model = random(ViT(config))
    model.save_pretrained(tmp_path)
    reference = transformers.ViTForImageClassification.from_pretrained(tmp_path).eval()
    pictures = torch.rand(2, 1, 8, 12)
    with torch.no_grad():
        close(model(pictures), reference((pictures - 0.1) / 0.2).logits)


def test_a_file_as_their_processor_prepares_it(tmp_path: Path) -> None:
    model = random(ViT(SMALL))
    model.save_pretrained(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "angel.png")
    processor = transformers.ViTImageProcessor.from_pretrained(tmp_path)
    with Image.open(tmp_path / "angel.png") as picture:
        given = processor(picture.convert("RGB"), return_tensors="pt")["pixel_values"]
    reference = transformers.ViTForImageClassification.from_pretrained(tmp_path).eval()
    ours = torch.from_numpy(picture_for(tmp_path / "angel.png", model.picture_shape))[None]
    with torch.no_grad():
        close(model(ours), reference(given).logits)


def test_attention_weights(tmp_path: Path) -> None:
    model = random(ViT(SMALL))
    model.save_pretrained(tmp_path)
    reference = transformers.ViTModel.from_pretrained(tmp_path, attn_implementation="eager").eval()
    with torch.no_grad():
        expected = reference(NORMALISED[:1], output_attentions=True).attentions
    close(model.attention(PICTURES[0])["self"], torch.cat(expected))


def test_the_loss(tmp_path: Path) -> None:
    model, labels = random(ViT(SMALL)), torch.tensor([0, 2, 1, 1, 0])
    model.save_pretrained(tmp_path)
    reference = transformers.ViTForImageClassification.from_pretrained(tmp_path).eval()
    found = model.loss({"pictures": PICTURES, "labels": labels}).mean
    close(found, reference(NORMALISED, labels=labels).loss)
