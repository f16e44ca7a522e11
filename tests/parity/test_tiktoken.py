"""Token ids beside the reference libraries': tiktoken's published encodings, tokenizers, and transformers.

tiktoken's named encodings are the real ones: their files are put where it keeps what it has downloaded.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import random
from pathlib import Path

import pytest
import tiktoken
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library

from bottega.text.bytelevel import CL100K, GPT2, QWEN
from bottega.text.tokenizer import Tokenizer

PUBLISHED = "https://openaipublic.blob.core.windows.net/"
FILES = {
    "r50k_base": {"r50k_base.tiktoken": "encodings/r50k_base.tiktoken"},
    "p50k_base": {"p50k_base.tiktoken": "encodings/p50k_base.tiktoken"},
    "cl100k_base": {"cl100k_base.tiktoken": "encodings/cl100k_base.tiktoken"},
    "gpt2": {
        "encoder.json": "gpt-2/encodings/main/encoder.json",
        "vocab.bpe": "gpt-2/encodings/main/vocab.bpe",
    },
}
HARD_TEXTS = [
    "",
    "👩‍👩‍👧‍👦👋🏽🏳️‍🌈🇮🇹 emoji, (╯°□°)╯︵ ┻━┻",
    "אבג देवनागरी ไทย 汉字かな한국어 عربى Ελληνικά Кириллица ⵜⵉⴼⵉⵏⴰⵖ mixed",
    "".join(map(chr, range(0x20))) * 2 + "\x7f\x80\x85\x9f\xa0\xad\u200b\u200d\u2028\u2029\ufeff",
    "  a   b \t\tc\n\n\n  d\r\n\r\n e\u3000f\u00a0\u00a0g   ",
    "I'm, you'RE, it'S, 'ſ 'ſt 'SS 'ß 'LL; d'être; rock'n'roll'''",
    "007 1234567 3.14159 ٣٤٥ ½⅓ ⅷ 一二三 x² 1a2b3c",
    "e\u0301 vs é, ﬁ, Å Å Å, 각 vs 각",
    "a\x1cb\x1d\x1ec \x1f",
    "ends in lines and blanks \n  \n \t ",
    "\t\n\x0b\x0c",
    "for i in range(10):\n\tif x[i] != y:\n            print(f'{i:>5}')  # ok\n",
    "<|endoftext|> <|im_start|> <|fim_prefix|><|endofprompt|>",
    "a\ud83d\ude00b\ud800c\udfff",
]


@pytest.fixture(scope="module", params=FILES)
def pair(request, shared_data, tmp_path_factory):
    """One of the published vocabularies, read by us and by tiktoken itself."""
    cache, here = tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("files")
    for name, address in FILES[request.param].items():
        file = shared_data / "tokenizers" / name
        (cache / hashlib.sha1((PUBLISHED + address).encode()).hexdigest()).write_bytes(file.read_bytes())
        (here / ("renamed.tiktoken" if file.suffix == ".tiktoken" else name)).write_bytes(file.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
        oracle = tiktoken.get_encoding(request.param)
    return Tokenizer.load(here), oracle


def real_texts(data: Path) -> list[str]:
    def lines(path: str, n: int) -> list[str]:
        opener = lzma.open if path.endswith(".xz") else gzip.open
        with opener(data / path, "rt", encoding="utf-8") as file:
            return [line for line, _ in zip(file, range(n), strict=False)]

    prose = [(data / "text" / name).read_text() for name in ("shakespeare.txt", "wikitext2.test.raw.txt")]
    books = [json.loads(line)["text"][:400_000] for line in lines("text/gutenberg.jsonl.xz", 3)]
    articles = [json.loads(line)["text"] for line in lines("text/wikipedia-featured.jsonl.xz", 20)]
    pairs = lines("translation/tatoeba.en-fr.jsonl.gz", 3000) + lines("translation/multi30k/val.de.gz", 1000)
    code = lines("evaluation/HumanEval.jsonl.gz", 164)
    return [*prose, *books, *articles, *pairs, *code]


def test_ids_are_tiktokens_on_real_text(pair, shared_data):
    ours, oracle = pair
    texts = real_texts(shared_data)
    assert ours.encode_batch(texts) == oracle.encode_ordinary_batch(texts)
    line = texts[0].replace("\n", " ")
    assert len(line) > 1_000_000
    ids = ours.encode(line)
    assert ids == oracle.encode_ordinary(line)
    assert ours.decode(ids) == line


@pytest.mark.parametrize("text", HARD_TEXTS)
def test_ids_are_tiktokens_on_hard_text(pair, text):
    ours, oracle = pair
    assert ours.encode(text) == oracle.encode_ordinary(text)
    known = set(ours.special_tokens)
    asked = ours.encode(text, encode_special_tokens=True)
    assert asked == oracle.encode(text, allowed_special=known, disallowed_special=())


@settings(max_examples=200)
@given(text=st.text(), repeats=st.integers(1, 30))
@example("", 1)
def test_ids_are_tiktokens_on_any_text(pair, text, repeats):
    ours, oracle = pair
    text = text * repeats
    ids = ours.encode(text)
    assert ids == oracle.encode_ordinary(text)
    assert ours.decode_bytes(ids) == oracle.decode_bytes(ids)


@pytest.mark.parametrize("space", [" ", "\n", " \n", "\t", "\r\n"])
def test_ids_are_tiktokens_up_to_runs_of_white_space_that_it_cannot_take(pair, space):
    ours, oracle = pair
    for length in (199_998, 250_000):
        for text in ("a" + space * length + "b", space * length):
            assert ours.encode(text[:300_000]) == oracle.encode_ordinary(text[:300_000])


def test_the_vocabulary_is_tiktokens(pair):
    ours, oracle = pair
    assert ours.vocab_size == oracle.n_vocab
    assert ours.special_tokens == oracle._special_tokens
    assert ours.end_of_text == oracle.eot_token
    for token in oracle.token_byte_values():
        assert ours.token_bytes(oracle.encode_single_token(token)) == token


def test_what_is_saved_opens_in_transformers_with_tiktokens_ids(pair, shared_data, tmp_path):
    from transformers import AutoTokenizer

    ours, oracle = pair
    ours.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    texts = [*HARD_TEXTS[:-2], (shared_data / "text" / "wikitext2.valid.raw.txt").read_text()[:200_000]]
    for text in texts:
        assert theirs.encode(text, add_special_tokens=False) == oracle.encode_ordinary(text)
    assert theirs.convert_tokens_to_ids("<|endoftext|>") == theirs.eos_token_id == ours.end_of_text
    assert Tokenizer.load(tmp_path).encode_batch(texts) == oracle.encode_ordinary_batch(texts)


CORPUS = [
    "the weaver's loom in 1801, the dyer's vat; naïve 東京 \n\n  and 12345 threads\n" * 4,
    *HARD_TEXTS[1:8] * 3,
]


@pytest.fixture(scope="module", params=["gpt2", "cl100k"])
def trained(request):
    return Tokenizer.train(CORPUS, 420, request.param)


@pytest.mark.parametrize("model_type", [None, "gpt2", "llama", "qwen3"])
def test_what_is_trained_opens_in_transformers(trained, tmp_path, model_type):
    """Beside the configuration of any model."""
    from transformers import AutoTokenizer

    trained.save(tmp_path)
    if model_type:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in [*HARD_TEXTS[:-2], *CORPUS]:
        ids = trained.encode(text)
        assert theirs.encode(text) == ids
        assert theirs.decode(ids) == text
    asked = "a<|endoftext|>b <|fim_middle|> c"
    assert theirs.encode(asked) == trained.encode(asked, encode_special_tokens=True)
    assert len(theirs) == trained.vocab_size


def variant(trained: Tokenizer, pattern: str, **model: object) -> dict:
    """A tokenizer.json as Qwen's and Llama's are: NFC, their split, a begin token put before texts."""
    definition = json.loads(trained.to_json())
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    definition["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, byte_level]}
    definition["normalizer"] = {"type": "NFC"} if pattern == QWEN else None
    definition["model"] |= model
    return definition


@pytest.fixture(scope="module")
def kinds(trained):
    definitions = [
        variant(trained, QWEN),
        variant(trained, CL100K, ignore_merges=True),
        variant(trained, GPT2),
        variant(trained, r"\w+|\W"),
    ]
    return [(Tokenizer(definition), Library.from_str(json.dumps(definition))) for definition in definitions]


@settings(max_examples=300)
@given(
    text=st.text(
        alphabet=st.sampled_from(" \n\t\r\x0b\x0c'sSlLtT.,0123aé\u0301\u1100\u1161中\u00a0ſ👍🏽\u212b")
    )
)
def test_qwens_and_llamas_kind_of_file_gives_the_librarys_ids(kinds, text):
    for ours, library in kinds:
        ids = library.encode(text, add_special_tokens=False).ids
        assert ours.encode(text) == ids
        assert ours.encode_batch([text, text]) == [ids, ids]


def test_which_files_tiktoken_encodes(trained):
    """All but the last are exact, and so are encoded by the faster library."""
    whole_first = variant(trained, CL100K, ignore_merges=True)
    # Llama 3's vocabulary has words that no merges lead to, found only as a whole.
    whole_first["model"]["vocab"]["ĠwholeĠword"] = trained.vocab_size
    exact = [variant(trained, QWEN), whole_first, variant(trained, CL100K)]
    assert all(Tokenizer(definition)._tiktoken for definition in exact)
    assert Tokenizer(variant(trained, r"\w+|\W"))._tiktoken is None


def damaged_merges(definition: dict, noise: random.Random) -> None:
    """Merges out of order, missing, or split otherwise: a tokenizer, but maybe not of tiktoken's kind."""
    model = definition["model"]
    for _ in range(noise.randrange(1, 4)):
        i, j = noise.randrange(len(model["merges"])), noise.randrange(len(model["merges"]))
        match noise.randrange(3):
            case 0:
                model["merges"][i], model["merges"][j] = model["merges"][j], model["merges"][i]
            case 1:
                del model["merges"][i]
            case 2:
                union = model["merges"][i].replace(" ", "")
                cut = noise.randrange(1, len(union))
                if union[:cut] in model["vocab"] and union[cut:] in model["vocab"]:
                    model["merges"][i] = f"{union[:cut]} {union[cut:]}"


