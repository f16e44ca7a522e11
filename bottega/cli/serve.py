"""`bottega serve`: models behind the OpenAI API."""

from __future__ import annotations

from pathlib import Path

import tyro
from tyro.conf import (
    DisallowNone,
    FlagCreatePairsOff,
    OmitArgPrefixes,
    Positional,
    PositionalMetavarFromFieldName,
)

from bottega.engine.settings import DEFAULT as ENGINE
from bottega.engine.settings import EngineSettings
from bottega.errors import InputError
from bottega.server.settings import DEFAULT, ServerSettings

DESCRIPTION = """Serve models behind the OpenAI API until Ctrl-C.

Example: bottega serve runs/quickstart --port 8000
         bottega serve small=runs/a large=runs/b --weights int8"""


def main(argv: list[str]) -> None:
    """Parse the arguments and serve."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_serve, args=argv, prog="bottega serve", description=DESCRIPTION, config=markers)


def _serve(
    models: Positional[tuple[str, ...]],
    host: str = "127.0.0.1",
    port: int = 8000,
    engine: OmitArgPrefixes[EngineSettings] = ENGINE,
    server: OmitArgPrefixes[ServerSettings] = DEFAULT,
) -> None:
    """Serve models.

    Args:
        models: runs, checkpoint folders or Hub repositories; each is called by its last name, or NAME=PATH.
        host: the address to listen on; other machines reach 0.0.0.0, but not the default.
        port: the port to listen on; 0 takes a free one.
        engine: how each model is run.
        server: what holds for every request.
    """
    from bottega.server.run import serve

    if not models:
        raise InputError("name at least one model, such as: bottega serve runs/quickstart")
    serve(name_models(models), engine, host, port, server)


def name_models(given: tuple[str, ...]) -> dict[str, str]:
    """Name → path: what is before `=`, else the folder's own name; a repository keeps its owner's.

    Raises InputError where two have one name.
    """
    named: dict[str, str] = {}
    for one in given:
        name, separator, path = one.partition("=")
        if not separator:
            name, path = _own_name(one), one
        if not name or not path:
            raise InputError(f"{one!r}: expected NAME=PATH or a path")
        if name in named:
            raise InputError(f"two models are called {name!r}; name one of them: other-name={path}")
        named[name] = path
    return named


def _own_name(path: str) -> str:
    # Not resolved first: `latest` is a link to a step, and a run is called by its own name.
    folder = Path(path).absolute()
    if not folder.exists():
        return path
    return folder.parent.name if folder.name == "latest" else folder.name
