"""Small corpora, prepared as users prepare them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bottega.data.documents import Document
from bottega.data.shards import TokenShards, prepare
from bottega.text.tokenizer import Tokenizer

MakeShards = Callable[..., TokenShards]


@pytest.fixture(scope="session")
def small_tokenizer() -> Tokenizer:
    return Tokenizer.train(["the apprentice grinds the colours, the master paints the angel"] * 3, 280)


@pytest.fixture(scope="session")
def make_shards(small_tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> MakeShards:
    """Shards of a list of texts in a folder of their own, several even of a few texts."""

    def make(texts: Sequence[str], shard_bytes: int = 300) -> TokenShards:
        out: Path = tmp_path_factory.mktemp("shards")
        documents = [Document(text, f"text {i}") for i, text in enumerate(texts)]
        return prepare(documents, small_tokenizer, out, shard_bytes=shard_bytes)

    return make
