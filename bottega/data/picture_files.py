"""Single picture files: read with every doubt said, written whole or not at all."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from bottega.data.disk import atomic_file
from bottega.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".pgm", ".ppm")
LARGEST = 2**26  # pixels that a picture may have, 8,192 × 8,192: a few bytes can claim any number


def read_picture(path: Path) -> Image.Image:
    """The picture in a file; raises InputError where it is none, is damaged, or claims too many pixels."""
    if not path.is_file():
        raise InputError(f"{path}: {'a folder' if path.is_dir() else 'no such file'}; expected a picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # LARGEST is stricter
            with Image.open(path) as image:
                if image.width * image.height > LARGEST:
                    raise InputError(
                        f"{path}: {image.width:,} × {image.height:,} pixels; at most {LARGEST:,} are read"
                    )
                image.load()
                return image.copy()
    except UnidentifiedImageError:
        raise InputError(f"{path}: is not a picture; expected {', '.join(SUFFIXES)}") from None
    except Image.DecompressionBombError:
        raise InputError(f"{path}: claims too many pixels; at most {LARGEST:,} are read") from None
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's words for damaged files
        raise InputError(f"{path}: the picture is damaged ({error}); get it again or remove it") from None


def save_picture(image: Image.Image, path: Path) -> None:
    """Write a picture in the format that the file's ending names."""
    with atomic_file(path) as file:
        file.write(_encoded(path, [image]))


def save_gif(images: Sequence[Image.Image], path: Path, milliseconds: int) -> None:
    """Write pictures as an endless animation, each shown for so long, the last one three times as long."""
    if not images:
        raise InputError(f"{path}: an animation needs at least one picture")
    durations = [milliseconds] * (len(images) - 1) + [3 * milliseconds]
    with atomic_file(path) as file:
        file.write(
            _encoded(path, images, save_all=True, append_images=images[1:], duration=durations, loop=0)
        )


def _encoded(path: Path, images: Sequence[Image.Image], **options: object) -> bytes:
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind is None:
        raise InputError(f"{path}: unknown kind of picture; name a file that ends in .png, .gif or .jpg")
    buffer = io.BytesIO()
    try:
        images[0].save(buffer, kind, **options)
    except (OSError, KeyError) as error:
        raise InputError(f"{path}: {error}; name a file that ends in .png") from None
    return buffer.getvalue()
