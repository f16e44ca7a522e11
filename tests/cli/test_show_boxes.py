"""`bottega show boxes`: the picture, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from bottega.cli.show_boxes import main
from bottega.errors import InputError
from bottega.models.detr import DETR, DETRConfig

SHAPE = DETRConfig(height=16, width=16, n_embd=16, n_inner=16, n_head=2, n_encoder_layer=1, n_decoder_layer=1)


def pixels(file: Path) -> set[tuple[int, ...]]:
    with Image.open(file) as picture:
        colours = picture.convert("RGB").getcolors(2**24)
    assert colours is not None
    return {colour for _, colour in colours}


def test_it_draws_what_is_found_and_where_was_looked(tmp_path: Path) -> None:
    torch.manual_seed(0)
    DETR(SHAPE).save_pretrained(tmp_path / "run")
    first_box = (0x00, 0x72, 0xB2)
    for threshold, there in (("0", True), ("1", False)):
        out = tmp_path / f"{threshold}.png"
        main([str(tmp_path / "run"), "--n", "2", "--threshold", threshold, "--out", str(out)])
        assert (first_box in pixels(out)) == there
    out = tmp_path / "attention.png"
    main([str(tmp_path / "run"), "--n", "5", "--threshold", "0", "--attention", "--out", str(out)])
    with Image.open(out) as picture, Image.open(tmp_path / "0.png") as without:
        assert picture.size == (without.size[0] * 2, without.size[1] * 4)


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    DETR(SHAPE).save_pretrained(tmp_path / "run")
    DETR(DETRConfig(n_class=2, n_embd=16)).save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match="finds no shapes of scenes"):
        main([str(tmp_path / "other"), "--out", str(tmp_path / "boxes.png")])
    with pytest.raises(InputError, match="--n must be from 1 to 40"):
        main([str(tmp_path / "run"), "--n", "0", "--out", str(tmp_path / "boxes.png")])
    with pytest.raises(InputError, match=r"name a \.png"):
        main([str(tmp_path / "run"), "--out", str(tmp_path / "boxes.docx")])
