"""Where a server keeps its state if nobody says where."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from bottega.server.store.database import is_url
from bottega.server.store.store import Store


def open_state(state: str | None = None, files: str | None = None) -> Store:
    """The store of a state, a folder or a PostgreSQL URL, with the folder of its files; else the defaults."""
    state = state or default_state()
    if files is None and is_url(state):
        # A database by URL has no folder of its own. Every server of it must see the same one, and no server
        # of another, which would sweep what its own database does not know.
        name = hashlib.sha256(state.encode()).hexdigest()[:16]
        files = os.environ.get("BOTTEGA_FILES") or str(_user_data() / f"files-{name}")
    return Store(state, files)


def default_state() -> str:
    """`BOTTEGA_STATE`, else a folder among the user's data, which backups include and cleaners spare."""
    if named := os.environ.get("BOTTEGA_STATE"):
        return named if is_url(named) else str(Path(named).expanduser())
    return str(_user_data() / "server")


def _user_data() -> Path:
    if sys.platform == "win32":
        data = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        data = Path.home() / "Library" / "Application Support"
    else:
        data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return data / "bottega"
