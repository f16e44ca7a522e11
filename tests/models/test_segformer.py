"""SegFormer: what it learns, that its decoder is the paper's, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from bottega.data.scene_batches import SceneBatches
from bottega.data.scenes import SceneConfig
from bottega.errors import InputError
from bottega.models.abilities import SegmentsPictures
from bottega.models.load import load
from bottega.models.segformer import SegFormer, SegFormerConfig
from bottega.nn.loss import IGNORE
from bottega.training.config import TrainingConfig
from bottega.training.loop import train

TINY = SegFormerConfig(
    height=16,
    width=16,
    n_class=7,
    widths=(16, 24),
    depths=(1, 1),
    heads=(1, 2),
    patches=(3, 3),
    strides=(2, 2),
    reductions=(2, 1),
    mlp_ratios=(2, 2),
    decoder_width=24,
    dropout=0.0,
)


def test_b0_has_the_parameters_of_the_published_weights():
    assert SegFormer(SegFormerConfig()).n_parameters() == 3_752_694


def test_it_overfits_four_scenes():
    torch.manual_seed(0)
    batch = SceneBatches(SceneConfig(16, max_objects=2), 4).next_batch()
    model = SegFormer(TINY)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(80):
        loss = model.loss(batch)
        optimizer.zero_grad()
        loss.mean.backward()
        optimizer.step()
    assert loss.metrics["accuracy"] / loss.count > 0.97
    found = model.eval().segment(batch["pictures"])
    assert (found == batch["masks"]).float().mean() > 0.95


def test_fusing_before_upsampling_is_the_decoder_of_the_paper():
    torch.manual_seed(0)
    decoder = SegFormer(TINY).decoder.eval()
    maps = [torch.randn(2, 8, 8, 16), torch.randn(2, 4, 4, 24)]
    projected = [proj(x).permute(0, 3, 1, 2) for proj, x in zip(decoder.proj, maps, strict=True)]
    upsampled = [F.interpolate(x, (8, 8), mode="bilinear", align_corners=False) for x in projected]
    fused = decoder.fuse(torch.cat(upsampled[::-1], 1))
    expected = decoder.classifier(F.relu(decoder.norm(fused)))
    assert torch.allclose(decoder(maps), expected, atol=1e-5)


def test_the_loss_is_nats_of_scored_pixels_and_splits_into_sums():
    torch.manual_seed(0)
    model = SegFormer(TINY).eval()
    batch = SceneBatches(SceneConfig(16, max_objects=2), 4).next_batch()
    batch["masks"][:, :4] = IGNORE
    loss = model.loss(batch)
    assert loss.count == 4 * 12 * 16
    assert torch.allclose(
        loss.mean, F.cross_entropy(model.logits_of_pixels(batch["pictures"]), batch["masks"]), atol=1e-5
    )
    parts = [model.loss({name: tensor[i : i + 1] for name, tensor in batch.items()}) for i in range(4)]
    assert torch.allclose(sum(part.total for part in parts), loss.total, rtol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_trains_in_both_precisions_and_a_killed_run_ends_alike(tmp_path: Path, precision: str):
    def run(out: Path, *stops: int) -> dict[str, torch.Tensor]:
        for _ in (*stops, None):
            torch.manual_seed(0)
            model = SegFormer(TINY)
            config = TrainingConfig(
                steps=4, batch_size=4, precision=precision, save_every=2, compile="off", warmup_steps=1
            )
            batches = SceneBatches(SceneConfig(16, max_objects=2), 4)
            stop = stops and not (out / "latest").exists()
            try:
                train(model, batches, out, config, on_event=_Stop(2) if stop else None)
            except _Killed:
                continue
        return model.state_dict()

    whole, again = run(tmp_path / "whole"), run(tmp_path / "again", 2)
    assert all(torch.equal(again[name], whole[name]) for name in whole)
    assert not torch.equal(whole["decoder.norm.running_mean"], torch.zeros(24))


class _Killed(Exception):
    pass


class _Stop:
    """Kill the run behind a step's checkpoint."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, event: object) -> None:
        if type(event).__name__ == "CheckpointEvent" and event.step == self.step:  # type: ignore[attr-defined]
            raise _Killed


def test_a_folder_gives_the_same_model_back(tmp_path: Path):
    torch.manual_seed(0)
    model = SegFormer(TINY, ["ground", *"abcdef"]).eval()
    model.decoder.norm.running_mean.uniform_()
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, SegFormer)
    assert isinstance(again, SegmentsPictures)
    assert again.config == model.config
    assert again.classes == model.classes
    pictures = torch.rand(2, 3, 16, 16)
    assert torch.equal(again(pictures), model(pictures))


def test_it_segments_pictures_of_other_sizes():
    model = SegFormer(TINY).eval()
    assert model.segment(torch.rand(70, 3, 18, 25)).shape == (70, 18, 25)
    assert model.segment(torch.rand(0, 3, 16, 16)).shape == (0, 16, 16)


@pytest.mark.parametrize(
    ("pictures", "said"),
    [
        (torch.rand(2, 1, 16, 16), "2×1×16×16; expected n × 3 × height × width"),
        (torch.rand(3, 16, 16), "expected n × 3"),
        (torch.rand(2, 3, 0, 16), "expected n × 3"),
        (torch.rand(2, 3, 16, 2), "become a grid of 8 × 1"),
        (torch.full((1, 3, 16, 16), float("nan")), "no finite float"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), "no finite float"),
    ],
)
def test_other_pictures_are_refused(pictures: torch.Tensor, said: str):
    with pytest.raises(InputError, match=said):
        SegFormer(TINY).segment(pictures)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"n_class": 1}, "at least 2 classes"),
        ({"height": 0}, "height of at least 1"),
        ({"widths": ()}, "expected a number of at least 1"),
        ({"depths": (1,)}, "depths .*for each of 2 stages"),
        ({"strides": (2, 0)}, "strides .*at least 1"),
        ({"heads": (1, 5)}, "24 is not a multiple of its 5 heads"),
        ({"dropout": 1.0}, "below 1"),
        ({"height": 2}, "2 × 16 pixels become a grid of 1 × 8, too small to be thinned by 2"),
    ],
)
def test_senseless_shapes_are_refused(wrong: dict[str, object], said: str):
    with pytest.raises(InputError, match=said):
        replace(TINY, **wrong)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("hidden_sizes", [16], "hidden_sizes is .16.; expected 2 numbers"),
        ("hidden_act", "relu", "has a GELU"),
        ("reshape_last_stage", False, "reads every stage as a grid"),
        ("id2label", {"0": "a"}, "2 classes or more"),
        ("num_attention_heads", [1, 5], "not a multiple"),
        ("decoder_hidden_size", 25, "wrong shape"),
        ("image_size", ["large", 3], "image_size is 'large'"),
    ],
)
def test_damaged_folders_are_refused(tmp_path: Path, field: str, value: object, said: str):
    SegFormer(TINY).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {field: value}))
    with pytest.raises(InputError, match=said):
        load(tmp_path)
