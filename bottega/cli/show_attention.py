"""`bottega show attention`: a page with every head of a model that reads a text."""

from __future__ import annotations

from pathlib import Path

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName

DESCRIPTION = """Write a page that shows who looks at whom, in every head; any browser opens it, offline.

Example: bottega show attention runs/quickstart "The cat sat down because it was tired." --out page.html
         bottega show attention runs/german "A man plays." --target "Ein Mann spielt." --out page.html
         bottega show attention runs/vit digit.png --out page.html"""


def main(argv: list[str]) -> None:
    """Parse the arguments, read the text, write the page."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_show, args=argv, prog="bottega show attention", description=DESCRIPTION, config=markers)


def _show(model: Positional[str], text: Positional[str], out: Path, target: str | None = None) -> None:
    """Show the attention of a model on a text.

    Args:
        model: a run, a checkpoint folder or a Hub repository: a GPT, BERT, ViT, or translator with attention.
        text: what it reads; for a ViT the file of a picture.
        out: the page to write.
        target: the translation that a translator reads beside it (its own if not given); BERT's second text.
    """
    from bottega.data.disk import atomic_file
    from bottega.evaluation.picture_attention import sees_pictures

    page = _of_picture(model, text, target) if sees_pictures(model) else _of_text(model, text, target)
    with atomic_file(out) as file:
        file.write(page.encode())
    print(out)


def _of_text(model: str, text: str, target: str | None) -> str:
    from bottega.evaluation.attention import read_attention
    from bottega.plots.attention_page import attention_page

    seen = read_attention(model, text, target)
    maps = {name: weights.float().numpy() for name, weights in seen.maps.items()}
    return attention_page(maps, seen.source, seen.target, title=f"Attention in {model}")


def _of_picture(model: str, file: str, target: str | None) -> str:
    from bottega.errors import InputError
    from bottega.evaluation.picture_attention import read_picture_attention
    from bottega.plots.picture_attention_page import picture_attention_page

    if target is not None:
        raise InputError("--target is for translators and BERT; a ViT sees one picture")
    seen = read_picture_attention(model, Path(file))
    title = f"Attention in {model}"
    return picture_attention_page(seen.picture, seen.weights, seen.through, seen.grid, seen.said, title)