@pytest.mark.parametrize("ignore_merges", [False, True])
def test_tiktoken_is_used_only_where_it_is_exact(trained, ignore_merges):
    noise, used = random.Random(1), 0
    words = " ".join(CORPUS).split(" ")
    for _ in range(60):
        definition = json.loads(trained.to_json())
        definition["model"]["ignore_merges"] = ignore_merges
        damaged_merges(definition, noise)
        ours, library = Tokenizer(definition), Library.from_str(json.dumps(definition))
        used += ours._tiktoken is not None
        tokens = [ours.decode([id]) for id in range(256, 400)]
        texts = [*words, *tokens, *("".join(noise.choices(tokens, k=4)) for _ in range(200))]
        for text in texts:
            assert ours.encode(text) == library.encode(text, add_special_tokens=False).ids, text
    assert 0 < used < 60  # both kinds were tried


def code_points(last: int) -> list[str]:
    characters = [chr(i) for i in range(last) if not 0xD800 <= i < 0xE000]
    around = ["a{0}b", "1{0}2", " {0}", "'{0}", "{0}'{0}", ".{0}.", "\n{0} ", "{0}{0}1"]
    return [
        "\x00".join(a.format(c) for a in around for c in characters[i : i + 64]) for i in range(0, last, 64)
    ]


@pytest.mark.parametrize("last", [0x3400, pytest.param(0x110000, marks=pytest.mark.slow)])
def test_both_libraries_split_every_character_alike(trained, last):
    """Their regex engines have each their own tables of Unicode."""
    patterns = [GPT2] if trained._tiktoken._pat_str.startswith("'(?:") else [CL100K, QWEN]
    for pattern in patterns:
        ours = Tokenizer(variant(trained, pattern) | {"normalizer": None})
        for text in code_points(last):
            assert ours.encode(text) == ours._backend.encode(text).ids
