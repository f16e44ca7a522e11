"""`bottega show positions`: what a Transformer adds to its embeddings, or turns them by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from bottega.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Positions:
    """Draw sinusoidal, binary and rotary positions, and those that a translator has learnt.

    Example: bottega show positions --out positions.png
    """

    out: Path
    """Picture to write: .png, .svg or .pdf."""
    model: Path | None = None
    """A translator or GPT with learnt positions, to draw them too."""
    n: int = 64
    """Positions to draw."""
    width: int = 64
    """Channels of the tables that are not learnt."""


def main(argv: list[str]) -> None:
    """Draw the tables into one picture."""
    asked = tyro.cli(Positions, args=argv, prog="bottega show positions", config=(tyro.conf.DisallowNone,))
    if asked.n < 2 or asked.width < 2 or asked.width % 2:
        raise InputError(f"n {asked.n} and width {asked.width}: expected at least 2, and an even width")
    import torch

    from bottega.nn.positions import binary, rotary_frequencies, rotary_table, sinusoidal
    from bottega.plots.positions import draw_positions

    at = torch.arange(asked.n)
    cosine, sine = rotary_table(at, rotary_frequencies(asked.width, 10000.0))
    tables = {
        "sinusoidal": sinusoidal(at, asked.width),
        "binary": binary(at, asked.width)[:, : max(2, asked.n.bit_length())],
        "rotary (cosines)": cosine[0],
    }
    products = {name: table @ table.T for name, table in tables.items()}
    # What is left of q · k where both are one vector, turned by their positions.
    products["rotary (cosines)"] = cosine[0] @ cosine[0].T + sine[0] @ sine[0].T
    if asked.model is not None:
        tables["learnt"] = learnt = _learnt(asked.model)[: asked.n]
        products["learnt"] = torch.nn.functional.normalize(learnt) @ torch.nn.functional.normalize(learnt).T
    arrays = [{name: table.numpy() for name, table in group.items()} for group in (tables, products)]
    draw_positions(arrays[0], arrays[1], asked.out)
    print(asked.out)


def _learnt(path: Path) -> Tensor:
    from bottega.models.load import load

    model = load(path)
    embedding = getattr(model, "source_positions", None) or getattr(model, "pos_emb", None)
    if embedding is None:
        raise InputError(f"{path}: its positions are not learnt; train one with --positions learnt")
    weight: Tensor = embedding.weight.detach()
    return weight
