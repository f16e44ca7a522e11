"""Pictures from every source, their errors, their batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bottega.data.picture_batches import PictureBatches
from bottega.data.picture_files import read_picture, save_gif, save_picture
from bottega.data.pictures import NO_LABEL, Pictures, open_pictures, picture_for
from bottega.errors import InputError


def some(n: int = 50, channels: int = 1, seed: int = 0) -> Pictures:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, channels, 6, 5), np.uint8)
    return Pictures(pixels, np.arange(n) % 3, ("a", "b", "c"))


def test_the_embedded_digits() -> None:
    training, held_out = open_pictures(("embedded",))
    assert len(training) + len(held_out) == 1797
    assert training.shape == (1, 8, 8) and training.classes == tuple("0123456789")
    assert 0.06 < len(held_out) / 1797 < 0.14
    assert training.floats().max() == 1.0 and training.floats().min() == 0.0
    seen = {one.tobytes() for one in training.pixels}
    assert not any(one.tobytes() in seen for one in held_out.pixels)


def test_mnist(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOTTEGA_DATA", str(shared_data))
    training, held_out = open_pictures(("mnist",))
    assert (len(training), len(held_out), training.shape) == (60_000, 10_000, (1, 28, 28))
    assert np.bincount(training.labels).tolist()[1] == 6742  # the published number of ones


def test_npz_of_all_forms(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (40, 6, 5), np.uint8)
    forms = {
        "grey": grey,
        "floats": grey / 255,
        "channels last": np.repeat(grey[..., None], 3, 3),
        "channels first": np.repeat(grey[:, None], 3, 1),
    }
    for name, images in forms.items():
        np.savez(tmp_path / "some.npz", images=images)
        training, held_out = open_pictures((str(tmp_path / "some.npz"),))
        assert training.shape == ((1 if images.ndim == 3 else 3), 6, 5), name
        found = np.concatenate([training.pixels, held_out.pixels])[:, 0]
        assert sorted(map(bytes, found)) == sorted(map(bytes, grey)), name
        assert (training.labels == NO_LABEL).all()


def test_own_split_and_labels_of_an_npz(tmp_path: Path) -> None:
    images = np.zeros((5, 4, 4), np.uint8)
    file = tmp_path / "own.npz"
    np.savez(
        file,
        train_images=images,
        train_labels=np.arange(5),
        test_images=images[:2],
        test_labels=np.array([4, 0]),
    )
    training, held_out = open_pictures((str(file),))
    assert training.labels.tolist() == [0, 1, 2, 3, 4] and held_out.labels.tolist() == [4, 0]
    assert held_out.classes == training.classes == ("0", "1", "2", "3", "4")


def test_a_folder_has_a_class_for_each_subfolder(tmp_path: Path) -> None:
    for index in range(30):
        folder = tmp_path / ("cats" if index % 2 else "dogs")
        folder.mkdir(exist_ok=True)
        save_picture(Image.new("RGB", (9, 7), (index, 2 * index, 200)), folder / f"{index}.png")
    training, held_out = open_pictures((str(tmp_path),))
    assert training.classes == ("cats", "dogs") and training.shape == (3, 7, 9)
    both = (
        np.concatenate([training.pixels, held_out.pixels]),
        np.concatenate([training.labels, held_out.labels]),
    )
    assert all((pixel[0, 0, 0] % 2 == 1) == (label == 0) for pixel, label in zip(*both, strict=True))
    small, _ = open_pictures((str(tmp_path),), size=4, grey=True)
    assert small.shape == (1, 4, 4)


def test_sizes_of_a_folder_must_be_one_or_named(tmp_path: Path) -> None:
    for index, size in enumerate([(4, 4), (6, 4)] * 8):
        save_picture(Image.new("L", size, 10 * index), tmp_path / f"{index}.png")
    with pytest.raises(InputError, match=r"2 sizes \(4×4, 6×4.*--size"):
        open_pictures((str(tmp_path),))
    assert open_pictures((str(tmp_path),), size=5)[0].shape == (1, 5, 5)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.full((3, 4, 4), np.nan)}, "not finite"),
        ({"images": np.zeros((0, 4, 4), np.uint8)}, "is empty"),
        ({"images": np.full((3, 4, 4), 7.0)}, "from 7 to 7; float64 is expected from 0 to 1"),
        ({"images": np.full((3, 4, 4), -1)}, "from -1 to -1"),
        ({"images": np.zeros((3, 4), np.uint8)}, r"uint8 \(3, 4\); expected"),
        ({"images": np.zeros((3, 4, 4), np.complex64)}, "complex64"),
        ({"images": np.zeros((3, 2, 4, 4), np.uint8)}, "2 channels; expected 1"),
        ({"pictures": np.zeros((3, 4, 4), np.uint8)}, "holds pictures; expected `images`"),
        ({"images": np.zeros((3, 4, 4), np.uint8), "labels": np.zeros(2, int)}, "expected 3 whole numbers"),
        ({"images": np.zeros((3, 4, 4), np.uint8), "labels": np.zeros(3)}, "expected 3 whole numbers"),
        ({"images": np.zeros((3, 4, 4), np.uint8), "labels": np.full(3, -2)}, "from -2 to -2"),
        (
            {"train_images": np.zeros((3, 4, 4), np.uint8), "test_images": np.zeros((3, 5, 4), np.uint8)},
            r"test_images \(1, 5, 4\)",
        ),
    ],
)
def test_bad_arrays(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError, match=message):
        open_pictures((str(tmp_path / "bad.npz"),))


def test_bad_sources(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "not.npz").write_bytes(b"PK\x03\x04 nothing of the kind")
    np.savez(tmp_path / "objects.npz", images=np.array([object()]))
    for source, message in {
        "nowhere": "no such file or folder",
        "shakespeare": "without pictures",
        str(tmp_path / "empty"): "no pictures in this folder",
        str(tmp_path / "not.npz"): "not a sound .npz",
        str(tmp_path / "objects.npz"): "not a sound .npz",
    }.items():
        with pytest.raises(InputError, match=message):
            open_pictures((source,))
    with pytest.raises(InputError, match="2 sources"):
        open_pictures(("embedded", "mnist"))
    with pytest.raises(InputError, match="at least 1 pixel"):
        open_pictures(("embedded",), size=0)


def test_files_that_are_no_pictures(tmp_path: Path) -> None:
    whole = tmp_path / "whole.png"
    save_picture(Image.effect_noise((64, 64), 50), whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:1500])
    (tmp_path / "text.png").write_text("no picture at all")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    Image.new("1", (9_000, 9_000)).save(tmp_path / "large.png")
    for name, message in {
        "cut.png": "damaged",
        "text.png": "is not a picture",
        "bomb.png": "too many pixels",
        "large.png": "9,000 × 9,000 pixels; at most",
        "none.png": "no such file",
    }.items():
        with pytest.raises(InputError, match=message):
            read_picture(tmp_path / name)
    with pytest.raises(InputError, match="unknown kind of picture"):
        save_picture(Image.new("L", (2, 2)), tmp_path / "what.pic")
    assert not (tmp_path / "what.pic").exists()


def test_a_picture_as_a_model_reads_it(tmp_path: Path) -> None:
    see_through = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    see_through.paste((0, 0, 255, 255), (0, 0, 4, 8))
    save_picture(see_through, tmp_path / "half.png")
    colours = picture_for(tmp_path / "half.png", (3, 8, 8))
    np.testing.assert_allclose(colours[:, 0, 0], [0, 0, 1])
    np.testing.assert_allclose(colours[:, 0, 7], [1, 1, 1])  # over white
    assert picture_for(tmp_path / "half.png", (1, 4, 4)).shape == (1, 4, 4)
    deep = Image.fromarray(np.linspace(0, 60_000, 64).reshape(8, 8).astype(np.uint16))
    save_picture(deep, tmp_path / "deep.png")
    assert picture_for(tmp_path / "deep.png", (1, 8, 8)).reshape(-1)[32] == pytest.approx(0.51, abs=0.02)


def test_animations(tmp_path: Path) -> None:
    save_gif([Image.new("L", (4, 4), 60 * n) for n in range(3)], tmp_path / "film.gif", 50)
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 3
    with pytest.raises(InputError, match="at least one"):
        save_gif([], tmp_path / "none.gif", 50)


def test_batches_go_by_seed_and_position() -> None:
    first, second = PictureBatches(some(), 16, seed=3, binary=True), PictureBatches(some(), 16, 3, True)
    batches = [first.next_batch() for _ in range(7)]
    for _ in range(4):
        second.next_batch()
    third = PictureBatches(some(), 16, 3, True)
    third.load_state_dict(second.state_dict())
    for expected, found in zip(batches[4:], (third.next_batch() for _ in range(3)), strict=True):
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert not torch.equal(batches[0]["pictures"], batches[3]["pictures"])


def test_an_epoch_shows_each_picture_once() -> None:
    pictures = some(48)
    batches = PictureBatches(pictures, 16)
    shown = torch.cat([batches.next_batch()["pictures"] for _ in range(3)]).numpy()
    assert sorted(map(bytes, shown)) == sorted(map(bytes, pictures.floats()))


def test_binary_pixels_are_drawn_from_their_greys() -> None:
    pixels = np.tile(np.array([0, 64, 191, 255], np.uint8).reshape(1, 1, 2, 2), (4000, 1, 1, 1))
    batches = PictureBatches(Pictures(pixels, np.zeros(4000, np.int64)), 4000, binary=True)
    drawn = batches.next_batch()["pictures"]
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    np.testing.assert_allclose(drawn.mean(0).flatten(), pixels[0].reshape(-1) / 255, atol=0.03)
    again = [next(batches.in_order(4000))["pictures"] for _ in range(2)]
    assert torch.equal(*again) and not torch.equal(again[0], drawn)


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(InputError, match="50 pictures make no batch of 64"):
        PictureBatches(some(), 64)
    with pytest.raises(InputError, match="other data"):
        PictureBatches(some(), 10).load_state_dict({"step": 1, "seed": 0, "pictures": 49})


def test_shifted_pictures_are_moved_and_nothing_else() -> None:
    pixels = np.zeros((200, 1, 5, 5), np.uint8)
    pixels[:, :, 2, 2] = 255
    batches = PictureBatches(Pictures(pixels, np.zeros(200, np.int64)), 200, seed=1, shift=1)
    drawn = batches.next_batch()["pictures"]
    assert torch.equal(drawn.flatten(1).sum(1), torch.ones(200))
    places = drawn.mean((0, 1))
    assert (places[1:4, 1:4] > 0.05).all() and places.sum() == pytest.approx(places[1:4, 1:4].sum())
    assert torch.equal(next(batches.in_order(200))["pictures"], torch.from_numpy(pixels / np.float32(255)))
    assert not torch.equal(drawn, batches.next_batch()["pictures"])
    batches.load_state_dict({"step": 0, "seed": 1, "pictures": 200})
    assert torch.equal(drawn, batches.next_batch()["pictures"])
    with pytest.raises(InputError, match="shift must be 0 or more"):
        PictureBatches(some(), 10, shift=-1)
