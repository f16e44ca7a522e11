"""Folders of sentence encoders as `sentence-transformers` lays them out: modules in a row. Without torch.

The rows that are read are a BERT or a table of token vectors, a pooling, and a scaling to unit length; what a
folder asks for beside these is refused with the reason.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bottega.errors import InputError
from bottega.interop.locate import LONGEST_JSON, read_json
from bottega.interop.values import size

Pooling = Literal["mean", "log-mean", "cls", "max"]
POOLINGS: dict[Pooling, str] = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}  # theirs
TABLE = "bottega-sentence-encoder"  # the model type of our folders that hold a table of vectors


@dataclass(frozen=True)
class Layout:
    """What a folder's modules do: whether they are a table of vectors alone, how they pool and scale.

    `max_tokens` is where texts are cut, None where the folder does not say.
    """

    static: bool
    pooling: Pooling = "mean"
    normalized: bool = True
    max_tokens: int | None = None


def read_layout(folder: Path) -> Layout:
    """The layout that a folder says; a BERT's without modules.json is pooled by the mean, as is usual.

    Raises InputError for a module that is not computed here.
    """
    if not (folder / "modules.json").is_file():
        static = read_json(folder / "config.json").get("model_type") == TABLE
        return Layout(static, normalized=True, max_tokens=_max_tokens(folder))
    modules = _modules(folder)
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    if not kinds or kinds[0] not in ("Transformer", "StaticEmbedding"):
        raise _unfit(folder, f"begins with {kinds[0] if kinds else 'nothing'}")
    static = kinds[0] == "StaticEmbedding"
    normalized = kinds[-1] == "Normalize"
    between = kinds[1:-1] if normalized else kinds[1:]
    if between != ([] if static else ["Pooling"]):
        raise _unfit(folder, f"has {' and '.join(between) or 'no Pooling'} behind its {kinds[0]}")
    if modules[0].get("path"):
        raise InputError(f"{folder}/modules.json keeps its first module in a folder of its own; merge them")
    if static:
        return Layout(True, normalized=normalized, max_tokens=_max_tokens(folder))
    return Layout(False, _pooling(folder / str(modules[1].get("path"))), normalized, _max_tokens(folder))


def encoder_sizes(folder: Path) -> tuple[int, int, int]:
    """The most tokens of a text, the vocabulary's size and the width, of a BERT or a table of vectors."""
    hf, layout = read_json(folder / "config.json"), read_layout(folder)
    context = size(hf, "context_length" if layout.static else "max_position_embeddings")
    cut = layout.max_tokens if not layout.static else hf.get("max_tokens")
    width = size(hf, "n_embd" if layout.static else "hidden_size")
    return min(context, cut or context), size(hf, "vocab_size"), width


def write_layout(folder: Path, layout: Layout, width: int) -> None:
    """Write modules.json and what it names into a folder that holds the weights.

    Nothing is for a `log-mean`, which no module there computes: it must not open there as a plain mean.
    """
    if layout.pooling == "log-mean":
        return
    kinds = ["StaticEmbedding"] if layout.static else ["Transformer", "Pooling"]
    kinds += ["Normalize"] if layout.normalized else []
    paths = ["", *(f"{number}_{kind}" for number, kind in enumerate(kinds[1:], 1))]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    if not layout.static:
        flags = {f"pooling_mode_{name}": kind == layout.pooling for kind, name in POOLINGS.items()}
        (folder / paths[1]).mkdir(exist_ok=True)
        _write(folder / paths[1] / "config.json", {"word_embedding_dimension": width, **flags})
        _write(
            folder / "sentence_bert_config.json",
            {"max_seq_length": layout.max_tokens, "do_lower_case": False},
        )
    if layout.normalized:
        (folder / paths[-1]).mkdir(exist_ok=True)
        _write(folder / paths[-1] / "config.json", {})
    _write(folder / "modules.json", modules)


def _modules(folder: Path) -> list[dict[str, Any]]:
    path = folder / "modules.json"
    try:
        if path.stat().st_size > LONGEST_JSON:
            raise ValueError("far too long")
        modules = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error}); copy or download it again") from None
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise InputError(f"{path} holds no list of modules; copy or download it again")
    return modules


def _pooling(folder: Path) -> Pooling:
    given = read_json(folder / "config.json")
    if "pooling_mode" in given:  # as version 6 writes it
        chosen = [given["pooling_mode"]] if isinstance(given["pooling_mode"], str) else given["pooling_mode"]
    else:
        chosen = [name for name, value in given.items() if name.startswith("pooling_mode_") and value]
        chosen = [name.removeprefix("pooling_mode_") for name in chosen]
    by_name = {name: kind for kind, long in POOLINGS.items() for name in (kind, long)}
    if not isinstance(chosen, list) or len(chosen) != 1 or chosen[0] not in by_name:
        raise _unfit(folder, f"pools by {chosen}")
    return by_name[chosen[0]]


def _max_tokens(folder: Path) -> int | None:
    """Where the folder cuts texts, from either file that may say it."""
    for name, field in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        if (folder / name).is_file():
            value = read_json(folder / name).get(field)
            if isinstance(value, int) and 0 < value < 10**9:
                return value
    return None


def _unfit(folder: Path, what: str) -> InputError:
    return InputError(
        f"{folder} {what}; expected a Transformer with one Pooling (mean, cls or max) or a StaticEmbedding, "
        "then at most a Normalize"
    )


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
