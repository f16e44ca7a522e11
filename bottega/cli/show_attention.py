"""`bottega show attention`: a page with every head of a model that reads a text."""

from __future__ import annotations

from pathlib import Path

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName

DESCRIPTION = """Write a page that shows who looks at whom, in every head; any browser opens it, offline.

Example: bottega show attention runs/quickstart "The cat sat down because it was tired." --out page.html
         bottega show attention runs/german "A man plays." --target "Ein Mann spielt." --out page.html"""


def main(argv: list[str]) -> None:
    """Parse the arguments, read the text, write the page."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_show, args=argv, prog="bottega show attention", description=DESCRIPTION, config=markers)


def _show(model: Positional[str], text: Positional[str], out: Path, target: str | None = None) -> None:
    """Show the attention of a model on a text.

    Args:
        model: a run, a checkpoint folder or a Hub repository: a GPT, BERT, or a translator with attention.
        text: what it reads.
        out: the page to write.
        target: the translation that a translator reads beside it (its own if not given); BERT's second text.
    """
    from bottega.data.disk import atomic_file
    from bottega.evaluation.attention import read_attention
    from bottega.plots.attention_page import attention_page

    seen = read_attention(model, text, target)
    maps = {name: weights.float().numpy() for name, weights in seen.maps.items()}
    page = attention_page(maps, seen.source, seen.target, title=f"Attention in {model}")
    with atomic_file(out) as file:
        file.write(page.encode())
    print(out)
