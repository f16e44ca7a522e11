"""Stores to test: SQLite in a folder, and a PostgreSQL that the tests start themselves."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from bottega.server.store import Store


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of an empty PostgreSQL server on a free loopback port."""
    pwd = pytest.importorskip("pwd", reason="PostgreSQL is tested under a POSIX system only")
    programs = postgresql_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: there is no program `postgres`")
    # It refuses to run as root, and its folder must be its user's own.
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="bottega-postgresql-", ignore_cleanup_errors=True) as folder:
        if user is not None:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        data = Path(folder) / "data"
        make = [programs / "initdb", "-D", data, "-U", "bottega", "--auth=trust", "--no-sync"]
        made = subprocess.run(make, user=user, cwd=folder, capture_output=True, text=True, timeout=120)
        assert made.returncode == 0, made.stderr
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = (f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off")
        run = [programs / "postgres", "-D", data, *(word for one in options for word in ("-c", one))]
        with (Path(folder) / "log").open("w+") as log:
            server = subprocess.Popen(run, user=user, cwd=folder, stdout=log, stderr=log)
            try:
                url = f"postgresql://bottega@127.0.0.1:{port}/postgres"
                wait_for(url, server, log)
                yield url
            finally:
                server.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
                server.wait(60)


def postgresql_programs() -> Path | None:
    """The folder of PostgreSQL's programs; Debian keeps them off the PATH, in one folder a version."""
    found = shutil.which("postgres")
    if found is not None:
        return Path(found).resolve().parent
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    return max(folders, key=lambda folder: [int(n) for n in folder.parent.name.split(".")], default=None)


def wait_for(url: str, server: subprocess.Popen[bytes], log: IO[str]) -> None:
    import psycopg

    until = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            assert server.poll() is None and time.monotonic() < until, (log.seek(0), log.read())[1]
            time.sleep(0.1)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        opened = Store(tmp_path / "state")
    else:
        opened = Store(empty(request.getfixturevalue("postgresql")), tmp_path / "files")
    yield opened
    opened.close()


def empty(url: str) -> str:
    """The URL, after everything in its database is gone."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return url
