"""Pairs of sentences: where they come from, what is left out, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from bottega.data.near_sentences import near
from bottega.data.numbers import in_words, number_pairs
from bottega.data.pairs import Pairs, read_pairs
from bottega.errors import InputError

SPLITS = ("train", "val", "test")


def everything(data: tuple[str, ...], source: str = "en", target: str = "fr") -> list[tuple[str, str]]:
    return [pair for split in SPLITS for pair in read_pairs(data, source, target, split)]


def sentences(n: int = 400) -> list[tuple[str, str]]:
    return [(f"sentence {i}", f"phrase {i}") for i in range(n)]


def test_numbers_in_words() -> None:
    assert [in_words(n) for n in (0, 13, 40, 99, 100, 305, 1000, 7012, 4321)] == [
        "zero",
        "thirteen",
        "forty",
        "ninety-nine",
        "one hundred",
        "three hundred and five",
        "one thousand",
        "seven thousand and twelve",
        "four thousand three hundred and twenty-one",
    ]
    names = [words for words, _ in number_pairs(("en", "digits"))]
    assert len(set(names)) == len(names) == 10_000
    assert ("4 2", "forty-two") in number_pairs(("digits", "en"))


def test_embedded_holds_numbers_out() -> None:
    parts = [set(read_pairs(("embedded",), "en", "digits", split)) for split in SPLITS]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 10_000
    assert 50 < len(parts[1]) < 200 and 50 < len(parts[2]) < 200


def test_all_translations_of_a_sentence_fall_together(tmp_path: Path) -> None:
    lines = [f"Sentence {i}!\tun {i}\nsentence {i}\tdeux {i}\n" for i in range(300)]
    (tmp_path / "p.tsv").write_text("".join(lines))
    for split in SPLITS:
        numbers = [
            source.lower().strip("!")
            for source in read_pairs((f"{tmp_path}/p.tsv",), "en", "fr", split).source
        ]
        assert all(numbers.count(number) == 2 for number in numbers)


@pytest.mark.parametrize("n", [3, 8, 40, 150])
def test_small_files_hold_some_out_too(tmp_path: Path, n: int) -> None:
    (tmp_path / "p.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in sentences(n)) + " \tnothing\n")
    parts = [read_pairs((f"{tmp_path}/p.tsv",), "en", "fr", split) for split in SPLITS]
    assert sum(map(len, parts)) == len({pair for part in parts for pair in part}) == n
    assert [part.empty for part in parts] == [1, 0, 0]
    assert len(parts[0]) >= 0.7 * n or n == 3


def test_too_few_to_split(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text("one\tun\ntwo\tdeux\nTwo!\tDeux !\n")
    with pytest.raises(InputError, match=r"p\.tsv: 2 different source sentences are too few"):
        read_pairs((f"{tmp_path}/p.tsv",), "en", "fr")


def test_no_source_trains_on_what_another_holds_out(tmp_path: Path) -> None:
    pairs = sentences(300)
    for name, some in (("few.tsv", pairs[:40]), ("many.tsv", pairs)):
        (tmp_path / name).write_text("".join(f"{s}\t{t}\n" for s, t in some))
    data = (f"{tmp_path}/few.tsv", f"{tmp_path}/many.tsv")
    parts = [read_pairs(data, "en", "fr", split) for split in SPLITS]
    held = {source for part in parts[1:] for source in part.source}
    assert not held & set(parts[0].source)
    assert parts[0].copies == 340 - sum(map(len, parts)) > 0


def test_names_with_a_comma_or_a_colon(tmp_path: Path) -> None:
    for name in ("a,b.tsv", "a:b.tsv"):
        (tmp_path / name).write_text("".join(f"{s}\t{t}\n" for s, t in sentences(40)))
        assert len(read_pairs((f"{tmp_path}/{name}",), "en", "fr")) > 30


def test_files_of_every_kind_give_the_same(tmp_path: Path) -> None:
    pairs = sentences()
    (tmp_path / "p.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in pairs))
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"fr": t, "en": s}) + "\n" for s, t in pairs))
    (tmp_path / "c.en").write_text("\ufeff" + "".join(f"{s}\r\n" for s, _ in pairs), encoding="utf-8")
    (tmp_path / "c.fr.gz").write_bytes(gzip.compress("".join(f"{t}\n" for _, t in pairs).encode()))
    for name in ("p.tsv", "p.jsonl", "c.en,{}/c.fr.gz"):
        assert sorted(everything((f"{tmp_path}/{name}".format(tmp_path),))) == sorted(pairs)


def test_sources_are_joined_and_empty_sides_counted(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in sentences(50)) + "left\t \n\tright\n")
    (tmp_path / "b.tsv").write_text("".join(f"more {s}\t{t}\n" for s, t in sentences(50)))
    data = (f"{tmp_path}/a.tsv", f"{tmp_path}/b.tsv")
    parts = [read_pairs(data, "en", "fr", split) for split in ("train",)]
    assert len(parts[0]) > 80
    assert parts[0].empty == 2
    assert parts[0].source.index("sentence 7") < parts[0].source.index("more sentence 7")


def test_misaligned_files_name_both_counts(tmp_path: Path) -> None:
    (tmp_path / "c.en").write_text("a\nb\nc\n")
    (tmp_path / "c.fr").write_text("un\ndeux\n")
    with pytest.raises(InputError, match=r"c\.en has 3 lines and .*c\.fr has 2: they are not aligned"):
        read_pairs((f"{tmp_path}/c.en,{tmp_path}/c.fr",), "en", "fr")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.tsv", b"one\tun\ntwo\n", "line 2: 1 columns"),
        ("x.tsv", b"one\tun\ncaf\xe9\tdeux\n", "line 2: byte 0xe9 is not UTF-8"),
        ("x.tsv", b"\xef\xbb\xbfcaf\xe9\tdeux\n", "line 1: byte 0xe9 is not UTF-8"),
        (
            "x.jsonl",
            b'{"en": "a", "de": "b"}\n',
            "line 1: expected strings in the fields en and fr; it has en, de",
        ),
        ("x.jsonl", b'{"en": "a", "fr": 3}\n', "line 1: expected strings"),
        ("x.jsonl", b'{"en": "a", "fr": "\\ud800"}\n', "line 1: half a surrogate pair"),
        ("x.jsonl", b"nonsense\n", "line 1: not JSON"),
        ("x.tsv", b"", "no pairs in the split train"),
        ("x.tsv", b"\t\n\t\n", "no pairs in the split train"),
        ("x.pdf", b"a", "expected a .tsv, a .jsonl, or two aligned files"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_pairs((f"{tmp_path}/{name}",), "en", "fr")


@pytest.mark.parametrize(
    ("data", "languages", "said"),
    [
        (("nowhere.tsv",), ("en", "fr"), "nowhere.tsv: no such file"),
        (("embedded",), ("en", "fr"), "numbers in words"),
        (("multi30k:en-de",), ("en", "fr"), "multi30k:en-de is for en-de, but the languages are en-fr"),
        ((), ("en", "fr"), "no pairs given"),
    ],
)
def test_sources_that_are_none(data: tuple[str, ...], languages: tuple[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_pairs(data, *languages)


def test_multi30k_and_tatoeba(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOTTEGA_DATA", str(shared_data))
    sizes = [len(read_pairs(("multi30k:en-de",), "en", "de", split)) for split in SPLITS]
    assert sizes == [29_000, 1_014, 1_000]
    with pytest.raises(InputError, match="multi30k has en, de and fr"):
        read_pairs(("multi30k",), "en", "it")
    pairs = read_pairs(("tatoeba-en-fr", "multi30k"), "fr", "en")
    assert ("Va !", "Go.") in list(pairs)[:5] and len(pairs) > 29_000 + 150_000
    assert not set(pairs.source) & set(read_pairs(("tatoeba-en-fr",), "fr", "en", "test").source)


def test_near_sentences() -> None:
    is_near = near(["Je suis étudiant."])
    for sentence in ("je suis étudiant !", "Je suis étudiante.", "Moi, je suis étudiant à Paris, tu sais."):
        assert is_near(sentence)
    for sentence in ("Je suis fatigué.", "Tu es étudiant ?", "Les étudiants sont là.", ""):
        assert not is_near(sentence)
    assert Pairs(["Je suis étudiante.", "Oui."], ["I am a student.", "Yes."]).where(
        lambda source, _: not is_near(source)
    ) == Pairs(["Oui."], ["Yes."])
