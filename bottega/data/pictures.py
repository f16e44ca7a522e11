"""Pictures as arrays: the embedded digits, sets of the catalog, .npz files, folders. Without torch."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bottega.data import catalog
from bottega.data.documents import Report
from bottega.data.picture_files import SUFFIXES, read_picture
from bottega.data.splits import by_hash
from bottega.errors import InputError

HELD_OUT = 0.1  # of the pictures of a source without a split of its own, by a hash of each
NO_LABEL = -1
KNOWN = "embedded, mnist, a .npz file, or a folder of pictures"

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Pictures:
    """Pixels (n, channels, height, width), and for each a number of `classes` or NO_LABEL, (n,)."""

    pixels: Pixels
    labels: NDArray[np.int64]
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of each."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    def floats(self, numbers: slice | NDArray[np.integer] = slice(None)) -> NDArray[np.float32]:
        """Those of these numbers, black 0 and white 1."""
        return self.pixels[numbers].astype(np.float32) / np.float32(255)

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.integer]) -> Pictures:
        """Those that are chosen, by a mask or by their numbers."""
        return Pictures(self.pixels[chosen], self.labels[chosen], self.classes)


def open_pictures(
    data: Sequence[str], size: int | None = None, grey: bool = False, *, report: Report = lambda _line: None
) -> tuple[Pictures, Pictures]:
    """Return the training and the held-out pictures of one source.

    It is `embedded`, scikit-learn's 1,797 handwritten digits of 8×8; `mnist`, with its own test pictures; an
    .npz file with `images` and perhaps `labels`, or with train_images, train_labels, test_images and
    test_labels; or a folder of picture files, where there are subfolders one a class. Where a source has no
    split, a tenth is held out by a hash of each picture. `size` resizes all to a square; without it those of
    a folder must have one size. `grey` leaves one channel.
    Raises InputError where a source is missing, empty, damaged or not of this form.
    """
    if len(data) != 1:
        raise InputError(f"{len(data)} sources of pictures given; expected one: {KNOWN}")
    if size is not None and size < 1:
        raise InputError(f"size must be at least 1 pixel, not {size}")
    [source] = data
    training, held_out = _open(source, size, grey, report)
    if not len(training):
        raise InputError(f"{source}: no pictures to train on; expected {KNOWN}")
    return _prepared(training, size, grey), _prepared(held_out, size, grey)


def picture_for(path: Path, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """The picture in a file as a model of `shape` reads it: (channels, height, width) in [0, 1].

    It is resized, and made grey where the model knows no colours. Raises InputError as `read_picture` does.
    """
    channels, height, width = shape
    return _array(read_picture(path), channels, (width, height)).astype(np.float32) / np.float32(255)


def _open(source: str, size: int | None, grey: bool, report: Report) -> tuple[Pictures, Pictures]:
    path = Path(source)
    if source == "embedded":
        return _split(_digits())
    if path.is_dir():
        return _split(_folder(path, size, grey, report))
    if path.is_file():
        return _npz(path)
    if source in _CATALOG:
        [file] = catalog.locate(source)
        return _npz(file)
    reason = "a data set without pictures" if source in catalog.names() else "no such file or folder"
    raise InputError(f"{source}: {reason}; give {KNOWN}")


_CATALOG = ("mnist",)


def _digits() -> Pictures:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return Pictures(pixels[:, None], digits.target.astype(np.int64), tuple("0123456789"))


def _split(pictures: Pictures) -> tuple[Pictures, Pictures]:
    """Held out by a hash of the pixels, so that equal pictures are on one side."""
    held = np.array([by_hash(one.tobytes().hex(), HELD_OUT) for one in pictures.pixels], bool)
    return pictures.where(~held), pictures.where(held)


def _npz(path: Path) -> tuple[Pictures, Pictures]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a sound .npz file of numbers ({error}); write it again") from None
    except MemoryError:
        raise InputError(f"{path}: claims more than the memory holds") from None
    if "train_images" in arrays:
        training = _checked(path, "train", arrays)
        if "test_images" not in arrays:
            return _split(training)
        held_out = _checked(path, "test", arrays)
        if training.shape != held_out.shape:
            raise InputError(f"{path}: train_images are {training.shape}, test_images {held_out.shape}")
        classes = max(training.classes, held_out.classes, key=len)
        return Pictures(training.pixels, training.labels, classes), Pictures(
            held_out.pixels, held_out.labels, classes
        )
    if "images" in arrays:
        return _split(_checked(path, "", arrays))
    raise InputError(f"{path}: holds {', '.join(arrays) or 'nothing'}; expected `images`, or `train_images`")


def _checked(path: Path, part: str, arrays: dict[str, NDArray[np.generic]]) -> Pictures:
    name, of_labels = (f"{part}_images", f"{part}_labels") if part else ("images", "labels")
    pixels = _pixels(arrays[name], f"{path}: {name}")
    if of_labels not in arrays:
        return Pictures(pixels, np.full(len(pixels), NO_LABEL, np.int64))
    labels = arrays[of_labels]
    if labels.shape != (len(pixels),) or labels.dtype.kind not in "iu":
        raise InputError(
            f"{path}: {of_labels} is {labels.dtype} {labels.shape}; expected {len(pixels):,} whole numbers"
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < 1000:
        raise InputError(f"{path}: {of_labels} go from {labels.min()} to {labels.max()}; expected 0 to 999")
    classes = tuple(str(number) for number in range(int(labels.max()) + 1)) if len(labels) else ()
    return Pictures(pixels, labels.astype(np.int64), classes)


def _pixels(images: NDArray[np.generic], where: str) -> Pixels:
    """As (n, channels, height, width) bytes; floats in [0, 1] and channels behind are understood."""
    if images.dtype.kind not in "uif" or images.ndim not in (3, 4):
        raise InputError(
            f"{where} is {images.dtype} {images.shape}; expected bytes, or floats in [0, 1], of "
            "(pictures, height, width) or (pictures, channels, height, width)"
        )
    if not images.size:
        raise InputError(f"{where} is empty, {images.shape}; expected at least one picture")
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = np.moveaxis(images, 3, 1)
    if images.shape[1] not in (1, 3):
        raise InputError(f"{where} has {images.shape[1]} channels; expected 1 (grey) or 3 (red, green, blue)")
    if images.dtype == np.uint8:
        return images.astype(np.uint8)
    numbers = images.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise InputError(f"{where} holds numbers that are not finite (NaN, infinite); remove these pictures")
    largest = 1.0 if images.dtype.kind == "f" else 255.0
    low, high = float(numbers.min()), float(numbers.max())
    if low < 0 or high > largest:
        raise InputError(
            f"{where} goes from {low:g} to {high:g}; {images.dtype} is expected from 0 to {largest:g}"
        )
    return np.round(numbers * (255 / largest)).astype(np.uint8)


def _folder(path: Path, size: int | None, grey: bool, report: Report) -> Pictures:
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise InputError(f"{path}: no pictures in this folder ({', '.join(SUFFIXES)})")
    report(f"reading {len(files):,} pictures")
    images = [read_picture(file) for file in files]
    sizes = {image.size for image in images}
    if size is None and len(sizes) > 1:
        some = ", ".join(f"{width}×{height}" for width, height in sorted(sizes)[:3])
        raise InputError(f"{path}: pictures of {len(sizes)} sizes ({some} …); give --size to resize them")
    colours = not grey and any(image.mode not in ("1", "L", "I;16", "I", "F", "LA") for image in images)
    target = (size, size) if size is not None else images[0].size
    pixels = np.stack([_array(image, 3 if colours else 1, target) for image in images])
    parents = [file.relative_to(path).parts[:-1] for file in files]
    if not all(parents):
        return Pictures(pixels, np.full(len(files), NO_LABEL, np.int64))
    classes = tuple(sorted({parts[0] for parts in parents}))
    return Pictures(pixels, np.array([classes.index(parts[0]) for parts in parents]), classes)


def _array(image: Image.Image, channels: int, size: tuple[int, int]) -> Pixels:
    """Bytes (channels, height, width); what is transparent lies over white."""
    if image.mode.startswith(("I", "F")):  # 16 or 32 bits a pixel: Pillow's convert would clip at 255
        numbers = np.asarray(image, np.float64)
        spread = max(float(np.ptp(numbers)), 1e-9)
        image = Image.fromarray(np.round(255 * (numbers - numbers.min()) / spread).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("RGB" if channels == 3 else "L")
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    pixels = np.asarray(image, np.uint8)
    return pixels[None] if channels == 1 else np.moveaxis(pixels, 2, 0)


def _prepared(pictures: Pictures, size: int | None, grey: bool) -> Pictures:
    """Grey and resized where that is asked for and they are not yet so."""
    channels, height, width = pictures.shape
    channels = 1 if grey else channels
    if (channels, size or height, size or width) == pictures.shape or not len(pictures):
        return pictures
    target = (size or width, size or height)
    images = (Image.fromarray(one[0] if len(one) == 1 else np.moveaxis(one, 0, 2)) for one in pictures.pixels)
    pixels = np.stack([_array(image, channels, target) for image in images])
    return Pictures(pixels, pictures.labels, pictures.classes)
