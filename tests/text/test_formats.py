"""The files that are read, and those that are refused: each with one line that says why."""

from __future__ import annotations

import json
import random

import pytest
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from bottega.errors import BottegaError, InputError
from bottega.text.tokenizer import Tokenizer


@pytest.fixture
def saved(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    return tmp_path / "tokenizer.json"


def edit(path, change):
    definition = json.loads(path.read_text(encoding="utf-8"))
    change(definition)
    path.write_text(json.dumps(definition), encoding="utf-8")
    return path


@pytest.mark.parametrize(("encoder", "merges"), [("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt")])
def test_gpt2s_pair_of_files_is_read_from_either_half(tokenizer, corpus, tmp_path, encoder, merges):
    model = json.loads(tokenizer.to_json())["model"]
    (tmp_path / encoder).write_text(json.dumps(model["vocab"]))
    (tmp_path / merges).write_text("\n".join(["#version: 0.2", *model["merges"], ""]), encoding="utf-8")
    for place in (tmp_path, tmp_path / encoder, tmp_path / merges):
        loaded = Tokenizer.load(place)
        assert loaded.encode_batch(corpus) == tokenizer.encode_batch(corpus)
        assert loaded.special_tokens == tokenizer.special_tokens
    (tmp_path / merges).write_text("#version: 0.2\nq q\n")
    with pytest.raises(InputError, match="get the two files together"):
        Tokenizer.load(tmp_path)
    (tmp_path / merges).unlink()
    with pytest.raises(InputError, match="half a tokenizer"):
        Tokenizer.load(tmp_path / encoder)


def test_other_end_of_text_tokens_are_taken_from_the_configuration(saved):
    def rename(definition):
        for token in definition["added_tokens"]:
            token["content"] = token["content"].replace("<|endoftext|>", "</s>")
        definition["model"]["vocab"]["</s>"] = definition["model"]["vocab"].pop("<|endoftext|>")

    edit(saved, rename)
    for eos in ("</s>", {"content": "</s>"}):
        (saved.parent / "tokenizer_config.json").write_text(json.dumps({"eos_token": eos}))
        assert Tokenizer.load(saved.parent).end_of_text == 394
    (saved.parent / "tokenizer_config.json").unlink()
    with pytest.raises(InputError, match="eos_token"):
        _ = Tokenizer.load(saved.parent).end_of_text


def test_truncation_and_padding_in_a_file_are_not_obeyed(saved, tokenizer, corpus):
    def shorten(definition):
        definition["truncation"] = {
            "direction": "Right",
            "max_length": 3,
            "strategy": "LongestFirst",
            "stride": 0,
        }

    edit(saved, shorten)
    assert Tokenizer.load(saved).encode(corpus[0]) == tokenizer.encode(corpus[0])


@pytest.mark.parametrize("model", [models.Unigram([("a", 0.0)], 0), models.WordPiece({"a": 0, "[UNK]": 1})])
def test_other_kinds_are_refused_by_name(tmp_path, model):
    Library(model).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match=f"{type(model).__name__} tokenizer; expected byte-level BPE"):
        Tokenizer.load(tmp_path)


def test_a_bpe_of_characters_is_refused(tmp_path):
    library = Library(models.BPE())
    library.train_from_iterator(["▁the ▁cat"], trainers.BpeTrainer(show_progress=False))
    library.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match="BPE of characters"):
        Tokenizer.load(tmp_path)


def test_a_vocabulary_that_cannot_say_every_byte_is_refused(saved):
    edit(saved, lambda definition: definition["model"].update(vocab={"a": 0, "b": 1}, merges=[]))
    with pytest.raises(InputError, match="lacks 241 of the single bytes"):
        Tokenizer.load(saved)


def test_two_tokens_with_one_id_are_refused(saved):
    edit(saved, lambda definition: definition["model"]["vocab"].update({"a": 300}))
    with pytest.raises(InputError, match="same id"):
        Tokenizer.load(saved)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", b""),
        ("tokenizer.json", b"{"),
        ("tokenizer.json", b"[1]"),
        ("tokenizer.json", b'{"model": 3}'),
        ("tokenizer.json", b'{"model": {"type": "BPE", "vocab": {"a": []}}}'),
        ("tokenizer.json", b'{"added_tokens": [3], "model": {"type": "BPE", "vocab": {}}}'),
        ("tokenizer.json", b'{"added_tokens": 3, "model": {"type": "BPE", "vocab": {}}}'),
        ("tokenizer.json", b"\xff\xfe\x00"),
        ("x.tiktoken", b"YQ== 0\nYg== 1\n"),
        ("x.tiktoken", b"YQ== 0 1\n"),
        ("x.tiktoken", b"\x80\x81"),
        ("vocab.bpe", b"#version: 0.2\n\xff"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as refusal:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(refusal.value) and name in str(refusal.value)


def test_a_run_is_read_as_its_latest_checkpoint(saved, tokenizer, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/latest").symlink_to(saved.parent)
    assert Tokenizer.load(tmp_path / "run").encode("a text") == tokenizer.encode("a text")


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Tokenizer.load(tmp_path / "nothing")
    with pytest.raises(InputError, match="holds no tokenizer"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"\n\x0e")
    with pytest.raises(InputError, match="SentencePiece"):
        Tokenizer.load(tmp_path)


def test_no_damage_to_a_file_ends_in_a_traceback(saved):
    """Values of the file, replaced or removed: it is loaded and loses no text, or is refused in one line."""
    whole, noise = json.loads(saved.read_text(encoding="utf-8")), random.Random(0)
    for _ in range(150):
        definition = json.loads(json.dumps(whole))
        place = definition
        while True:
            key = noise.choice(list(place) if isinstance(place, dict) else range(len(place)))
            if isinstance(place[key], dict | list) and place[key] and noise.random() < 0.7:
                place = place[key]
                continue
            if noise.random() < 0.5:
                del place[key]
            else:
                place[key] = noise.choice([None, -1, 3.5, "x", [], {}, [1], {"a": 1}, 2**40])
            break
        saved.write_text(json.dumps(definition), encoding="utf-8")
        try:
            loaded = Tokenizer.load(saved)
            assert loaded.decode(loaded.encode("the master")) == "the master"
        except BottegaError as refusal:
            assert "\n" not in str(refusal)


def test_gpt1s_words_are_read_and_written_with_spaces(tmp_path):
    library = Library(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    library.normalizer = normalizers.BertNormalizer()
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False)
    library.train_from_iterator(["the master and the apprentices swept the floor"] * 3, trainer)
    library.save(str(tmp_path / "tokenizer.json"))
    loaded = Tokenizer.load(tmp_path)
    ids = loaded.encode("The floor, the master")
    assert ids == library.encode("The floor, the master").ids
    assert ids.count(loaded.special_tokens["<unk>"]) == 1
    assert loaded.decode(loaded.encode("The  Floor the master")) == "the floor the master "
