"""`bottega translate` and `bottega eval --pairs`: a translator that learnt to count says so in digits."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch

from bottega.cli import run
from bottega.data.pair_loader import Vocabulary, encode_pairs
from bottega.data.pairs import SPECIAL_TOKENS, Pairs
from bottega.models.transformer import Transformer, TransformerConfig
from bottega.models.translator import Translator
from bottega.text.tokenizer import Tokenizer

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
Output = pytest.CaptureFixture[str]


def numbers(below: int) -> Pairs:
    """Numbers of three digits, spelt digit by digit."""
    digits = [f"{n:03d}" for n in range(below)]
    spelt = [" ".join(WORDS[int(digit)] for digit in number) for number in digits]
    return Pairs(spelt, [" ".join(number) for number in digits])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    pairs = numbers(1000)
    tokenizer = Tokenizer.train(pairs.source + pairs.target, 300, special_tokens=SPECIAL_TOKENS)
    words = Vocabulary.of(tokenizer)
    torch.manual_seed(0)
    config = TransformerConfig(
        words.size,
        16,
        1,
        1,
        n_head=2,
        n_embd=32,
        n_inner=64,
        dropout=0.0,
        label_smoothing=0.0,
        pad=words.pad,
        bos=words.bos,
        eos=words.eos,
        source_language="words",
        target_language="digits",
    )
    model, encoded = Transformer(config), encode_pairs(pairs, tokenizer, 16)
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    generator = torch.Generator().manual_seed(0)
    for step in range(400):
        optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / 400)
        loss = model.loss(encoded.batch(torch.randint(1000, (32,), generator=generator).tolist()))
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
    path = tmp_path_factory.mktemp("translator")
    model.save_pretrained(path)
    tokenizer.save(path)
    return str(path)


def test_texts_are_translated_in_order_one_a_line(folder: str, capsys: Output) -> None:
    assert run(["translate", folder, "one two three", " ", "nine nine zero"]) == 0
    assert capsys.readouterr().out == "1 2 3\n\n9 9 0\n"


def test_a_library_call_gives_the_same(folder: str) -> None:
    translator = Translator.load(folder)
    seen: list[tuple[int, int]] = []
    pairs = numbers(120)
    assert translator.translate(pairs.source, progress=lambda *n: seen.append(n)) == pairs.target
    assert seen[-1] == (120, 120)


def test_standard_input_keeps_its_order_and_its_blank_lines(
    folder: str, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("four four four\n\n\nfive one\nsix two one"))
    assert run(["translate", folder, "--beam", "1"]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert (lines[0], lines[1], lines[2], lines[4]) == ("4 4 4", "", "", "6 2 1")


def test_a_file_to_a_file_with_figures_against_a_reference(
    folder: str, capsys: Output, tmp_path: Path
) -> None:
    pairs = numbers(30)
    (tmp_path / "in").write_text("".join(f"{line}\r\n" for line in pairs.source), "utf-8")
    (tmp_path / "right").write_text("".join(f"{line}\n" for line in pairs.target), "utf-8")
    given = ["--file", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    assert run(["translate", folder, *given, "--reference", str(tmp_path / "right")]) == 0
    assert (tmp_path / "out").read_text("utf-8").splitlines() == pairs.target
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "chrF 100.00" in printed.err and "case:lc" in printed.err


def test_json_lists_the_best_and_the_figures(folder: str, capsys: Output, tmp_path: Path) -> None:
    (tmp_path / "right").write_text("1 2 3\nx\n", "utf-8")
    options = ["--json", "--n-best", "3", "--reference", str(tmp_path / "right")]
    assert run(["translate", folder, "one two three", "", *options]) == 0
    first, blank, scores = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["translation"] == "1 2 3"
    ranked = [hypothesis["score"] for hypothesis in first["hypotheses"]]
    assert len(ranked) == 3 and ranked == sorted(ranked, reverse=True)
    assert first["hypotheses"][0]["finished"] and first["hypotheses"][0]["logprob"] > -1
    assert blank == {"source": "", "translation": "", "hypotheses": []}
    assert 0 < scores["chrf"] < 100 and scores["sentences"] == 2


def test_a_sentence_beyond_the_context_is_named(folder: str, capsys: Output, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("one two three\n" + "seven " * 40 + "\n", "utf-8")
    assert run(["translate", folder, "--file", str(tmp_path / "in")]) == 2
    error = capsys.readouterr().err
    assert "line 2" in error and "context of 16" in error


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (["one", "--file", "in"], "not both"),
        (["one", "--beam", "0"], "beam"),
        (["one", "--n-best", "2"], "--json"),
        (["one", "--json", "--n-best", "9"], "9 best"),
        (["one", "--reference", "in"], "1 lines to translate"),
        (["--file", "nowhere"], "no such file"),
        (["--file", "latin"], "line 1: byte 0xe9 is not UTF-8"),
    ],
)
def test_wrong_input_is_refused_in_one_line(
    given: list[str],
    word: str,
    folder: str,
    capsys: Output,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").write_text("one\ntwo\n", "utf-8")
    Path("latin").write_bytes(b"caf\xe9\n")
    assert run(["translate", folder, *given]) == 2
    error = capsys.readouterr().err
    assert word in error and error.count("\n") == 1


def test_eval_of_pairs_tells_whose_the_errors_are(folder: str, capsys: Output, tmp_path: Path) -> None:
    pairs = numbers(1000)
    target = ["9 9 9" if i % 2 else text for i, text in enumerate(pairs.target)]
    pairs = Pairs([*pairs.source, "one " * 40], [*target, "1"])
    records = ({"words": words, "digits": digits} for words, digits in pairs)
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    assert run(["eval", folder, "--pairs", str(path), "--json", "--beam", "2"]) == 0
    report = json.loads(capsys.readouterr().out)
    counts, n = report["errors"], len(report["translations"])
    assert counts["same"] + counts["search_errors"] + counts["model_errors"] == n > 1
    assert counts["model_errors"] > 0 and report["scores"]["sentences"] == n
    assert run(["eval", folder, "--pairs", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "search errors" in printed and "1–5 words" in printed
    assert run(["eval", folder, "--pairs", str(path), "--data", "x"]) == 2


def test_another_kind_of_model_does_not_translate(capsys: Output, tmp_path: Path) -> None:
    from bottega.models.gpt import GPT, GPTConfig

    GPT(GPTConfig(20, 8, 1, 1, 8)).save_pretrained(tmp_path)
    assert run(["translate", str(tmp_path), "one"]) == 2
    assert "a GPT does not translate" in capsys.readouterr().err
