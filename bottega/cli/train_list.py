"""What `bottega train --list` prints: every preset by family, with its data, minutes and expected figure."""

from __future__ import annotations

import json
from typing import Any

from bottega.recipes.preset import Preset


def listing(as_json: bool) -> str:
    """The presets, family by family, for readers; or one JSON object a preset, line by line."""
    from bottega.recipes.presets import FAMILIES

    if as_json:
        return "\n".join(
            json.dumps({"name": name, "family": family, **_facts(one)}, ensure_ascii=False)
            for family, presets in FAMILIES.items()
            for name, one in presets.items()
        )
    width = max(len(name) for presets in FAMILIES.values() for name in presets)
    return "\n\n".join(_family(family, presets, width) for family, presets in FAMILIES.items())


def _family(family: str, presets: dict[str, Preset], width: int) -> str:
    shared = len({one.data for one in presets.values()}) == 1
    lines = [family] + [f"  --data {one.data}" for one in [*presets.values()][:1] if shared]
    for name, one in presets.items():
        facts = _facts(one)
        size = "" if facts["parameters"] is None else f"{facts['parameters']:,}"
        minutes = "" if facts["minutes"] is None else f"{facts['minutes']:g} min"
        lines.append(f"  {name:<{width}}  {size:>15}  {minutes:>8}  {one.about}")
        indent = " " * (width + 31)
        lines += [f"{indent}--data {one.data}"] if not shared else []
        lines += [f"{indent}reaches {one.expected}"] if one.expected else []
    return "\n".join(lines)


def _facts(one: Preset) -> dict[str, Any]:
    parameters = count_parameters(one.shape)
    return {
        "about": one.about,
        "parameters": parameters,
        "data": one.data,
        "minutes": getattr(one.training, "minutes", None) if one.minutes is None else one.minutes,
        "expected": one.expected or None,
    }


def count_parameters(shape: Any) -> int | None:
    """The parameters of a network of this shape, without allocating any; None of what is counted."""

    from bottega.models.bert import BERT, BERTConfig
    from bottega.models.gpt import GPT, GPTConfig
    from bottega.models.recurrent import RecurrentConfig, RecurrentLM
    from bottega.nn.undrawn import undrawn

    with undrawn():
        if isinstance(shape, GPTConfig):
            return GPT(shape).n_parameters()
        if isinstance(shape, BERTConfig):
            return BERT(shape).n_parameters()
        if isinstance(shape, RecurrentConfig):
            return RecurrentLM(shape).n_parameters()
        return sum(p.numel() for p in shape.build().parameters()) if hasattr(shape, "build") else None
