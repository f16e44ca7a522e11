"""`bottega import`: a checkpoint from the Hub or from a folder becomes a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName, arg

DESCRIPTION = """Bring a checkpoint of type gpt2, openai-gpt, llama or qwen3 in, checked.

Example: bottega import openai-community/gpt2 --out runs/gpt2"""


def main(argv: list[str]) -> None:
    """Parse the arguments, import and print where the model is."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_import, args=argv, prog="bottega import", description=DESCRIPTION, config=markers)


def _import(source: Positional[str], out: Path, json_: Annotated[bool, arg(name="json")] = False) -> None:
    """Import a checkpoint.

    Args:
        source: a folder with config.json and safetensors, or OWNER/NAME of a repository on the Hub.
        out: the new run, which must not exist yet.
        json_: print one JSON object.
    """
    from bottega.errors import InputError
    from bottega.interop.convert import import_checkpoint
    from bottega.models.links import set_link
    from bottega.models.load import load_tokenizer, resolve

    step = import_checkpoint(resolve(source), out, source)
    set_link(out / "latest", step.name)
    try:
        load_tokenizer(step)
        trouble = None
    except InputError as error:
        trouble = str(error)
    if json_:
        print(json.dumps({"model": str(out), "folder": str(step), "tokenizer": trouble is None}))
    elif trouble is None:
        print(f'{out} holds the model; try: bottega generate {out} "Once upon a time"')
    else:
        print(f"{out} holds the model, but text cannot be given to it: {trouble}")
