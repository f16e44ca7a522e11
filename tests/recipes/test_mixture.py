from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from bottega.errors import InputError, Stopped
from bottega.models.load import load
from bottega.models.mixture import Mixture
from bottega.recipes.mixture import PRESETS, MixtureFit, fit_mixture
from bottega.training.events import Event

SHAPE = PRESETS["mixture"].shape


def test_digits_become_a_mixture_with_pictures(tmp_path: Path) -> None:
    seen: list[Event] = []
    said = fit_mixture(SHAPE, ("embedded",), tmp_path / "run", MixtureFit(), seen.append)
    assert "20 Gaussians in 40 directions" in said and "of grey values" in said
    nats = float(said.split("held-out density ")[1].split()[0])
    assert 40 < nats < 60  # one Gaussian over the same directions has 36
    assert isinstance(load(tmp_path / "run"), Mixture)
    assert Image.open(tmp_path / "run" / "samples.png").size[0] > 500
    assert Image.open(tmp_path / "run" / "means.png").size[0] > 500
    assert len(seen) >= 1


def test_pictures_are_resized_first(tmp_path: Path) -> None:
    fit_mixture(SHAPE, ("embedded",), tmp_path / "run", MixtureFit(size=5, grey=True), None)
    assert load(tmp_path / "run").picture_shape == (1, 5, 5)


def test_another_models_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bottega-lda"}')
    with pytest.raises(InputError, match="another kind of model"):
        fit_mixture(SHAPE, ("embedded",), tmp_path, MixtureFit(), None)


def test_ctrl_c_leaves_a_mixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(event: Event) -> None:
        if "iteration" in str(event):
            raise KeyboardInterrupt

    monkeypatch.setattr("bottega.recipes.mixture._SAY_EVERY", 0.0)
    with pytest.raises(Stopped, match="stopped after 5 iterations"):
        fit_mixture(SHAPE, ("embedded",), tmp_path / "run", MixtureFit(), interrupted)
    assert isinstance(load(tmp_path / "run"), Mixture)
