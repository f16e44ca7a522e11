"""`bottega export`: a model in the form in which other programs open it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName, arg

DESCRIPTION = """Write a model for other programs; what they cannot compute is refused with the reason.

Example: bottega export runs/quickstart --to huggingface --out exported"""


def main(argv: list[str]) -> None:
    """Parse the arguments, export and print where the files are."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_export, args=argv, prog="bottega export", description=DESCRIPTION, config=markers)


def _export(
    model: Positional[str],
    to: Literal["huggingface"],
    out: Path,
    json_: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Export a model.

    Args:
        model: a run, a checkpoint folder, or OWNER/NAME of a repository on the Hub.
        to: huggingface: a folder that transformers opens without code of ours.
        out: the new folder, which must not exist yet.
        json_: print one JSON object.
    """
    from bottega.interop.convert import export_huggingface
    from bottega.models.load import resolve

    architecture = export_huggingface(resolve(model), out)
    if json_:
        print(json.dumps({"folder": str(out), "to": to, "architecture": architecture}))
    else:
        print(f'{out} is a {architecture}: AutoModelForCausalLM.from_pretrained("{out}") opens it')
