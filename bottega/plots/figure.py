"""Figures written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bottega.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figure(figure: Figure, out: Path) -> None:
    """Write a figure in the format that the file's ending names; InputError for one that nobody knows."""
    draft = out.with_name(f".{out.stem}.partial{out.suffix}")
    try:
        figure.savefig(draft)
        draft.replace(out)
    except ValueError as error:
        raise InputError(f"{out}: {str(error).splitlines()[0]}; name a .png, .svg or .pdf") from None
    finally:
        draft.unlink(missing_ok=True)
