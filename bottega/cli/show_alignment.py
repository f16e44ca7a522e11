"""`bottega show alignment`: which words of the source a translator looked at for each that it wrote."""

from __future__ import annotations

from pathlib import Path

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName

DESCRIPTION = """Draw the alignment of a translation with its source, as attention found it.

Example: bottega show alignment runs/bahdanau "A man rides a horse." --out alignment.png"""


def main(argv: list[str]) -> None:
    """Parse the arguments, read the text, draw the picture."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_show, args=argv, prog="bottega show alignment", description=DESCRIPTION, config=markers)


def _show(model: Positional[str], source: Positional[str], out: Path, target: str | None = None) -> None:
    """Draw where a translator looked.

    Args:
        model: a run or a checkpoint folder of a translator with attention.
        source: what it reads.
        out: picture to write: .png, .svg or .pdf.
        target: the translation to align; the model's own if not given.
    """
    from bottega.errors import InputError
    from bottega.evaluation.attention import read_attention
    from bottega.plots.alignment import draw_alignment

    seen = read_attention(model, source, target)
    if "cross" not in seen.maps:
        raise InputError(f"{model} reads one text only; an alignment needs a translator")
    # A Transformer's last layer stands nearest to what is written; its heads share the work.
    weights = seen.maps["cross"][-1].float().mean(0).numpy()
    draw_alignment(weights, seen.source, [*seen.target[1:], seen.source[-1]], out)
    print(out)
