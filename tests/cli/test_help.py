"""The frame of the command line: help, speed of start, exit codes, and what a failure prints."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

from bottega import cli
from bottega.cli import VERBS, module_of, run, usage
from bottega.errors import InputError, Stopped, WorkError

# What takes long to import; none of it may be needed to print a help page.
HEAVY = [
    "torch",
    "numpy",
    "tokenizers",
    "tiktoken",
    "datasets",
    "matplotlib",
    "fastapi",
    "pyarrow",
    "rich",
    "tyro",
]


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def _heavy_after(code: str) -> list[str]:
    loaded = (
        _python(f"{code}\nimport sys\nprint('\\n' + ' '.join(sys.modules))").stdout.splitlines()[-1].split()
    )
    return [name for name in HEAVY if name in loaded]


def test_import_and_help_load_nothing_heavy():
    assert _heavy_after("import bottega") == []
    assert _heavy_after("from bottega.cli import run; run(['--help'])") == []


def test_help_names_every_verb(capsys):
    assert run(["--help"]) == 0
    assert capsys.readouterr().out.strip() == usage().strip()
    for verb, line in VERBS.items():
        assert verb in usage() and line in usage()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(verb, capsys):
    with pytest.raises(SystemExit) as left:
        importlib.import_module(module_of(verb)).main(["--help"])
    out = capsys.readouterr().out
    assert left.value.code == 0
    assert f"bottega {verb} " in out.split("xample", 1)[1]


def test_help_of_no_verb_loads_torch():
    pages = f"for verb in {list(VERBS)}:\n    try: run([verb, '--help'])\n    except SystemExit: pass"
    assert "torch" not in _heavy_after(f"from bottega.cli import run\n{pages}")


def test_without_a_verb_or_with_an_unknown_one_the_input_was_wrong(capsys):
    assert run([]) == 2
    assert "usage" in capsys.readouterr().out
    assert run(["paint"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "'paint'" in captured.err


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("bottega 0.")


@pytest.mark.parametrize(
    ("error", "exit_code", "shown"),
    [
        (InputError("the file is empty"), 2, "the file is empty"),
        (WorkError("the step failed"), 1, "the step failed"),
        (Stopped("saved"), 130, "saved"),
        (KeyboardInterrupt(), 130, "stopped"),
        (PermissionError(13, "Permission denied", "/locked/run"), 1, "/locked/run: Permission denied"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (MemoryError(), 1, "out of memory"),
        (ModuleNotFoundError("No module named 'fastapi'", name="fastapi"), 1, "pip install 'bottega[all]'"),
        (ValueError("odd\nnews"), 1, "internal error, ValueError: odd news"),
    ],
)
def test_each_failure_is_one_line_and_its_exit_code(error, exit_code, shown, capsys, monkeypatch):
    def main(argv):
        raise error

    monkeypatch.setattr("bottega.cli.plan.main", main)
    monkeypatch.delenv("BOTTEGA_DEBUG", raising=False)
    assert run(["plan"]) == exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("bottega plan: ") and captured.err.count("\n") == 1
    assert shown in captured.err


def _with_plan(body: str) -> list[str]:
    """A command line in which `bottega plan` does what `body` says."""
    code = f"from bottega.cli import main, plan\ndef do(argv):\n    {body}\nplan.main = do\nmain(['plan'])"
    return [sys.executable, "-c", code]


def test_a_closed_pipe_is_no_error():
    command = _with_plan("print('word ' * 100_000)")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_file_name_that_is_not_utf8_can_be_printed():
    command = _with_plan(r"raise FileNotFoundError(2, 'No such file', 'caf\udce9.txt')")
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 1
    assert done.stderr.rstrip() == rb"bottega plan: caf\udce9.txt: No such file"


def test_output_is_utf8_on_every_system():
    environment = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    done = subprocess.run(_with_plan("print('λόγος')"), capture_output=True, env=environment)
    assert done.returncode == 0 and done.stdout.decode("utf-8").strip() == "λόγος"


def test_the_installed_command_is_this_one():
    from importlib.metadata import entry_points

    (command,) = entry_points(group="console_scripts", name="bottega")
    assert command.load() is cli.main
