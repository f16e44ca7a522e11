"""Opening the database: SQLite for one machine, PostgreSQL by its URL; both brought to the newest tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from bottega.errors import InputError, WorkError

BUSY_SECONDS = 30  # how long a write waits for another process's, and PostgreSQL for any statement
WRITING = {"writing": True}  # the option of a connection that is going to write
_MIGRATING = 0x626F74746567  # any number; servers that start together take turns under it


def is_url(state: str) -> bool:
    """Whether a state is a database's URL rather than a folder."""
    return "://" in state


def open_database(state: str) -> Engine:
    """The database of a state: `state.db` in a folder, or PostgreSQL's at a URL.

    Raises InputError where the URL is none, WorkError where the database cannot be opened.
    """
    try:
        engine = _postgresql(state) if is_url(state) else _sqlite(Path(state))
        migrate(engine)
    except DBAPIError as error:
        reason = str(error.orig).strip().split("\n")[0]
        raise WorkError(f"cannot open the state {_shown(state)}: {reason}") from None
    return engine


def _shown(state: str) -> str:
    return make_url(state).render_as_string(hide_password=True) if is_url(state) else state


def _postgresql(given: str) -> Engine:
    try:
        url = make_url(given)
    except ArgumentError:
        raise InputError(
            "--state: expected a folder or a URL such as postgresql://user@host/database"
        ) from None
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise InputError(f"--state: expected a folder or a postgresql:// URL, not {url.drivername}://")
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        connect_args={"connect_timeout": BUSY_SECONDS, "tcp_user_timeout": 1000 * BUSY_SECONDS},
    )

    @event.listens_for(engine, "connect")
    def bound(connection: Any, _: object) -> None:
        connection.execute(f"SET statement_timeout = {1000 * BUSY_SECONDS}")
        connection.commit()

    return engine


def _sqlite(folder: Path) -> Engine:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = create_engine(f"sqlite:///{folder / 'state.db'}", connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        connection.isolation_level = None  # Python's own BEGIN would come late, and never IMMEDIATE
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and then writes would fail, not wait, where another wrote in between.
        writing = connection.get_execution_options().get("writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def migrate(engine: Engine) -> None:
    """Bring the tables to the newest form; WorkError where they are newer than this program."""
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with engine.connect().execution_options(**WRITING) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _MIGRATING})
        config.attributes["connection"] = connection
        try:
            ScriptDirectory.from_config(config)
            command.upgrade(config, "head")
        except CommandError:
            raise WorkError(
                "the state was written by a newer Bottega; start that one, or give another --state"
            ) from None
