"""`bottega train`: a preset on prepared data; the same command resumes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

from bottega.errors import InputError
from bottega.training.config import TrainingConfig

if TYPE_CHECKING:
    from bottega.models.gpt import GPTConfig

DESCRIPTION = """Train a preset on what `bottega data prepare` wrote; `--list` shows the presets.

Example: bottega train modern-5m --data data/shakespeare --out runs/first --minutes 10
         bottega train modern-5m --data data/books=0.8 data/code=0.2 --out runs/both --minutes 10

The same command goes on with a run that was stopped. Any field of the model's shape can be set too, such as
--n-layer 6 or --context-length 256. Two processes: torchrun --nproc-per-node 2 --no-python bottega train …"""

DATA_HELP = "folder that `bottega data prepare` wrote; several, each as FOLDER=WEIGHT, are mixed by weight"

# The vocabulary is the data's; a table is nothing for a command line.
NOT_OFFERED = ("vocab_size", "rope_scaling")


def main(argv: list[str]) -> None:
    """List the presets, or train one."""
    if "--list" in argv:
        print(_presets())
        return
    # Which fields there are follows from the preset, so it is read first.
    name = argv[0] if argv and not argv[0].startswith("-") else None
    if name is None and not {"-h", "--help"} & set(argv):
        raise InputError("name a preset first, as in `bottega train modern-5m …`; --list shows them")
    shape = _shape(name)
    arguments = tyro.cli(
        _arguments(shape),
        args=argv,
        prog="bottega train",
        description=DESCRIPTION,
        config=(OmitArgPrefixes, FlagCreatePairsOff),
    )
    _train(shape, arguments)


def _shape(name: str | None) -> GPTConfig | None:
    if name is None:
        return None
    from bottega.recipes.presets import preset

    return preset(name)


def _arguments(shape: GPTConfig | None) -> type[Any]:
    """The arguments as a dataclass: what `train` takes, its configuration, and the preset's fields."""
    fields: list[tuple[Any, ...]] = [
        ("preset", Annotated[Positional[str], arg(help="a name that --list shows")]),
        ("data", Annotated[tuple[str, ...], arg(help=DATA_HELP)]),
        ("out", Annotated[Path, arg(help="folder of the run; it is resumed where it exists")]),
        ("training", TrainingConfig),
    ]
    if shape is not None:
        hints = get_type_hints(type(shape))
        own = [
            (field.name, hints[field.name], dataclasses.field(default=getattr(shape, field.name)))
            for field in dataclasses.fields(shape)
            if field.name not in NOT_OFFERED
        ]
        fields.append(("model", dataclasses.make_dataclass("Model", own, frozen=True)))
    return dataclasses.make_dataclass("Arguments", fields, frozen=True)


def _train(shape: GPTConfig | None, arguments: Any) -> None:
    from bottega.training.distributed import world_from_environment
    from bottega.training.pretrain import pretrain
    from bottega.training.progress import Display

    assert shape is not None
    changed = dataclasses.replace(shape, **dataclasses.asdict(arguments.model))
    with Display() as display:
        result = pretrain(changed, mixture(arguments.data), arguments.out, arguments.training, display)
    if world_from_environment().writes:
        values = "".join(
            f", held-out {name.replace('_', ' ')} {value:.4f}" for name, value in result.validation.items()
        )
        print(f"{result.checkpoint}: {result.step:,} steps, {result.tokens:,} tokens{values}")


def mixture(given: tuple[str, ...]) -> dict[Path, float]:
    """Folders with their weights, from FOLDER or FOLDER=WEIGHT; a single one needs no weight.

    Raises InputError where a weight is missing or no number, or a folder is named twice.
    """
    weights: dict[Path, float] = {}
    for one in given:
        folder, separator, weight = one.rpartition("=")
        if Path(one).exists() or not separator:
            folder, weight = one, "1" if len(given) == 1 else ""
        try:
            value = float(weight)
        except ValueError:
            raise InputError(f"{one}: expected FOLDER=WEIGHT, such as data/books=0.8") from None
        if Path(folder) in weights:
            raise InputError(f"{folder} is named twice; give each folder once")
        weights[Path(folder)] = value
    if not weights:
        raise InputError("--data names no folder; give what `bottega data prepare` wrote")
    return weights


def _presets() -> str:
    from bottega.recipes.presets import PRESETS, count_parameters

    rows = [("preset", "parameters", "layers", "width", "heads", "context")]
    for name, shape in PRESETS.items():
        size = f"{count_parameters(shape):,}"
        rows.append(
            (name, size, str(shape.n_layer), str(shape.n_embd), str(shape.n_head), str(shape.context_length))
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return "\n".join("  ".join([row[0].strip().ljust(widths[0]), *row[1:]]) for row in aligned)
