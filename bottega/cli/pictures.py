"""What the verbs about pictures share: the model of a run, and held-out pictures as that model sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bottega.data.pictures import Pictures
    from bottega.errors import InputError
    from bottega.models.abilities import SeesPictures

TEXT_VERB = "bottega generate continues a text"


def load_seeing(path: str, instead: str = TEXT_VERB) -> SeesPictures:
    """The model of pictures in a run; InputError where it is one of text, with the verb for that instead."""
    from bottega.errors import InputError
    from bottega.models.abilities import SeesPictures
    from bottega.models.load import load

    model = load(path)
    if not isinstance(model, SeesPictures):
        raise InputError(
            f"{path}: a {type(model).__name__} is no model of pictures ({instead}); give the run of one, "
            "such as `bottega train vae` writes"
        )
    return model


def lacking(path: str, model: object, what: str, give: str) -> InputError:
    """The error for a model that cannot do what is asked: `what` it does not do, and what to `give`."""
    from bottega.errors import InputError

    return InputError(f"{path}: a {type(model).__name__} {what}; give {give}")


def held_out_pictures(data: Sequence[str], shape: tuple[int, int, int], n: int | None = None) -> Pictures:
    """The first `n` held-out pictures of a source, or all, resized and grey where the model sees them so.

    Raises InputError where there are none, or they have colours that the model does not know.
    """
    import numpy as np

    from bottega.data.pictures import open_pictures
    from bottega.errors import InputError

    channels, height, width = shape
    _, held = open_pictures(data, size=height if height == width else None, grey=channels == 1)
    if not len(held):
        raise InputError(f"{data[0]}: too few pictures, none are held out; give more")
    if held.shape != shape:
        found, wanted = ("×".join(map(str, sizes)) for sizes in (held.shape, shape))
        raise InputError(
            f"{data[0]}: pictures of {found} (channels × height × width); the model sees {wanted}"
        )
    return held if n is None else held.where(np.arange(min(n, len(held))))


def require_count(name: str, value: int, most: int) -> None:
    """Raise InputError unless the option is from 1 to `most`."""
    from bottega.errors import InputError

    if not 1 <= value <= most:
        raise InputError(f"--{name} must be from 1 to {most:,}, not {value:,}")
