"""Encoding and decoding: nothing is lost, special tokens stay apart, characters are never split."""

from __future__ import annotations

import json
import pickle
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottega.errors import InputError, WorkError
from bottega.text.tokenizer import DecodeStream, Tokenizer

HARD_TEXTS = [
    "",
    " ",
    "a",
    "\x00\x01\x1f\x7f\x85\u2028\ufeff",
    "👩‍👩‍👧‍👦 family, 🏳️‍🌈 flag, 🇮🇹",
    "mixed: אבג देवनागरी ไทย 汉字 한국어 عربى",
    "e\u0301 and é, ﬀ, ſ, 'S 'ſ I'M don't DON'T",
    "  leading,   inner\t\ttabs \r\n\r\n trailing  ",
    "12345678901234567890 ½ ³ ٣٤",
    "<|endoftext|><|im_start|>user",
]


@pytest.mark.parametrize("text", HARD_TEXTS)
def test_decoding_gives_the_text_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(text=st.text())
def test_decoding_gives_any_text_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(texts=st.lists(st.text(), max_size=6))
def test_a_batch_is_encoded_as_its_texts_are(tokenizer, texts):
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]


def test_merges_shorten_the_training_text(tokenizer, corpus):
    text = "".join(corpus)
    assert len(tokenizer.encode(text)) < len(text.encode()) / 2


def test_what_spells_a_special_token_stays_text_unless_asked(tokenizer):
    text = "a<|endoftext|><|im_start|>b"
    specials = set(tokenizer.special_tokens.values())
    assert not specials & set(tokenizer.encode(text))
    assert not specials & set(tokenizer.encode_batch([text])[0])
    end, start = tokenizer.end_of_text, tokenizer.special_tokens["<|im_start|>"]
    asked = tokenizer.encode(text, encode_special_tokens=True)
    assert asked == [*tokenizer.encode("a"), end, start, *tokenizer.encode("b")]
    assert tokenizer.decode(asked) == text


def test_of_special_tokens_that_begin_alike_the_longest_is_meant(tokenizer):
    definition = json.loads(tokenizer.to_json())
    longer = definition["added_tokens"][0] | {"id": 400, "content": "<|endoftext|>!"}
    definition["added_tokens"].append(longer)
    both = Tokenizer(definition)
    assert both.encode("<|endoftext|>!<|endoftext|>", encode_special_tokens=True) == [400, both.end_of_text]


def test_tokens_added_as_ordinary_ones_are_always_found(tokenizer):
    definition = json.loads(tokenizer.to_json())
    definition["added_tokens"].append(
        definition["added_tokens"][0] | {"id": 400, "content": "<think>", "special": False}
    )
    thinking = Tokenizer(definition)
    assert 400 in thinking.encode("a<think>b")
    assert "<think>" not in thinking.special_tokens
    # The library alone, without tiktoken's part, says the same.
    text = "x<think> y<|endoftext|> "
    assert thinking.encode(text) == thinking._backend.encode(text).ids


@pytest.mark.parametrize(
    ("text", "meant"),
    [("a\ud83d\ude00b", "a😀b"), ("a\ud800b", "a\ufffdb"), ("\udc00\ud800", "\ufffd\ufffd")],
)
def test_surrogates_in_pairs_are_joined_and_lone_ones_replaced(tokenizer, text, meant):
    assert tokenizer.encode(text) == tokenizer.encode(meant)
    assert tokenizer.encode_batch([text, text]) == [tokenizer.encode(meant)] * 2
    Tokenizer.train([text * 9], 262)


@given(data=st.data())
def test_a_stream_joins_to_the_decoded_text(tokenizer, data):
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1)))
    stream = DecodeStream(tokenizer)
    assert "".join([*map(stream.push, ids), stream.flush()]) == tokenizer.decode(ids)


def test_a_stream_never_splits_a_character(tokenizer):
    stream = DecodeStream(tokenizer)
    pieces = [stream.push(id) for id in tokenizer.encode("né 🧵 ok")]
    assert "".join(pieces) == "né 🧵 ok"
    assert not any("\ufffd" in piece for piece in pieces)
    first_byte = next(id for id in range(256) if tokenizer.token_bytes(id) == b"\xf0")
    assert stream.push(first_byte) == ""
    assert stream.flush() == "\ufffd"
    assert stream.push(tokenizer.encode("a")[0]) == "a"


@pytest.mark.parametrize("id", [-1, 400, 10**9])
def test_an_id_outside_the_vocabulary_is_refused(tokenizer, id):
    with pytest.raises(InputError, match="no token has the id"):
        tokenizer.decode([id])


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000_000,
        " " * 1_000_000 + "x",
        "\n" * 1_000_000 + "x",
        (" " * 99_999 + "x") * 10,
        "." * 1_000_000,
        "abcdefghij" * 100_000,
        "\U0001f3a8" * 250_000,
        "<|endoftext|>" * 80_000,
    ],
    ids=lambda text: repr(text[-4:]),
)
def test_a_megabyte_of_one_word_takes_seconds_not_hours(tokenizer, text):
    start = time.perf_counter()
    ids = tokenizer.encode(text)
    assert time.perf_counter() - start < 100  # a quadratic algorithm would take longer
    assert tokenizer.decode(ids) == text


def test_it_goes_to_other_processes(tokenizer):
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.encode("the master's 東京") == tokenizer.encode("the master's 東京")
    assert copy.special_tokens == tokenizer.special_tokens


def test_saving_is_whole_and_loading_gives_the_same(tokenizer, corpus, tmp_path):
    tokenizer.save(tmp_path / "new" / "folder")
    tokenizer.save(tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    assert sorted(path.name for path in folder.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
    for place in (folder, folder / "tokenizer.json"):
        loaded = Tokenizer.load(place)
        assert loaded.encode_batch(corpus) == tokenizer.encode_batch(corpus)
        assert (loaded.vocab_size, loaded.special_tokens) == (400, tokenizer.special_tokens)
    loaded.save(tmp_path / "again")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_saving_where_nothing_can_be_written_is_one_line(tokenizer, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkError, match="cannot be written"):
        tokenizer.save(tmp_path / "file" / "folder")


def test_the_configuration_is_kept(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "one")
    path = tmp_path / "one" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 77}))
    (tmp_path / "one" / "chat_template.jinja").write_text("{{ messages }}")
    Tokenizer.load(tmp_path / "one").save(tmp_path / "two")
    config = json.loads((tmp_path / "two" / "tokenizer_config.json").read_text())
    assert (config["model_max_length"], config["chat_template"]) == (77, "{{ messages }}")
