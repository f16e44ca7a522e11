"""`bottega show states`: what the states of a hidden Markov model emit, and which follows which."""

from __future__ import annotations

from pathlib import Path

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName

DESCRIPTION = """Draw the states of a hidden Markov model, and list what each emits most.

Example: bottega show states runs/letters --out states.png"""


def main(argv: list[str]) -> None:
    """Parse the arguments, draw, list the states."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName)
    tyro.cli(_show, args=argv, prog="bottega show states", description=DESCRIPTION, config=markers)


def _show(model: Positional[str], out: Path) -> None:
    """Draw the states of a hidden Markov model.

    Args:
        model: the folder that `bottega train hmm` and its like wrote.
        out: picture to write: .png, .svg or .pdf.
    """
    from bottega.errors import InputError
    from bottega.models.hmm import HMM, Categorical
    from bottega.models.load import load, resolve
    from bottega.models.symbols import read_symbols
    from bottega.plots.states import draw_gaussian_states, draw_symbol_states

    loaded = load(model)
    if not isinstance(loaded, HMM):
        raise InputError(f"{model} holds a {type(loaded).__name__}; give a hidden Markov model")
    names = read_symbols(resolve(model), loaded.config.size)
    transition, emissions = loaded.transition.exp().numpy(), loaded.emissions
    if isinstance(emissions, Categorical):
        shares = emissions.table.exp().numpy()
        draw_symbol_states(shares, transition, names, out)
        said = ["  ".join(f"{names[i]!r} {row[i]:.3f}" for i in (-row).argsort()[:12]) for row in shares]
    else:
        mean, deviation = emissions.mean.numpy(), emissions.variance.sqrt().numpy()
        draw_gaussian_states(mean, deviation, transition, names, out)
        said = [
            ";  ".join(f"{name} {m:.2f} ± {d:.2f}" for name, m, d in zip(names, row, spread, strict=True))
            for row, spread in zip(mean, deviation, strict=True)
        ]
    for state, line in enumerate(said):
        print(f"{state}, for {1 / max(1e-9, 1 - transition[state, state]):.1f} steps:  {line}")
    print(out)
