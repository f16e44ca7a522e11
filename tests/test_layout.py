"""The house stays in order: floors, sizes of files, tests where their subject is."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
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


def test_whoever_installs_all_extras_has_every_import():
    """So `pip install 'bottega[all]'`, which a missing package makes the command line say, is enough."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    (everything,) = extras["all"]
    named = re.findall(r"[a-z]+", everything.removeprefix("bottega"))
    offered = {_name(line) for line in chain(project["dependencies"], *(extras[name] for name in named))}
    offered |= {"ctranslate2"}  # whose absence has a message of its own
    distributions = packages_distributions()
    missing = {
        f"{path.relative_to(ROOT)}: {package}"
        for path in SOURCES
        for package in _imported(ast.parse(path.read_text(encoding="utf-8")))
        if not {_canonical(name) for name in distributions.get(package, [package])} & offered
    }
    assert not missing


def test_every_extra_that_a_message_names_exists():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *SOURCES]
    named = {
        extra.strip()
        for path in pages
        for extras in re.findall(r"pip install [^\n`]*?(?:bottega|\.)\[([a-z, ]+)\]", path.read_text("utf-8"))
        for extra in extras.split(",")
    }
    assert named >= {"all", "eval", "lineage"}
    assert named <= set(project["optional-dependencies"])


def test_assertions_tell_types_and_nothing_else():
    """Under `python -O` they are gone: what a user gave is refused by errors."""
    others = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assert) and not _tells_a_type(node.test)
    ]
    assert not others


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


def _imported(tree: ast.AST) -> set[str]:
    """The packages that a file imports which come neither with Python nor from here."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"bottega", "_typeshed"}


def _tells_a_type(test: ast.expr) -> bool:
    if isinstance(test, ast.BoolOp):
        return all(map(_tells_a_type, test.values))
    if isinstance(test, ast.Call):
        return isinstance(test.func, ast.Name) and test.func.id == "isinstance"
    return isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.IsNot)


def _name(requirement: str) -> str:
    return _canonical(re.split(r"[\s\[<>=!~;]", requirement)[0])


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
