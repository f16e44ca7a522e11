"""Words, for the models that count them: text to words, words to a vocabulary, documents to counts.

Splitting is ours; stop words come from scikit-learn, stems from snowballstemmer (Porter 2001), lemmas from
simplemma. Importing this imports none of them, and no torch.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from bottega.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# Letters and digits; an apostrophe between letters belongs to the word ("don't"), an underline does not.
_WORD = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)*")

# Snowball's name of a language, and simplemma's code for it.
LANGUAGES = {
    "danish": "da",
    "dutch": "nl",
    "english": "en",
    "finnish": "fi",
    "french": "fr",
    "german": "de",
    "italian": "it",
    "norwegian": "nb",
    "portuguese": "pt",
    "russian": "ru",
    "spanish": "es",
    "swedish": "sv",
}


def words(text: str, lower: bool = True) -> list[str]:
    """The words and numbers of a text in their order, without punctuation."""
    return [word.replace("’", "'") for word in _WORD.findall(text.lower() if lower else text)]


@dataclass(frozen=True)
class Preparation:
    """Which words of a text a model sees: called on a text it gives them in their order, lower-cased.

    Attributes:
        reduce: words as they are, their stems ("studies" → "studi") or their lemmas ("studies" → "study").
        language: of stems and lemmas, a key of `LANGUAGES`.
        stop_words: leave out "the", "of" and their like; there is a list for English alone.
        min_length: shorter words are left out, and so are numbers where it is above 1.

    Raises InputError for a language that is not known.
    """

    reduce: Literal["none", "stem", "lemma"] = "none"
    language: str = "english"
    stop_words: bool = False
    min_length: int = 1

    def __post_init__(self) -> None:
        if self.reduce not in ("none", "stem", "lemma"):
            raise InputError(f"words are reduced by none, stem or lemma, not by {self.reduce!r}")
        if self.language not in LANGUAGES:
            raise InputError(f"no stems or lemmas for {self.language!r}; there are {', '.join(LANGUAGES)}")
        if self.stop_words and self.language != "english":
            raise InputError(
                f"no list of stop words for {self.language}; leave it out and let the largest share of "
                "documents that a word may stand in do its work"
            )
        if self.min_length < 1:
            raise InputError(f"the least length of a word is 1, not {self.min_length}")

    def __call__(self, text: str) -> list[str]:
        """The words of a text that the model sees."""
        found = words(text)
        if self.stop_words or self.min_length > 1:
            found = self._without_unwanted(word.partition("'")[0] for word in found)  # "it's" is "it"
        if self.reduce == "none":
            return found
        return self._without_unwanted(map(_reducer(self.reduce, self.language), found))

    def _without_unwanted(self, found: Iterable[str]) -> list[str]:
        unwanted = _stop_words() if self.stop_words else frozenset()
        least = self.min_length
        return [
            word
            for word in found
            if word not in unwanted and len(word) >= least and (least == 1 or not word.isdigit())
        ]


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows, the most frequent first, and how often each occurred."""

    words: tuple[str, ...]
    counts: tuple[int, ...]

    @classmethod
    def build(
        cls,
        documents: Iterable[Sequence[str]],
        min_count: int = 1,
        min_documents: int = 1,
        max_share: int | float = 1.0,
        size: int | None = None,
    ) -> Vocabulary:
        """The vocabulary of documents that are lists of words; it may be empty.

        Args:
            documents: read once.
            min_count: a word occurs at least so often.
            min_documents: and in so many documents.
            max_share: and in at most this share of them.
            size: of these words the most frequent, at most so many.
        """
        occurrences: Counter[str] = Counter()
        holders: Counter[str] = Counter()
        n = 0
        for document in documents:
            occurrences.update(document)
            holders.update(set(document))
            n += 1
        kept = [
            (word, count)
            for word, count in occurrences.items()
            if count >= min_count and min_documents <= holders[word] <= max_share * n
        ]
        kept.sort(key=lambda pair: (-pair[1], pair[0]))
        kept = kept[:size]
        return cls(tuple(word for word, _ in kept), tuple(count for _, count in kept))

    def __len__(self) -> int:
        return len(self.words)

    @functools.cached_property
    def index(self) -> dict[str, int]:
        """The id of each word."""
        return {word: number for number, word in enumerate(self.words)}

    def ids(self, document: Iterable[str]) -> np.ndarray:
        """The ids of a document's words in their order, (n,) int32; words that are not known are left out."""
        index = self.index
        return np.array([index[word] for word in document if word in index], dtype=np.int32)


def bag_of_words(documents: Iterable[Sequence[str]], vocabulary: Vocabulary) -> csr_matrix:
    """How often each word of the vocabulary stands in each document: (document, word) sparse int64."""
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(analyzer=list, vocabulary=vocabulary.index)
    return counter.transform(documents)


@functools.cache
def _stop_words() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return frozenset(ENGLISH_STOP_WORDS)


@functools.cache
def _reducer(kind: str, language: str) -> Callable[[str], str]:
    """A word to its stem or lemma; cached, for a corpus repeats its words."""
    if kind == "stem":
        import snowballstemmer

        stemmer = snowballstemmer.stemmer(language)
        return functools.lru_cache(maxsize=2**18)(stemmer.stemWord)
    import simplemma

    code = LANGUAGES[language]
    return functools.lru_cache(maxsize=2**18)(lambda word: simplemma.lemmatize(word, lang=code).lower())
