"""The house stays in order: floors, sizes of files, tests where their subject is."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "bottega").rglob("*.py"))


def test_no_room_knows_a_floor_above_it():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_every_room_has_a_floor():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    placed = {
        name.strip().removeprefix("bottega.") for floor in contract["layers"] for name in floor.split("|")
    }
    rooms = {
        path.name for path in (ROOT / "bottega").iterdir() if path.is_dir() and path.name != "__pycache__"
    }
    assert rooms <= placed


def test_files_stay_near_three_hundred_lines():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in SOURCES
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 450
    }
    assert not long, f"split these, each by its subjects: {long}"


def test_nothing_is_pickled():
    """A pickle runs whatever its author put in it, so neither checkpoints nor data may be one."""
    pickling = re.compile(
        r"\btorch\.(load|save)\(|^\s*(import|from) (pickle|dill|cloudpickle)\b|allow_pickle=True", re.M
    )
    found = [
        str(path.relative_to(ROOT)) for path in SOURCES if pickling.search(path.read_text(encoding="utf-8"))
    ]
    assert not found


def test_every_requirement_is_pinned():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*settings["dependencies"], *chain(*settings["optional-dependencies"].values())]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {_canonical(line.split("==")[0]) for line in lines if "==" in line}
    missing = {
        name for line in wanted if not line.startswith("bottega[") and (name := _name(line)) not in pinned
    }
    assert not missing


def test_links_between_the_documents_lead_somewhere():
    link = re.compile(r"\]\((?!https?://|#)([^)#\s]+)[^)]*\)")
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").rglob("*.md")]
        for target in link.findall(page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert not broken


def test_the_index_of_the_documents_names_every_page():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert [
        p.name for p in sorted((ROOT / "docs").glob("*.md")) if p.name != "README.md" and p.name not in index
    ] == []


def _name(requirement: str) -> str:
    return _canonical(re.split(r"[\s\[<>=!~;]", requirement)[0])


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
