"""The store on SQLite and on PostgreSQL: the same behaviour from both."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError, OperationalError

from bottega.errors import InputError, WorkError
from bottega.server.store import Store
from bottega.server.store.tables import Base


def ids(page: tuple[list[dict], bool]) -> list[str]:
    return [body["id"] for body in page[0]]


def fill(store: Store, n: int, owner: str = "") -> None:
    for i in range(n):
        store.put("panel", f"{owner}{i}", {"id": f"{owner}{i}", "wood": "poplar" if i % 2 else "oak"}, owner)


def test_a_body_comes_back_as_it_was_put(store: Store):
    body = {"id": "a", "n": 2**60, "x": 0.1, "text": "Übermut 🎨 \x00", "none": None, "list": [1, {"k": []}]}
    store.put("panel", "a", body)
    assert store.get("panel", "a") == body
    assert store.get("panel", "b") is None
    assert store.get("wall", "a") is None
    assert store.get("panel", "a\x00") is None


def test_an_object_is_invisible_to_others(store: Store):
    fill(store, 2, "bardi")
    assert store.get("panel", "bardi0", "peruzzi") is None
    assert store.get("panel", "bardi0") is None
    assert not store.update("panel", "bardi0", {"id": "stolen"}, "peruzzi")
    assert not store.delete("panel", "bardi0", "peruzzi")
    assert store.list("panel", "peruzzi") == ([], False)
    with pytest.raises(InputError, match="there is no panel 'bardi0'"):
        store.list("panel", "peruzzi", after="bardi0")
    assert store.get("panel", "bardi0", "bardi") == {"id": "bardi0", "wood": "oak"}


def test_an_id_is_given_once(store: Store):
    fill(store, 1)
    with pytest.raises(IntegrityError):
        store.put("panel", "0", {"id": "0"}, "other")
    assert store.get("panel", "0") == {"id": "0", "wood": "oak"}


def test_pages_follow_each_other(store: Store):
    fill(store, 7)
    first = store.list("panel", limit=3)
    assert (ids(first), first[1]) == (["6", "5", "4"], True)
    last = store.list("panel", limit=4, after="4")
    assert (ids(last), last[1]) == (["3", "2", "1", "0"], False)
    upwards = store.list("panel", limit=2, order="asc", after="4")
    assert (ids(upwards), upwards[1]) == (["5", "6"], False)


def test_objects_are_found_by_metadata_and_by_field(store: Store):
    fill(store, 4)
    odd = {'quote"$.': "\x00'; --", "colour": "azure"}
    store.put("panel", "x", {"id": "x", "wood": "oak", "metadata": odd})
    store.put("panel", "y", {"id": "y", "wood": "oak", "metadata": {"colour": "azure"}})
    assert ids(store.list("panel", fields={"wood": "oak"})) == ["y", "x", "2", "0"]
    assert ids(store.list("panel", fields={"wood": "o\x00"})) == []
    assert ids(store.list("panel", where={"colour": "azure"})) == ["y", "x"]
    assert ids(store.list("panel", where=odd)) == ["x"]
    assert ids(store.list("panel", where={"colour": "azure"}, fields={"wood": "poplar"})) == []
    assert store.update("panel", "x", {"id": "x", "metadata": {"colour": "vermilion"}})
    assert ids(store.list("panel", where={"colour": "azure"})) == ["y"]
    assert ids(store.list("panel", where={"colour": "vermilion"})) == ["x"]


def test_the_longest_metadata_fits(store: Store):
    longest = {"🎨" * 64: "🖌" * 512}
    store.put("panel", "x", {"id": "x", "metadata": longest})
    assert ids(store.list("panel", where=longest)) == ["x"]


def test_a_deleted_object_leaves_nothing(store: Store):
    store.put("panel", "x", {"id": "x", "metadata": {"colour": "azure"}})
    assert store.delete("panel", "x")
    assert not store.delete("panel", "x")
    with store.reading() as session:
        assert session.execute(text("SELECT count(*) FROM labels")).scalar() == 0


def test_a_failed_transaction_leaves_nothing(store: Store):
    from bottega.server.store.store import put

    with pytest.raises(ZeroDivisionError), store.writing() as session:
        put(session, "panel", "x", {"id": "x"}, "")
        raise ZeroDivisionError
    assert store.get("panel", "x") is None


def test_writers_wait_for_each_other(store: Store):
    """Read-then-write from eight threads: without an immediate transaction SQLite would refuse some."""
    store.put("counter", "c", {"n": 0})

    def count(_: int) -> None:
        with store.writing() as session:
            session.execute(text("SELECT count(*) FROM objects")).scalar()
            store_number = session.execute(text("SELECT max(number) FROM objects")).scalar()
            session.execute(
                text(
                    "INSERT INTO usage VALUES (:key, '2026-01-01', 1, :n, 0) ON CONFLICT (key, day) DO UPDATE"
                    " SET requests = usage.requests + 1"
                ),
                {"key": "k", "n": store_number},
            )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(200)))
    with store.reading() as session:
        assert session.execute(text("SELECT requests FROM usage")).scalar() == 200


def test_a_writer_does_not_wait_for_ever(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("bottega.server.store.database.BUSY_SECONDS", 1)
    url = store.database.url
    state = store.files.parent if url.drivername == "sqlite" else url.set(drivername="postgresql")
    patient = Store(str(state), store.files)
    store.put("panel", "x", {"id": "x"})
    begun = time.monotonic()
    with store.writing() as session:
        session.execute(text("UPDATE objects SET owner = 'bardi'"))
        with pytest.raises(OperationalError):
            patient.update("panel", "x", {"id": "x", "wood": "oak"})
    assert 0.5 < time.monotonic() - begun < 25
    assert store.get("panel", "x", "bardi") == {"id": "x"}
    patient.close()


def test_the_migrations_make_the_tables_that_the_code_declares(store: Store):
    found = inspect(store.database)
    for name, table in Base.metadata.tables.items():
        real = {column["name"]: column for column in found.get_columns(name)}
        assert set(real) == set(table.columns.keys())
        for column in table.columns:
            kinds = [
                kind.compile(store.database.dialect) for kind in (column.type, real[column.name]["type"])
            ]
            assert kinds[0] == kinds[1], column
            assert column.nullable == real[column.name]["nullable"], column
        assert {i.name for i in table.indexes} <= {i["name"] for i in found.get_indexes(name)}
    assert set(found.get_table_names()) == {*Base.metadata.tables, "alembic_version"}


def test_a_state_is_opened_again_as_it_was_left(tmp_path: Path):
    first = Store(tmp_path / "state")
    fill(first, 2)
    first.close()
    again = Store(tmp_path / "state")
    assert ids(again.list("panel")) == ["1", "0"]
    with again.reading() as session:
        assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert session.execute(text("PRAGMA foreign_keys")).scalar() == 1
        assert session.execute(text("PRAGMA busy_timeout")).scalar() == 30_000
    again.close()


def test_two_processes_may_open_a_new_state_together(tmp_path: Path):
    program = (
        "import sys; from bottega.server.store import Store; Store(sys.argv[1]).put('p', sys.argv[2], {})"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, tmp_path / "state", str(i)]) for i in range(3)
    ]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    store = Store(tmp_path / "state")
    assert len(store.list("p")[0]) == 3
    store.close()


def test_a_state_from_the_future_is_refused(tmp_path: Path):
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / "state.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    with pytest.raises(WorkError, match="newer Bottega"):
        Store(tmp_path)


@pytest.mark.parametrize(
    ("state", "error", "said"),
    [
        ("mysql://localhost/x", InputError, r"expected a folder or a postgresql:// URL"),
        ("postgresql://u:secret@127.0.0.1:1/x", WorkError, r"cannot open the state postgresql://u:\*\*\*@"),
        ("nonsense://", InputError, "expected a folder or a"),
    ],
)
def test_a_wrong_url_is_told(tmp_path: Path, state: str, error: type[Exception], said: str):
    with pytest.raises(error, match=said):
        Store(state, tmp_path)


def test_a_file_that_is_no_database_is_told(tmp_path: Path):
    (tmp_path / "state.db").write_bytes(b"The colours of the fresco" * 100)
    with pytest.raises(WorkError, match="not a database"):
        Store(tmp_path)
