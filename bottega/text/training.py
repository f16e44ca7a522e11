"""Trains byte-level BPE (Sennrich et al. 2016, algorithm 1) on documents that are read one by one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from bottega.errors import InputError
from bottega.text.bytelevel import CHARACTER_OF, PATTERNS, definition, without_surrogates

# Reserved in every vocabulary that is trained here, after the merges: the end of a document, the turns of a
# chat (the role is text after the first), and filling in the middle (Bavarian et al. 2022, section 3).
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
)

# As long as the longest tokens of GPT-2: rules of dashes and blank space would else take tokens of any
# length.
_LONGEST_TOKEN = 128

# The trainer's time grows with the square of a word's length, and its memory with a text's; so it gets short
# pieces.
_PIECE = 4096
# Neither pattern lets a token hold a space after anything that is not white space, so a cut there changes
# nothing.
_SAFE_CUT = re.compile(r"(?<=\S) ")


def train(
    documents: Iterable[str],
    vocab_size: int,
    pattern: str = "gpt2",
    special_tokens: Sequence[str] = SPECIAL_TOKENS,
    exact: bool = True,
) -> dict[str, Any]:
    """Learn a vocabulary of exactly `vocab_size` tokens, 256 bytes and the special tokens among them.

    Where not `exact`, data that gives fewer makes a smaller one. The same documents give the same vocabulary,
    whatever the number of threads. `pattern` names how text is split before the merges: "gpt2" or "cl100k".
    Returns the contents of a tokenizer.json. Raises InputError for no text, an unknown pattern, and a
    `vocab_size` that is too small or, where `exact`, more than the data gives.
    """
    from tokenizers import Tokenizer, models, trainers

    if pattern not in PATTERNS:
        raise InputError(f"there is no split pattern {pattern!r}; the known ones are {', '.join(PATTERNS)}")
    smallest = 256 + len(special_tokens)
    if vocab_size < smallest:
        raise InputError(
            f"a vocabulary of {vocab_size} is too small: 256 bytes and {len(special_tokens)} special tokens "
            f"need {smallest}, and merges come on top"
        )
    backend = Tokenizer.from_str(json.dumps(definition({}, [], PATTERNS[pattern], {})))
    assert isinstance(backend.model, models.BPE)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(special_tokens),
        min_frequency=2,  # a pair seen once tells nothing about other text
        initial_alphabet=list(CHARACTER_OF.values()),
        max_token_length=_LONGEST_TOKEN,
        show_progress=False,
    )
    seen = _Seen()
    backend.train_from_iterator(seen.pieces(documents), trainer)
    if not seen.text:
        raise InputError("there is no text to train on: every document is empty; name sources that hold text")
    size = backend.get_vocab_size() + len(special_tokens)
    if exact and size < vocab_size:
        raise InputError(
            f"the data gives a vocabulary of only {size} tokens, and {vocab_size} were asked for; "
            f"ask for at most {size}, or give more text"
        )
    model = json.loads(backend.to_str())["model"]
    special = {token: id for id, token in enumerate(special_tokens, size - len(special_tokens))}
    merges = [(left, right) for left, right in model["merges"]]
    return definition(model["vocab"], merges, PATTERNS[pattern], special)


class _Seen:
    """Passes documents on in pieces and remembers whether there was any text."""

    text = False

    def pieces(self, documents: Iterable[str]) -> Iterator[str]:
        for document in documents:
            self.text = self.text or bool(document)
            yield from pieces(without_surrogates(document))


def pieces(text: str) -> Iterator[str]:
    """`text` in pieces of 4,096 to 8,192 characters, cut between words; where there is none, at 8,192."""
    start = 0
    while len(text) - start > 2 * _PIECE:
        safe = _SAFE_CUT.search(text, start + _PIECE, start + 2 * _PIECE)
        end = safe.start() if safe else start + 2 * _PIECE
        yield text[start:end]
        start = end
    yield text[start:]
