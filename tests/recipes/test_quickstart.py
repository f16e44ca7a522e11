from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from bottega.cli import run

MODULES = (
    "argparse",
    "ast",
    "configparser",
    "ftplib",
    "inspect",
    "mailbox",
    "optparse",
    "pdb",
    "shutil",
    "tarfile",
)
COMMAND = (sys.executable, "-m", "bottega", "quickstart")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a megabyte of real text: modules of the standard library."""
    folder = tmp_path_factory.mktemp("text")
    for name in MODULES:
        shutil.copy(Path(sysconfig.get_path("stdlib")) / f"{name}.py", folder)
    return folder


@pytest.fixture(scope="module")
def trained(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quickstart of a few seconds, finished."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    words = ["quickstart", "--data", str(text), "--minutes", "0.15", "--out", str(out), "--no-serve"]
    assert run(words) == 0
    return out


def test_learns_and_compares_on_the_same_held_out_text(trained: Path) -> None:
    comparison = json.loads((trained / "comparison.json").read_text())
    assert comparison["gpt"] < comparison["untrained"]  # by how much is a matter of the machine
    assert 1 < comparison["ngram_same_tokens"] < comparison["untrained"]
    assert comparison["ngram_whole_corpus"] <= comparison["ngram_same_tokens"]
    assert 0 < comparison["held_out_bytes"] <= 150_000
    assert (trained / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_transformers_opens_the_checkpoint_and_knows_where_texts_end(trained: Path) -> None:
    from transformers import AutoModelForCausalLM

    from bottega.models.load import load_tokenizer

    model = AutoModelForCausalLM.from_pretrained(trained / "latest")
    assert model.config.model_type == "qwen3"
    assert model.generation_config.eos_token_id == load_tokenizer(trained).end_of_text


def test_run_again_finds_the_model_that_it_has(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()}
    assert run(["quickstart", "--out", str(trained), "--no-serve"]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()}
    assert "bits" in capsys.readouterr().out


def test_another_budget_or_text_needs_retrain(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--minutes", "3"], ["--data", str(trained)]):
        assert run(["quickstart", "--out", str(trained), "--no-serve", *words]) == 2
        assert "--retrain" in capsys.readouterr().err


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert run(["quickstart", "--out", str(tmp_path), "--no-serve", "--retrain"]) == 2
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "One line is no corpus.\n"])
def test_too_little_text_is_one_line(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "short.txt").write_text(content)
    words = [
        "quickstart",
        "--data",
        str(tmp_path / "short.txt"),
        "--out",
        str(tmp_path / "run"),
        "--no-serve",
    ]
    assert run(words) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [["--minutes", "0"], ["--data", "no-such-text"]])
def test_retrain_with_wrong_input_keeps_the_model(
    trained: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(trained.rglob("*"))
    assert run(["quickstart", "--out", str(trained), "--no-serve", "--retrain", *words]) == 2
    assert sorted(trained.rglob("*")) == before
    assert capsys.readouterr().err.count("\n") == 1


def test_killed_half_way_it_goes_on_where_it_was(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [*COMMAND, "--data", str(text), "--minutes", "0.2", "--out", str(out), "--no-serve"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(out.glob("step-*")):
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    first.kill()
    first.wait()
    assert not (out / "comparison.json").exists()
    tokenizer = (out / "tokenizer" / "tokenizer.json").stat().st_mtime_ns
    second = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert second.returncode == 0, second.stderr
    assert (out / "comparison.json").is_file()
    assert (out / "tokenizer" / "tokenizer.json").stat().st_mtime_ns == tokenizer
    lines = [json.loads(line) for line in (out / "curves.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if line["event"] == "step"]
    assert steps == list(range(1, len(steps) + 1))


def test_serves_the_stock_client_until_ctrl_c(trained: Path) -> None:
    from openai import OpenAI

    server = subprocess.Popen(
        [*COMMAND, "--out", str(trained), "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        address = next(found[0] for line in server.stdout if (found := re.search(r"http://\S+/v1", line)))
        client = OpenAI(base_url=address, api_key="none")
        assert [model.id for model in client.models.list()] == [trained.name]
        stream = client.completions.create(model=trained.name, prompt="def ", max_tokens=8, stream=True)
        assert len([part for part in stream if part.choices]) >= 2
    finally:
        server.send_signal(signal.SIGINT)
        code = server.wait(timeout=30)
    assert code == 130
