"""What a newcomer may give to the presets of pictures by mistake: one line, exit code 2, nothing written."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bottega.cli import run
from bottega.recipes.pictures import DATA
from bottega.recipes.presets import PRESETS

# All presets that take pictures, but those that first ask for another run.
PICTURES = [name for name, one in PRESETS.items() if one.data == DATA and not hasattr(one.training, "model")]
JOBS = list({PRESETS[name].run: name for name in PICTURES[::-1]}.values())  # one preset of each job
CLASSIFIERS = [name for name in PICTURES if hasattr(PRESETS[name].shape, "classes")]
LATENT = {"latent": "--latent", "n_hidden": "--n-hidden", "n_components": "--n-components"}


def write(images: np.ndarray, **more: np.ndarray) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.savez(folder / "pictures.npz", images=images, **more)
        return folder / "pictures.npz"

    return make


def holding(name: str, content: Callable[[Path], None]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "pictures").mkdir()
        content(folder / "pictures" / name)
        return folder / "pictures"

    return make


def truncated(file: Path) -> None:
    Image.effect_noise((64, 64), 50).save(file)
    file.write_bytes(file.read_bytes()[:1500])


def bomb(file: Path) -> None:
    """A PNG of a hundred bytes that claims 60,000 × 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(100))), chunk(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def two_sizes(file: Path) -> None:
    Image.new("L", (8, 8)).save(file)
    Image.new("L", (9, 8)).save(file.with_name("other.png"))


BAD = {
    "NaN": (write(np.full((30, 8, 8), np.nan)), "not finite (NaN, infinite); remove these pictures"),
    "infinite": (write(np.full((30, 8, 8), np.inf)), "not finite (NaN, infinite)"),
    "empty": (write(np.zeros((0, 8, 8), np.uint8)), "is empty, (0, 8, 8); expected at least one picture"),
    "flat": (write(np.zeros((30, 64), np.uint8)), "uint8 (30, 64); expected bytes"),
    "channels": (write(np.zeros((30, 2, 8, 8), np.uint8)), "2 channels; expected 1 (grey) or 3"),
    "dtype": (write(np.zeros((30, 8, 8), np.complex64)), "complex64 (30, 8, 8); expected bytes"),
    "range": (write(np.full((30, 8, 8), 3.5)), "goes from 3.5 to 3.5; float64 is expected from 0 to 1"),
    "labels": (write(np.zeros((30, 8, 8), np.uint8), labels=np.zeros(7, int)), "expected 30 whole numbers"),
    "objects": (write(np.array([object()])), "not a sound .npz file"),
    "no pictures": (holding("notes.txt", lambda file: file.touch()), "no pictures in this folder (.png"),
    "truncated": (holding("cut.png", truncated), "cut.png: the picture is damaged"),
    "bomb": (holding("bomb.png", bomb), "bomb.png: claims too many pixels; at most 67,108,864 are read"),
    "no picture": (holding("a.png", lambda file: file.write_text("a poem")), "a.png: is not a picture"),
    "two sizes": (holding("a.png", two_sizes), "pictures of 2 sizes (8×8, 9×8 …); give --size"),
    "nowhere": (lambda folder: folder / "nowhere", "nowhere: no such file or folder; give embedded, mnist"),
}


def complaint(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What `bottega …` says to wrong input, in one line."""
    capsys.readouterr()
    assert run(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("bottega train: ") and error.count("\n") == 1
    return error


@pytest.mark.parametrize("preset", JOBS)
def test_bad_pictures(preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, (make, says) in BAD.items():
        if name == "two sizes" and PRESETS[preset].training.size is not None:
            continue  # the preset resizes them all
        folder = tmp_path / name
        folder.mkdir()
        data, out = make(folder), tmp_path / "out"
        assert says in complaint(["train", preset, "--data", str(data), "--out", str(out)], capsys), name
        assert not out.exists(), name


@pytest.mark.parametrize("preset", PICTURES)
def test_sources_and_sizes(preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = ["train", preset, "--out", str(tmp_path / "out"), "--data"]
    assert "2 sources of pictures given; expected one" in complaint([*train, "embedded", "mnist"], capsys)
    assert "shakespeare: a data set without pictures" in complaint([*train, "shakespeare"], capsys)
    said = complaint([*train, "embedded", "--size", "0"], capsys)
    assert "size must be at least 1 pixel, not 0" in said
    assert not (tmp_path / "out").exists()


SIZED = [
    (preset, option)
    for preset in PICTURES
    for field, option in LATENT.items()
    if field in {one.name for one in fields(PRESETS[preset].shape)}
]


@pytest.mark.parametrize(("preset", "option"), SIZED)
def test_a_code_of_no_numbers(
    preset: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["train", preset, "--data", "embedded", "--out", str(tmp_path / "out"), option, "0"]
    said = complaint(argv, capsys)
    assert option.removeprefix("--").replace("-", "_") in said and "0" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("preset", CLASSIFIERS)
def test_classifiers_need_labels_of_two_classes(
    preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 8, 8), np.uint8)
    train = ["train", preset, "--out", str(tmp_path / "out"), "--data"]
    for labels in ({}, {"labels": np.zeros(300, int)}):
        said = complaint([*train, str(write(pixels, **labels)(tmp_path))], capsys)
        assert ("of one class" if labels else "have no labels") in said, said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("preset", PICTURES)
def test_a_device_is_no_option(preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An NVIDIA GPU is used where there is one; asking for it is refused, with the other options."""
    with pytest.raises(SystemExit) as left:
        run(["train", preset, "--data", "embedded", "--out", str(tmp_path / "out"), "--device", "cuda"])
    assert left.value.code == 2 and "--device" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_pictures_of_every_mode_are_read(
    mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a real verb, from files: what Pillow can write is resized, made grey and labelled."""
    from bottega.models.cnn import CNN, CNNConfig

    CNN(CNNConfig(1, 8, 8, filters=2, n_embd=4)).save_pretrained(tmp_path / "cnn")
    file = tmp_path / ("digit.tiff" if mode in ("CMYK", "I;16", "I", "F") else "digit.png")
    Image.linear_gradient("L").convert(mode).save(file)
    assert run(["classify", str(tmp_path / "cnn"), str(file)]) == 0
    assert capsys.readouterr().out.rstrip().endswith(f"| {file}")
