"""llama.cpp opens what is exported: the same ids of the same text, the same greedy continuation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bottega.models.generation import generate
from bottega.models.gpt import GPT, GPTConfig
from bottega.nn.sampling_params import SamplingParams
from bottega.text.tokenizer import Tokenizer

llama_cpp = pytest.importorskip("llama_cpp", reason="installed by `make test-peers`: it is built from source")

from bottega.interop.gguf_file import export_gguf  # noqa: E402 (only where the package is)

GPT2 = GPTConfig(370, 128, 3, 4, 64)
QWEN3 = GPTConfig(
    370,
    128,
    3,
    4,
    64,
    2,
    32,
    96,
    norm="rmsnorm",
    norm_eps=1e-6,
    positions="rotary",
    rope_theta=1e6,
    mlp="swiglu",
    qk_norm=True,
    attention_bias=False,
    mlp_bias=False,
)
LLAMA3_SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
SHAPES = {
    "gpt2": GPT2,
    "qwen3": QWEN3,
    "llama": replace(QWEN3, qk_norm=False, head_dim=16, tied=False),
    "llama3": replace(QWEN3, qk_norm=False, head_dim=16, rope_scaling=LLAMA3_SCALING, attention_bias=True),
    "linear": replace(QWEN3, rope_scaling={"rope_type": "linear", "factor": 4.0}),
}
CORPUS = [
    "The workshop opened at dawn; the apprentices swept the floor, and nobody's hand was steady.\n" * 4,
    "for i in range(10):\n    print(i, i ** 2)\n" * 10,
    "Größe, naïveté, 東京, привет 🎨 12345\n" * 4,
]
TRICKY = [
    "",
    " ",
    "  two  spaces   and\ttabs\t\t",
    "line\n\n\nbreaks \n \r\n end\n",
    "it's IT'S we'll WE'LL o'clock 'tis",
    "1234567890 3.14 ½ ² Ⅷ ١٢٣",
    "Größe naïveté e\u0301 東京 привет 🎨👩‍🎨",
    "a\u00a0b\u2003c\u200bd",
    "<|endoftext|> <|im_start|>user",
    "def f(x):\n\treturn x**2  # squared!!! ...",
]


@pytest.fixture(scope="module", params=["gpt2", "cl100k"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return Tokenizer.train(CORPUS, 370, request.param)


def opened(path: Path) -> llama_cpp.Llama:
    return llama_cpp.Llama(str(path), n_ctx=128, n_threads=1, verbose=False, logits_all=True)


def save(shape: GPTConfig, tokenizer: Tokenizer, folder: Path) -> GPT:
    torch.manual_seed(5)
    model = GPT(shape).eval()
    for parameter in model.parameters():  # norms and biases too; large, so that no two logits are near
        torch.nn.init.normal_(parameter, mean=float(parameter.dim() == 1), std=0.3)
    model.save_pretrained(folder)
    tokenizer.save(folder)
    return model


@pytest.mark.parametrize("kind", SHAPES)
def test_the_same_greedy_tokens(tmp_path, kind):
    tokenizer = Tokenizer.train(CORPUS, 370)
    model = save(SHAPES[kind], tokenizer, tmp_path / "model")
    export_gguf(tmp_path / "model", tmp_path / "file.gguf")
    theirs = opened(tmp_path / "file.gguf")
    end = tokenizer.end_of_text
    for prompt in CORPUS:
        ids = tokenizer.encode(prompt)[:24]
        # Their generation stops at ends of turns too; so no end of any kind is drawn here.
        bias = dict.fromkeys(tokenizer.special_tokens.values(), -100)
        params = SamplingParams(temperature=0.0, max_tokens=40, logit_bias=bias)
        ours = generate(model, [ids], params, end)[0].ids
        drawn: list[int] = []
        theirs.reset()
        theirs.eval(ids)
        for _ in ours:
            logits = torch.tensor(theirs.scores[theirs.n_tokens - 1])
            logits[list(bias)] = -torch.inf
            drawn.append(int(logits.argmax()))
            theirs.eval(drawn[-1:])
        assert drawn == ours


@pytest.mark.parametrize("kind", ["gpt2", "qwen3"])
def test_the_same_log_probabilities(tmp_path, kind):
    tokenizer = Tokenizer.train(CORPUS, 370)
    model = save(SHAPES[kind], tokenizer, tmp_path / "model")
    export_gguf(tmp_path / "model", tmp_path / "file.gguf")
    theirs = opened(tmp_path / "file.gguf")
    ids = tokenizer.encode(CORPUS[0])[:64]
    theirs.eval(ids)
    with torch.no_grad():
        ours = model(torch.tensor([ids]))[0].log_softmax(-1)
    found = torch.tensor(theirs.scores[: len(ids)]).log_softmax(-1)
    # Their GELU and their cache are in half precision.
    assert (found - ours).abs().max() < 0.05


def test_the_same_ids_of_tricky_texts(tmp_path, tokenizer):
    save(QWEN3, tokenizer, tmp_path / "model")
    export_gguf(tmp_path / "model", tmp_path / "file.gguf")
    theirs = llama_cpp.Llama(str(tmp_path / "file.gguf"), vocab_only=True, verbose=False)
    for text in [*TRICKY, *CORPUS]:
        assert theirs.tokenize(text.encode(), add_bos=True, special=False) == tokenizer.encode(text), text
        ids = tokenizer.encode(text)
        assert theirs.detokenize(ids, special=True) == text.encode()
    named = "<|fim_prefix|>a<|fim_suffix|>b<|endoftext|>"
    special = theirs.tokenize(named.encode(), add_bos=False, special=True)
    assert special == tokenizer.encode(named, encode_special_tokens=True)
