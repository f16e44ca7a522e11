"""/tokenize, /detokenize and /tokenizer_info over a real socket, with lm-eval's own remote tokenizer."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from bottega.text.tokenizer import Tokenizer
from tests.api.conftest import Running

TEXTS = ["The master drew", "Café 你好 🎨", "", " \n\n", "a <|endoftext|> b"]


def test_lm_evals_remote_tokenizer(running: Running, tokenizer: Tokenizer) -> None:
    utils = pytest.importorskip("lm_eval.utils")
    url = f"{running.url}/v1/completions"
    assert utils.check_remote_tokenizer_support(url, max_retries=1)
    remote = utils.RemoteTokenizer(url, max_retries=1)
    assert remote.eos_token == "<|endoftext|>"
    assert remote.eos_token_id == remote.eot_token == tokenizer.end_of_text
    assert (remote.bos_token, remote.bos_token_id, remote.pad_token) == (None, None, None)
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert remote.encode(text) == remote(text)["input_ids"] == ids
        assert remote.decode(ids) == text


def test_the_fields_of_tokenize(http: httpx.Client, tokenizer: Tokenizer) -> None:
    def ask(**fields: Any) -> dict[str, Any]:
        answer = http.post("/tokenize", json=fields)
        assert answer.status_code == 200
        return answer.json()

    plain = ask(prompt="Café 🎨")
    ids = tokenizer.encode("Café 🎨")
    assert plain == {"count": len(ids), "max_model_len": 1024, "tokens": ids, "token_strs": None}
    named = ask(prompt="Café 🎨", model="bardi", add_special_tokens=True, return_token_strs=True)
    assert named["tokens"] == ids
    assert named["token_strs"][0] == tokenizer.decode(ids[:1])
    assert any(text.startswith("bytes:") for text in named["token_strs"])
    spelled = "a<|endoftext|>b"
    assert tokenizer.end_of_text not in ask(prompt=spelled)["tokens"]
    assert tokenizer.end_of_text in ask(prompt=spelled, parse_special=True)["tokens"]


@pytest.mark.parametrize(
    ("path", "fields", "status", "param"),
    [
        ("/tokenize", {}, 400, "prompt"),
        ("/tokenize", {"prompt": 3}, 400, "prompt"),
        ("/tokenize", {"prompt": "x", "model": "nobody"}, 404, "model"),
        ("/tokenize", {"prompt": "x", "messages": []}, 400, "messages"),
        ("/detokenize", {"tokens": [-1]}, 400, "tokens"),
        ("/detokenize", {"tokens": [0, 10**6]}, 400, "tokens"),
        ("/detokenize", {"tokens": "x"}, 400, "tokens"),
    ],
)
def test_refusals(http: httpx.Client, path: str, fields: dict[str, Any], status: int, param: str) -> None:
    answer = http.post(path, json=fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_the_tokenizers_description(http: httpx.Client, tokenizer: Tokenizer) -> None:
    info = http.get("/tokenizer_info").json()
    assert (info["vocab_size"], info["max_model_len"]) == (tokenizer.vocab_size, 1024)
    assert http.get("/tokenizer_info", params={"model": "owner/tiny"}).json() == info
    assert http.get("/tokenizer_info", params={"model": "nobody"}).status_code == 404


def test_no_tokens_are_no_text(http: httpx.Client) -> None:
    assert http.post("/detokenize", json={"tokens": []}).json() == {"prompt": ""}
