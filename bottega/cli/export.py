"""`bottega export`: a model in the form in which other programs open it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName, arg

DESCRIPTION = """Write a model for other programs; what they cannot compute is refused with the reason.

Example: bottega export runs/quickstart --to huggingface --out exported
         bottega export runs/quickstart --to gguf --out quickstart.gguf --weights q8_0
         bottega export runs/translator --to ctranslate2 --out translator-ct2"""


def main(argv: list[str]) -> None:
    """Parse the arguments, export and print where the files are."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_export, args=argv, prog="bottega export", description=DESCRIPTION, config=markers)


def _export(
    model: Positional[str],
    to: Literal["huggingface", "gguf", "ctranslate2"],
    out: Path,
    weights: Literal["f32", "bf16", "q8_0"] | None = None,
    json_: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Export a model.

    Args:
        model: a run, a checkpoint folder, or OWNER/NAME of a repository on the Hub.
        to: huggingface: a folder that transformers opens without code of ours; gguf: a file for llama.cpp;
            ctranslate2: a folder for that engine, of a translator.
        out: the new folder or file, which must not exist yet.
        weights: how gguf stores matrices (by default f32); huggingface keeps what the checkpoint has,
            ctranslate2 has f32 and packs when it loads.
        json_: print one JSON object.
    """
    from bottega.errors import InputError
    from bottega.interop.convert import export_huggingface
    from bottega.models.load import resolve

    if to == "gguf":
        from bottega.interop.gguf_file import export_gguf

        architecture = export_gguf(resolve(model), out, weights or "f32")
        opens = f"llama-server --model {out}"
    elif weights is not None:
        raise InputError("--weights is for --to gguf; a huggingface folder keeps the checkpoint's dtype")
    elif to == "ctranslate2":
        from bottega.interop.ctranslate2_folder import export_ctranslate2

        architecture = export_ctranslate2(resolve(model), out)
        opens = f'ctranslate2.Translator("{out}")'
    else:
        architecture = export_huggingface(resolve(model), out)
        opens = f'AutoModelForCausalLM.from_pretrained("{out}")'
    if json_:
        print(json.dumps({"out": str(out), "to": to, "architecture": architecture}))
    else:
        print(f"{out} is a {architecture}: {opens} opens it")
