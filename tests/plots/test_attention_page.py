"""What is written into the attention page, and what is refused."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from bottega.errors import InputError
from bottega.models.gpt import GPT, GPTConfig
from bottega.plots.attention_page import MOST_WEIGHTS, attention_page
from bottega.plots.bertviz import to_bertviz

EVIL = [
    "</script><script>fault()</script>",
    "<img src=x onerror=fault()>",
    "&lt;",
    '"',
    "\\",
    "${1}",
    "$title",
]


def shares(*shape: int) -> np.ndarray:
    numbers = np.random.default_rng(0).random(shape)
    return numbers / numbers.sum(-1, keepdims=True)


def data_of(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found[1])


class Tags(HTMLParser):
    """Counts what a parser of HTML takes for tags, and what they would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts, self.fetched = 0, []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.fetched += [value for name, value in attrs if name in ("src", "href", "onerror")]


def test_the_page_holds_every_weight_and_every_token_as_they_are() -> None:
    maps = {"cross": shares(2, 3, 7, 4), "encoder": shares(2, 3, 4, 4), "decoder": shares(2, 3, 7, 7)}
    data = data_of(attention_page(maps, ["a", "b", "c", "d"], EVIL))
    assert data["tokens"] == {"source": ["a", "b", "c", "d"], "target": EVIL}
    assert [map["name"] for map in data["maps"]] == ["cross", "encoder", "decoder"]
    for map in data["maps"]:
        numbers = np.frombuffer(base64.b64decode(map["weights"]), "<u2") / 65535
        assert np.abs(numbers - maps[map["name"]].ravel()).max() < 1e-5
        assert (map["layers"], map["heads"]) == (2, 3)


def test_no_token_and_no_title_becomes_a_tag() -> None:
    page = attention_page({"self": shares(1, 1, 7, 7)}, EVIL, title="</title><script>fault()</script>")
    tags = Tags()
    tags.feed(page)
    assert tags.scripts == 2  # the data and the page's own
    assert tags.fetched == []


def test_what_does_not_fit_is_refused() -> None:
    good = shares(1, 2, 3, 3)
    for maps, tokens, reason in (
        ({}, "abc", "no attention to show"),
        ({"self": good}, "abcd", "expected weights of layer × head × 4 × 4.* not 1 × 2 × 3 × 3"),
        ({"self": good[0]}, "abc", "expected weights"),
        ({"self": good[:0]}, "abc", "at least one of each"),
        ({"own": good}, "abc", "no kind of attention 'own'"),
        ({"self": good * np.nan}, "abc", "shares from 0 to 1"),
        ({"self": good - 1}, "abc", "shares from 0 to 1"),
    ):
        with pytest.raises(InputError, match=reason):
            attention_page(maps, list(tokens))
    long = np.zeros((12, 12, 200, 200), dtype=np.float32)
    with pytest.raises(InputError, match=r"5,760,000 weights would make a page of 15 MB.*about 166 tokens"):
        attention_page({"self": long}, ["a"] * 200)
    assert long.size > MOST_WEIGHTS


def test_bertviz_gets_a_batch_of_one_from_each_layer() -> None:
    model = GPT(GPTConfig(20, context_length=8, n_layer=3, n_head=2, n_embd=8))
    given = to_bertviz(model.attention(torch.arange(5)), list("abcde"))
    assert set(given) == {"attention", "tokens"} and given["tokens"] == list("abcde")
    assert [tuple(layer.shape) for layer in given["attention"]] == [(1, 2, 5, 5)] * 3
    assert torch.allclose(given["attention"][0].sum(-1), torch.ones(1, 2, 5))


def test_bertviz_gets_the_three_attentions_of_a_translation_by_its_own_names() -> None:
    sizes = {"encoder": (4, 4), "decoder": (6, 6), "cross": (6, 4)}
    maps = {name: torch.rand(2, 3, *size) for name, size in sizes.items()}
    given = to_bertviz(maps, list("abcd"), list("uvwxyz"))
    assert set(given) == {
        "encoder_attention",
        "decoder_attention",
        "cross_attention",
        "encoder_tokens",
        "decoder_tokens",
    }
    for name, size in sizes.items():
        assert [tuple(layer.shape) for layer in given[f"{name}_attention"]] == [(1, 3, *size)] * 2
    with pytest.raises(InputError, match="target_tokens"):
        to_bertviz(maps, list("abcd"))
