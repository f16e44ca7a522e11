"""Byte-level BPE as data: its alphabet, its split patterns, and when two libraries encode it alike.

Byte-pair encoding of words: Sennrich, Haddow and Birch 2016, section 3.2. On bytes, with text split before
the merges so that no token crosses a word's edge: Radford et al. 2019, section 2.2.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tiktoken
    import tokenizers

GPT2 = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
# What GPT-2's byte-level step splits by is not written in tokenizer.json; this stands for it.


def _cl100k(digits: str) -> tuple[str, str]:
    """A pattern of cl100k's kind as tokenizer.json files spell it, and one that does the same faster."""
    usual = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
        + digits
        + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    # Not quite tiktoken's own fast one: that tries `\s++$` before the line ends, and so does not cut "\n " in
    # two at a text's end. With cl100k's vocabulary it makes no difference (no token crosses the cut), with
    # others it does.
    swift = (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|"
        + digits
        + r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s*[\r\n]|\s++$|\s+(?!\S)|\s"
    )
    return usual, swift


CL100K, _CL100K_SWIFT = _cl100k(r"\p{N}{1,3}")
QWEN, _QWEN_SWIFT = _cl100k(r"\p{N}")
PATTERNS = {"gpt2": GPT2, "cl100k": CL100K}

# The patterns that tiktoken's regex engine is known to split by exactly as tokenizers' does (tests/parity).
_SWIFT = {
    GPT2: r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s""",
    CL100K: _CL100K_SWIFT,
    QWEN: _QWEN_SWIFT,
}


def _alphabet() -> dict[str, int]:
    """The printable character that stands for each byte in vocabularies (GPT-2's choice) -> that byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


BYTE_OF = _alphabet()
CHARACTER_OF = {byte: character for character, byte in BYTE_OF.items()}


def to_bytes(token: str) -> bytes | None:
    """The bytes that a vocabulary's entry stands for; None where it is not written in the alphabet."""
    values = [BYTE_OF.get(character) for character in token]
    return None if None in values else bytes(values)  # type: ignore[arg-type]  # None was just ruled out


def without_surrogates(text: str) -> str:
    """`text` with pairs of surrogates joined and lone ones replaced by U+FFFD, as tiktoken does."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def to_characters(token: bytes) -> str:
    """How a token's bytes are spelt in a vocabulary."""
    return "".join(map(CHARACTER_OF.__getitem__, token))


def merges_of(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The merges behind a tiktoken vocabulary: each token with the two parts that it was made of, in order.

    A token's parts are what the merges of lower rank leave of its bytes. Raises ValueError, with the token,
    where they do not leave two.
    """
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) > 1:
            left, right = _parts(token, rank, ranks)
            merges.append((left, right))
    return merges


def _parts(token: bytes, rank: int, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes]:
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        candidates = [ranks.get(parts[i] + parts[i + 1], rank) for i in range(len(parts) - 1)]
        lowest = min(candidates)
        if lowest >= rank:
            raise ValueError(token)
        i = candidates.index(lowest)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts[0], parts[1]


def definition(
    vocab: Mapping[str, int], merges: list[tuple[str, str]], pattern: str, special: Mapping[str, int]
) -> dict[str, Any]:
    """A byte-level BPE as tokenizer.json holds it. `vocab` and `special` may leave ids unused."""
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": pattern == GPT2,
    }
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": id, "content": token} | flags for token, id in special.items()],
        "normalizer": None,
        "pre_tokenizer": byte_level
        if pattern == GPT2
        else {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            # The special tokens stand here too, because the library numbers the added tokens that the
            # vocabulary lacks anew, from its size on, and the published vocabularies have gaps.
            "vocab": {**vocab, **special},
            "merges": [" ".join(pair) for pair in merges],  # no token holds a space: it is spelt "Ġ"
        },
    }


def pattern_of(pre_tokenizer: dict[str, Any] | None) -> str | None:
    """The pattern by which a tokenizer.json splits text, or None where it does something else besides."""
    steps = (pre_tokenizer or {}).get("pretokenizers", [pre_tokenizer])
    match steps:
        case [{"type": "ByteLevel", "add_prefix_space": False, **rest}] if rest.get("use_regex", True):
            return GPT2
        case [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ]:
            return str(pattern)
    return None


def as_tiktoken(definition: dict[str, Any], backend: tokenizers.Tokenizer) -> tiktoken.Encoding | None:
    """The same encoding in tiktoken, without added tokens, or None where it would not be exactly the same.

    tiktoken merges any two neighbours whose union is a token, lowest id first; tokenizers merges the listed
    pairs, first listed first. The two agree if the ids grow along the list, and if each token's own bytes
    merge into that token: whenever tiktoken has the halves of a token side by side, the listed merges have
    led there from the token's bytes alone (no merge crossed their edges), and would go on to the same union.
    """
    import tiktoken

    model, added = definition["model"], {token["content"] for token in definition["added_tokens"]}
    pattern = _SWIFT.get(pattern_of(definition["pre_tokenizer"]) or "")
    if pattern is None or not _plain(definition):
        return None
    vocab: dict[str, int] = model["vocab"]
    unions = ["".join(pair.split(" ") if isinstance(pair, str) else pair) for pair in model["merges"]]
    order = [vocab[union] for union in unions]
    if any(a > b for a, b in itertools.pairwise(order)) or not added.isdisjoint(unions):
        return None
    ranks = {to_bytes(token): id for token, id in vocab.items() if token not in added}
    if not _reachable([token for token in vocab if token not in added], backend):
        return None
    return tiktoken.Encoding("exact", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})  # type: ignore[arg-type]


def _plain(definition: dict[str, Any]) -> bool:
    """Whether nothing but the split, the merges, NFC and added tokens cut out verbatim plays a part."""
    model, normalizer = definition["model"], definition["normalizer"]
    odd = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
    if any(model.get(name) for name in odd) or normalizer not in (None, {"type": "NFC"}):
        return False
    return not any(
        token["lstrip"] or token["rstrip"] or token["single_word"] or (normalizer and token["normalized"])
        for token in definition["added_tokens"]
    )


def _reachable(words: list[str], backend: tokenizers.Tokenizer) -> bool:
    """Whether the listed merges turn the bytes of each word into that word.

    With `ignore_merges` whole words are looked up first, in both libraries; there it is enough that no word
    is left in two halves, which tiktoken would go on to merge.
    """
    model = backend.model
    whole_first = model.ignore_merges
    model.ignore_merges = False
    try:
        counts = {len(model.tokenize(word)) for word in words}
    finally:
        model.ignore_merges = whole_first
    return 2 not in counts if whole_first else counts == {1}
