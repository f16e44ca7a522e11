from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from bottega.data.labelled import held_out_labelled, open_labelled, read_labelled_file
from bottega.errors import InputError

EXAMPLES = [("a fine bronze", "good"), ("a cracked bell, sadly", "bad"), ('he said "no"', "bad")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", 'a fine bronze\tgood\na cracked bell, sadly\tbad\nhe said "no"\tbad\n'),
        (
            "a.tsv",
            'label\tid\ttext\ngood\t1\ta fine bronze\nbad\t2\ta cracked bell, sadly\nbad\t3\the said "no"',
        ),
        ("a.csv", '﻿a fine bronze,good\r\n"a cracked bell, sadly",bad\r\n\r\n"he said ""no""",bad\r\n'),
        ("a.jsonl", "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in EXAMPLES)),
    ],
    ids=["tsv", "tsv with names", "csv", "jsonl"],
)
def test_every_format_says_the_same(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content.encode())
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content.encode()))
    assert list(read_labelled_file(tmp_path / name)) == EXAMPLES
    assert list(read_labelled_file(tmp_path / f"{name}.gz")) == EXAMPLES


def test_fields_can_be_named_labels_may_be_numbers_and_pairs_are_joined(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"review": "dull", "stars": 1}\n{"review": "fine", "stars": 5}\n')
    assert list(read_labelled_file(file, "review", "stars")) == [("dull", "1"), ("fine", "5")]
    file.write_text('{"premise": "It rains.", "hypothesis": "It is wet.", "label": "entailment"}\n')
    assert list(read_labelled_file(file)) == [("It rains.\nIt is wet.", "entailment")]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.tsv", b"fine\tgood\nno label here\n", "line 2: 1 columns, expected 2"),
        ("a.tsv", b"fine\tgood\nfine\t \n", "line 2: no label"),
        ("a.tsv", b"fine\tgood\nf\xffne\tbad\n", "line 2: its byte 1 is not UTF-8"),
        ("a.jsonl", b'{"text": "f\xffne", "label": "x"}\n', "line 1: its byte"),
        ("a.jsonl", b'{"text": "fine"}\n', "line 1: the label 'label' is None"),
        ("a.jsonl", b'{"text": "fine", "label": 0.5}\n', "label' is 0.5"),
        ("a.jsonl", b'{"words": "fine", "label": "x"}\n', "'text' is not among words, label"),
        ("a.jsonl", b'{"text": 3, "label": "x"}\n', "'text' holds int"),
        ("a.csv", b'"' + b"x" * 200_000 + b'",y\n', "field larger than field limit"),
        ("a.jsonl", b'{"text": "\\ud800", "label": "x"}\n', "half a surrogate pair in 'text'"),
        ("a.jsonl", b'{"text": "fine", "label": "\\ud800"}\n', "half a surrogate pair in 'label'"),
        ("a.tsv", b"sentence\tlabel\nfine\tgood\n", "a column is called 'label', but none 'text'"),
        ("a.txt", b"fine good\n", "expected .jsonl, .tsv or .csv"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says) as raised:
        open_labelled([str(tmp_path / name)])
    assert str(tmp_path / name) in str(raised.value)


def test_a_tenth_of_a_file_is_held_out_and_equal_texts_stay_together(tmp_path: Path) -> None:
    file = tmp_path / "a.tsv"
    file.write_text("".join(f"text number {i % 500}\t{i % 2}\n" for i in range(1000)))
    training, held_out = open_labelled([str(file)])
    assert len(training) + len(held_out) == 1000 and 60 <= len(held_out) <= 140
    assert not set(training.texts) & set(held_out.texts)
    assert len(held_out_labelled(str(file))) == 1000


@pytest.mark.parametrize("source", ["nowhere.tsv", "shakespeare", "."])
def test_what_has_no_labels_is_refused(source: str) -> None:
    with pytest.raises(InputError, match="embedded, sst2, trec, rte, cb"):
        open_labelled([source])
    with pytest.raises(InputError, match="no data given"):
        open_labelled([])


def test_the_embedded_examples_are_balanced_and_their_modules_apart() -> None:
    told: list[str] = []
    training, held_out = open_labelled(["embedded"], report=told.append)
    assert told == ["embedded: reading the sources that this Python carries takes some seconds"]
    assert len(set(training.labels)) >= 2 and set(training.labels) == set(held_out.labels)
    assert len(set(Counter(training.labels).values())) == 1
    assert not set(training.texts) & set(held_out.texts)
    assert (training, held_out) == open_labelled(["embedded"])


def test_the_catalog_s_labelled_sets(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOTTEGA_DATA", str(shared_data))
    sizes = {name: tuple(map(len, open_labelled([name]))) for name in ("sst2", "trec", "rte", "cb")}
    assert sizes == {"sst2": (6920, 872), "trec": (5452, 500), "rte": (2490, 277), "cb": (250, 56)}
    assert set(held_out_labelled("sst2").labels) == {"negative", "positive"}
    training, _ = open_labelled(["trec"])
    assert set(training.labels) == {"ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"}
    assert training.texts[0].startswith("How did serfdom")
