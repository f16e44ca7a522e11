"""`bottega train`: a preset on its data; the same command resumes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import tyro
from tyro.conf import Fixed, FlagCreatePairsOff, OmitArgPrefixes, Positional, Suppress, arg

from bottega.errors import InputError
from bottega.training.config import BUDGETS

if TYPE_CHECKING:
    from bottega.recipes.preset import Preset

DESCRIPTION = """Train a preset; `--list` shows all, with the data that each takes (--json for programs).

Example: bottega train modern-5m --data data/shakespeare --out runs/first --minutes 10
         bottega train modern-5m --data data/books=0.8 data/code=0.2 --out runs/both --minutes 10

The same command goes on with a run that was stopped; what is counted (the presets without a number of
parameters) starts again. Any field of the model's shape can be set too, such as
--n-layer 6 or --context-length 256. Two processes: torchrun --nproc-per-node 2 --no-python bottega train …"""


def main(argv: list[str]) -> None:
    """List the presets, or train one."""
    if "--list" in argv:
        from bottega.cli.train_list import listing

        print(listing(as_json="--json" in argv))
        return
    # Which fields there are follows from the preset, so it is read first.
    name = argv[0] if argv and not argv[0].startswith("-") else None
    if name is None and not {"-h", "--help"} & set(argv):
        raise InputError("name a preset first, as in `bottega train modern-5m …`; --list shows them")
    preset = _find(name)
    arguments = tyro.cli(
        _arguments(preset),
        args=argv if preset is None else argv[1:],
        prog="bottega train" if name is None else f"bottega train {name}",
        description=DESCRIPTION if name is None or preset is None else _about(name, preset),
        config=(OmitArgPrefixes, FlagCreatePairsOff),
    )
    assert preset is not None  # without one, --help has left
    _train(preset, arguments)


def _about(name: str, preset: Preset) -> str:
    """What the help of one preset begins with; its example runs as it stands."""
    data = preset.data.split()[0].rstrip(",;")
    budget = " --minutes 10" if isinstance(preset.training, type) else ""
    base = f" --model runs/{preset.base}" if preset.base else ""
    example = f"bottega train {name} --data {data} --out runs/{name}{base}{budget}"
    return f"{preset.about}\n\nExample: {example}"


def _find(name: str | None) -> Preset | None:
    if name is None:
        return None
    from bottega.recipes.presets import find

    return find(name)


def _arguments(preset: Preset | None) -> type[Any]:
    """The arguments as a dataclass: what `train` takes, the run's options, and the model's shape."""
    data = "what --list says" if preset is None else preset.data
    named = [("preset", Annotated[Positional[str], arg(help="a name that --list shows")])]
    fields: list[tuple[Any, ...]] = [
        *(named if preset is None else []),
        ("data", Annotated[tuple[str, ...], arg(help=data)]),
        ("out", Annotated[Path, arg(help=_out(preset))]),
    ]
    if preset is not None:
        fields.append(("training", _options(preset.training, dict.fromkeys(BUDGETS))))
        fields.append(("model", _options(preset.shape, {}, preset.not_offered)))
    return dataclasses.make_dataclass("Arguments", fields, frozen=True)


def _out(preset: Preset | None) -> str:
    if preset is None or preset.resumes:
        return "folder of the run; it is resumed where it exists"
    return "folder of the model; the same command starts again and replaces it"


def _options(values: Any, defaults: dict[str, Any], fixed: tuple[str, ...] = ()) -> type[Any]:
    """A dataclass with the fields of `values`, an instance or a class, as options.

    It inherits from theirs, whose comments are the help, but checks nothing yet: the real one does.
    """
    cls = values if isinstance(values, type) else type(values)
    hints = get_type_hints(cls)
    own = []
    for field in dataclasses.fields(cls):
        hint = Annotated[hints[field.name], Fixed, Suppress] if field.name in fixed else hints[field.name]
        default = defaults.get(field.name, getattr(values, field.name, dataclasses.MISSING))
        own.append((field.name, hint, dataclasses.field(default=default)))
    unchecked = {"__post_init__": lambda _: None}
    return dataclasses.make_dataclass(cls.__name__, own, bases=(cls,), namespace=unchecked, frozen=True)


def _train(preset: Preset, arguments: Any) -> None:
    from bottega.training.progress import Display

    shape, training = _chosen(preset.shape, arguments.model), _chosen(preset.training, arguments.training)
    with Display() as display:
        said = preset.run(shape, arguments.data, arguments.out, training, display)
    if said:
        print(said)


def _chosen(values: Any, given: Any) -> Any:
    """The preset's values with those that were given; its budget counts where no other was given."""
    changed = {field.name: getattr(given, field.name) for field in dataclasses.fields(given)}
    if set(BUDGETS) <= set(changed) and all(changed[name] is None for name in BUDGETS):
        changed |= {name: getattr(values, name) for name in BUDGETS}
    return (values if isinstance(values, type) else type(values))(**changed)
