from __future__ import annotations

from pathlib import Path

import pytest

from bottega.errors import InputError
from bottega.plots.sizes import draw_against_size

PANELS = {"reviews": {"one": {20: [0.5, 0.6], 40: [0.7, 0.7]}, "other": {20: [0.4], 40: [0.8]}}}


def test_every_panel_and_line_is_named(tmp_path: Path) -> None:
    out = tmp_path / "sizes.svg"
    draw_against_size(PANELS, out, size="texts", quantity="accuracy", levels={"reviews": 0.5})
    assert out.stat().st_size > 1000
    with pytest.raises(InputError, match=r"name a \.png"):
        draw_against_size(PANELS, tmp_path / "sizes.txt", size="texts", quantity="accuracy")
