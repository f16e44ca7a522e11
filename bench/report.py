"""What every bench shares: medians, the machine in words, and rows in bench/RESULTS.md."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).parent / "results"
TABLES = Path(__file__).parent / "RESULTS.md"


def median_of(fn: Callable[[], object], n: int) -> float:
    """The median seconds of `n` calls of `fn`, after one that is not counted (caches, page faults)."""
    fn()
    return statistics.median(seconds(fn) for _ in range(n))


def seconds(fn: Callable[[], object]) -> float:
    """The seconds of one call of `fn`."""
    start = time.perf_counter()
    fn()
    return time.perf_counter() - start


def machine() -> dict[str, Any]:
    """What a measurement depends on: numbers of two machines are not compared."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": cores,
        "memory GB": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": version("torch"),
    }


def record(name: str, row: dict[str, Any]) -> None:
    """Write a row of the bench `name` to bench/results/<name>.json, and its table anew in bench/RESULTS.md.

    The first entry of `row` says which case was measured: a row of the same case is replaced. The rows of
    another machine are dropped, because they must not stand beside this one's.
    """
    RESULTS.mkdir(exist_ok=True)
    path, here = RESULTS / f"{name}.json", machine()
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    rows = earlier.get("rows", []) if earlier.get("machine") == here else []
    row = row | {"date": datetime.date.today().isoformat()}
    case = next(iter(row.items()))
    places = [i for i, other in enumerate(rows) if next(iter(other.items())) == case]
    rows = [row if i in places else other for i, other in enumerate(rows)] if places else [*rows, row]
    path.write_text(json.dumps({"machine": here, "rows": rows}, indent=1, ensure_ascii=False) + "\n", "utf-8")
    _write_table(name, here, rows)


def _write_table(name: str, here: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    columns = [*dict.fromkeys(column for row in rows for column in row if column != "date"), "date"]
    cells = [columns, ["---"] * len(columns), *([_cell(row.get(c, "")) for c in columns] for row in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in cells)
    words = ", ".join(f"{key} {value}" for key, value in here.items())
    section = f"## {name}\n\n{words}\n\n{table}\n"
    title = "# Results\n\nWritten by the scripts of this folder, whose headings say how they measure.\n"
    text = TABLES.read_text(encoding="utf-8") if TABLES.exists() else title
    parts = re.split(r"\n(?=## )", text)
    others = [part for part in parts[1:] if not part.startswith(f"## {name}\n")]
    sections = sorted([*(part.strip("\n") + "\n" for part in others), section])
    TABLES.write_text("\n".join([parts[0].rstrip("\n") + "\n", *sections]), encoding="utf-8")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"model name\s*:\s*(.+)", info.read_text(encoding="utf-8"))):
        return found[1].strip()
    return platform.processor() or platform.machine()
