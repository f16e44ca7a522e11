"""The GAN presets, from the command's words to the run and its figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from bottega.cli import run
from bottega.errors import InputError
from bottega.models.load import load
from bottega.recipes.gan import PRESETS, steps_of

RING = ["gan-ring", "--hidden", "16", "--steps", "6", "--batch-size", "32", "--validate-every", "3"]
LINE = [
    "gan-line",
    "--hidden",
    "8",
    "--steps",
    "4",
    "--batch-size",
    "40",
    "--save-every",
    "2",
    "--validate-every",
    "4",
]


def test_a_ring_is_learnt_drawn_and_counted(tmp_path: Path, capsys) -> None:
    for seed in "01":
        out = str(tmp_path / f"ring-{seed}")
        assert run(["train", *RING, "--data", "embedded", "--out", out, "--seed", seed]) == 0
    assert "of 8 modes found" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "ring-0/samples").iterdir()} == {
        f"step-{step:06d}.png" for step in (0, 3, 6)
    }
    runs = [str(tmp_path / f"ring-{seed}") for seed in "01"]
    out = tmp_path / "ring.png"
    assert run(["show", "modes", *runs, "--out", str(out), "--samples", "200"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("of 8") == 2 and str(out) in printed
    assert Image.open(out).width > 400
    assert run(["show", "game", runs[0], "--out", str(out)]) == 2  # on a plane D has no line to be drawn on
    assert "2 dimensions" in capsys.readouterr().err


def test_a_game_on_a_line_is_drawn_beside_its_theory(tmp_path: Path, capsys) -> None:
    line, out = tmp_path / "line", tmp_path / "line.svg"
    assert run(["train", *LINE, "--data", "embedded", "--out", str(line)]) == 0
    assert (line / "samples/step-000004.png").is_file()
    assert run(["show", "game", str(line), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "mean |D - D*|" in printed and "step 2" in out.read_text()
    assert [*steps_of(line, 1)] == [2] and [*steps_of(line, 5)] == [2, 4]
    with pytest.raises(InputError, match="no checkpoints"):
        steps_of(tmp_path, 3)
    assert run(["show", "modes", str(line), "--out", str(out)]) == 2
    assert "runs of gan-ring" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["gan", "dcgan", "wgan-gp"])
def test_digits_are_learnt_and_shown(tmp_path: Path, name: str) -> None:
    preset = PRESETS[name]
    batch = 15 if name == "wgan-gp" else 6
    training = replace(preset.training, steps=2, batch_size=batch, validate_every=1)
    small = {"maps": 2} if hasattr(preset.shape, "maps") else {"hidden": 8}
    shape = replace(preset.shape, latent=3, **small)
    line = preset.run(shape, ("embedded",), tmp_path / "run", training, None)
    assert "2 steps" in line
    model = load(tmp_path / "run")
    assert model.picture_shape == (1, 8, 8)
    assert len(list((tmp_path / "run/samples").glob("step-*.png"))) == 3
    assert not (tmp_path / "run/best").exists()


def test_bad_toys_are_refused(tmp_path: Path, capsys) -> None:
    for data, message in (
        (["line"], "line has 1 dimensions and the model 2"),
        (["torus"], "no toy of that name"),
        (["ring", "ring"], "2 toys given"),
    ):
        assert run(["train", "gan-ring", "--data", *data, "--out", str(tmp_path / "x")]) == 2
        assert message in capsys.readouterr().err
    command = ["train", "gan-ring", "--data", "embedded", "--out", str(tmp_path / "x"), "--steps", "2"]
    assert run([*command, "--k", "3", "--batch-size", "32"]) == 2
    assert "make batch_size a multiple of k" in capsys.readouterr().err
    assert run([*command, "--latent", "0"]) == 2
    assert "latent must be 1 or more" in capsys.readouterr().err
