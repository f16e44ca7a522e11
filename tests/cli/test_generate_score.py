"""`bottega generate` and `bottega score`: what they print, and what they refuse in one line."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bottega.cli import run
from bottega.cli.serve import name_models
from bottega.errors import InputError
from bottega.models.generation import generate
from bottega.models.gpt import GPT, GPTConfig
from bottega.models.ngram import NgramModel
from bottega.nn.sampling_params import SamplingParams
from bottega.text.tokenizer import Tokenizer

TEXT = "The apprentice ground the colours while the master drew the hand of the angel. Café 你好 🎨"
Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([TEXT] * 20, 300)


@pytest.fixture(scope="module")
def gpt(tokenizer: Tokenizer) -> GPT:
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, 32, n_layer=1, n_head=2, n_embd=16))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, gpt: GPT, tokenizer: Tokenizer) -> str:
    path = tmp_path_factory.mktemp("gpt")
    gpt.save_pretrained(path)
    tokenizer.save(path)
    return str(path)


@pytest.fixture(scope="module")
def ngram_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> str:
    path = tmp_path_factory.mktemp("ngram")
    document = np.array(tokenizer.encode(TEXT), dtype=np.int32)
    NgramModel.fit([document] * 3, 3, tokenizer.vocab_size, tokenizer.end_of_text).save_pretrained(path)
    tokenizer.save(path)
    return str(path)


def expected(gpt: GPT, tokenizer: Tokenizer, prompt: str, n: int = 1, **params: float) -> list[str]:
    ids = tokenizer.encode(prompt)
    done = generate(gpt, [ids], SamplingParams(**params), tokenizer.end_of_text, n)  # type: ignore[arg-type]
    return [tokenizer.decode(one.ids) for one in done]


def test_a_completion(folder: str, gpt: GPT, tokenizer: Tokenizer, capsys: Output) -> None:
    assert run(["generate", folder, "The angel", "--seed", "3", "--max-tokens", "9"]) == 0
    assert capsys.readouterr().out == expected(gpt, tokenizer, "The angel", seed=3, max_tokens=9)[0] + "\n"


def test_without_max_tokens_it_goes_to_the_contexts_end(
    folder: str, gpt: GPT, tokenizer: Tokenizer, capsys: Output
) -> None:
    bias = ["--logit-bias", str(tokenizer.end_of_text), "-100"]
    assert run(["generate", folder, "The", "--seed", "3", *bias, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["choices"][0]["tokens"] == 32 - len(tokenizer.encode("The"))


def test_every_sampling_option_arrives(folder: str, gpt: GPT, tokenizer: Tokenizer, capsys: Output) -> None:
    params = {
        "temperature": 1.4, "top_k": 40, "top_p": 0.95, "min_p": 0.01, "repetition_penalty": 1.2,
        "presence_penalty": 0.4, "frequency_penalty": 0.6, "seed": 11, "max_tokens": 20,
    }  # fmt: skip
    options = [part for name, value in params.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    bias = ["--logit-bias", "7", "3.5", "9", "-2"]
    assert run(["generate", folder, "The hand", *options, *bias]) == 0
    found = capsys.readouterr().out
    assert found == expected(gpt, tokenizer, "The hand", **params, logit_bias={7: 3.5, 9: -2.0})[0] + "\n"  # type: ignore[arg-type]


def test_several_choices_and_json(folder: str, gpt: GPT, tokenizer: Tokenizer, capsys: Output) -> None:
    options = ["--n", "3", "--seed", "5", "--max-tokens", "6"]
    texts = expected(gpt, tokenizer, "The", 3, seed=5, max_tokens=6)
    assert run(["generate", folder, "The", *options]) == 0
    assert capsys.readouterr().out == "\n---\n".join(texts) + "\n"
    assert run(["generate", folder, "The", *options, "--json", "--logprobs", "2"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["prompt"], answer["seed"]) == ("The", 5)
    assert [choice["text"] for choice in answer["choices"]] == texts
    assert all(len(choice["logprobs"]["token_logprobs"]) == 6 for choice in answer["choices"])


def test_stop_strings(folder: str, gpt: GPT, tokenizer: Tokenizer, capsys: Output) -> None:
    free = expected(gpt, tokenizer, "The", seed=5, max_tokens=20)[0]
    stop = free[7:10]
    assert run(["generate", folder, "The", "--seed", "5", "--max-tokens", "20", "--stop", "\0", stop]) == 0
    assert capsys.readouterr().out == free[: free.index(stop)] + "\n"


def test_a_prompt_from_standard_input(
    folder: str, gpt: GPT, tokenizer: Tokenizer, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("Café\n".encode())))
    assert run(["generate", folder, "-", "--seed", "3", "--max-tokens", "4"]) == 0
    assert capsys.readouterr().out == expected(gpt, tokenizer, "Café\n", seed=3, max_tokens=4)[0] + "\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    assert run(["generate", folder, "-"]) == 2
    assert "standard input is not UTF-8 at byte 0" in capsys.readouterr().err
    for verb in ("generate", "score"):
        assert run([verb, folder, "ab\udcff"]) == 2  # as Python gives an argument of the byte ff
        assert "the text is not UTF-8 at byte 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--temperature", "3"], "temperature must be a number from 0 to 2, not 3.0"),
        (["--max-tokens", "500"], "exceed the context of 32"),
        (["--n", "0"], "--n must be at least 1"),
        (["--logprobs", "2"], "--json"),
        (["--stop", ""], "must not be empty"),
        (["--logit-bias", "99999", "1"], "token 99999 is not in the vocabulary"),
    ],
)
def test_wrong_options_are_one_line(folder: str, options: list[str], said: str, capsys: Output) -> None:
    assert run(["generate", folder, "The", *options]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_an_ngram_model_is_sent_to_its_own_verb(ngram_folder: str, capsys: Output) -> None:
    assert run(["generate", ngram_folder, "The"]) == 2
    assert "bottega ngram sample" in capsys.readouterr().err


def test_score_of_a_text_and_of_its_file(folder: str, capsys: Output, tmp_path: Path) -> None:
    assert run(["score", folder, TEXT, "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    assert score["bytes"] == len(TEXT.encode())
    assert score["bits_per_byte"] == pytest.approx(-score["nats"] / math.log(2) / score["bytes"])
    file = tmp_path / "text.txt"
    file.write_text(TEXT, encoding="utf-8")
    assert run(["score", folder, str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == score
    assert run(["score", folder, TEXT, "--json", "--whole"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens"] == score["tokens"] + 1
    assert run(["score", folder, TEXT]) == 0
    printed = capsys.readouterr().out
    assert f"{score['nats']:.4f} nats" in printed
    assert f"{score['bits_per_byte']:.4f} bits per byte" in printed


def test_rerank_with_either_kind_of_model(
    folder: str, ngram_folder: str, capsys: Output, tmp_path: Path
) -> None:
    file = tmp_path / "candidates.txt"
    candidates = ["angel the of hand the", "the hand of the angel", "then and off the angel"]
    file.write_text("\n".join(candidates) + "\n\n", encoding="utf-8")
    assert run(["score", ngram_folder, "--rerank", str(file)]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("  the hand of the angel")
    assert run(["score", folder, "--rerank", str(file), "--json"]) == 0
    ranking = json.loads(capsys.readouterr().out)["ranking"]
    assert sorted(one["text"] for one in ranking) == sorted(candidates)
    assert [one["nats"] for one in ranking] == sorted((one["nats"] for one in ranking), reverse=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give a text"),
        (["text", "--rerank", "x"], "one of the two"),
        ([""], "empty"),
        (["--rerank", "/nonexistent/file"], "no such file"),
    ],
)
def test_score_refuses(folder: str, arguments: list[str], said: str, capsys: Output) -> None:
    assert run(["score", folder, *arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_names_of_served_models(tmp_path: Path) -> None:
    (tmp_path / "angel" / "step-3").mkdir(parents=True)
    (tmp_path / "angel" / "latest").symlink_to("step-3")
    run_folder = str(tmp_path / "angel")
    assert name_models((run_folder,)) == {"angel": run_folder}
    assert name_models((f"{run_folder}/latest",)) == {"angel": f"{run_folder}/latest"}
    assert name_models((f"hand={run_folder}", "owner/model")) == {
        "hand": run_folder,
        "owner/model": "owner/model",
    }
    for wrong, said in [((run_folder, run_folder), "two models are called 'angel'"), (("=x",), "NAME=PATH")]:
        with pytest.raises(InputError, match=said):
            name_models(wrong)
