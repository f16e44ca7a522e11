from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch

from bottega.cli import run
from bottega.models.gpt import GPT, GPTConfig
from bottega.text.tokenizer import Tokenizer

TEXT = "In the beginning was the word, and the word was counted.\n" * 20


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A GPT whose head is zero: every token costs log(vocabulary), whatever it reads."""
    tokenizer = Tokenizer.train([TEXT], 275)
    gpt = GPT(GPTConfig(tokenizer.vocab_size, 32, 1, 2, 16, tied=False))
    torch.nn.init.zeros_(gpt.head.weight)
    gpt.save_pretrained(tmp_path / "uniform")
    tokenizer.save(tmp_path / "uniform")
    return tmp_path / "uniform"


def test_uniform_model_costs_log_vocabulary_a_token(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held_out = tmp_path / "heldout.txt"
    held_out.write_text(TEXT)
    assert run(["eval", str(model), "--data", str(held_out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    tokenizer = Tokenizer.load(model)
    count = len(tokenizer.encode(TEXT)) + 1  # and the document's end
    assert result["tokens"] == count
    assert result["perplexity"] == pytest.approx(tokenizer.vocab_size, rel=1e-5)
    assert result["bits_per_byte"] == pytest.approx(
        count * math.log2(tokenizer.vocab_size) / len(TEXT), rel=1e-5
    )


@pytest.mark.parametrize("content", [b"", b"\0\0\1"])
def test_bad_data_is_one_line(
    model: Path, tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad").write_bytes(content)
    assert run(["eval", str(model), "--data", str(tmp_path / "bad")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A folder with a task of lm-eval's kind: which of two texts is the likelier."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    lines = [{"text": "In the beginning", "gold": i % 2} for i in range(6)]
    (folder / "words.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = json.dumps({"data_files": {"test": str(folder / "words.jsonl")}})
    (folder / "words.yaml").write_text(
        f"task: words\ndataset_path: json\ndataset_kwargs: {source}\ntest_split: test\nfewshot_split: test\n"
        "output_type: multiple_choice\ndoc_to_text: '{{text}}'\ndoc_to_target: gold\n"
        "doc_to_choice: ['word', 'the']\nmetric_list: [{metric: acc}]\n"
    )
    return folder


def test_tasks_are_asked_as_their_files_say(
    model: Path, task: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lm_eval")
    asked = ["eval", str(model), "--tasks", "words", "--include-path", str(task)]
    assert run([*asked, "--limit", "4", "--shots", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    # Every token costs the same, so the text of fewer tokens wins: "the" is one.
    assert result == {
        "model": str(model),
        "task": "words",
        "shots": 1,
        "samples": 4,
        "metrics": {"acc": 0.5},
        "errors": {"acc": pytest.approx(math.sqrt(0.25 / 3))},
    }
    assert run(asked) == 0
    assert "words" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give one of --data"),
        (["--data", "x.txt", "--tasks", "words"], "give one of --data"),
        (["--data", "x.txt", "--limit", "3"], "go with --tasks"),
        (["--tasks", "words", "--fim"], "--fim goes with --data"),
        (["--data", "x.txt", "--beam", "5"], "--split, --beam and --length-penalty go with --pairs"),
        (["--tasks", "words", "--text-field", "body"], "--text-field goes with --data"),
        (["--tasks", "words", "--limit", "0"], "--limit must be at least 1, not 0"),
        (["--tasks", "words", "--include-path", "nowhere"], "nowhere is no folder"),
    ],
)
def test_wrong_arguments_of_tasks_are_one_line(
    model: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["eval", str(model), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_without_lm_eval_the_package_is_named(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)  # as Python marks what cannot be imported
    monkeypatch.delitem(sys.modules, "bottega.evaluation.harness", raising=False)
    assert run(["eval", str(model), "--tasks", "words"]) == 2
    assert "needs the package lm-eval; try: pip install 'bottega[eval]'" in capsys.readouterr().err
