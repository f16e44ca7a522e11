from __future__ import annotations

from pathlib import Path

import pytest

from bottega.errors import InputError, Stopped
from bottega.models.load import load
from bottega.models.symbols import read_symbols
from bottega.recipes.hmm import LETTERS, PRESETS, BaumWelch, symbol_name, train_letters
from bottega.text.tokenizer import Tokenizer
from bottega.training.events import Event, Notice


def test_a_model_that_is_stopped_keeps_the_names_of_its_symbols(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the master grinds the colours and zoan paints a hand\n" * 20)

    def stop(event: Event) -> None:
        if isinstance(event, Notice) and "starts reached" in event.text:
            raise KeyboardInterrupt

    out = tmp_path / "letters"
    training = BaumWelch(iterations=5, starts=2)
    with pytest.raises(Stopped, match="as far as it came"):
        train_letters(PRESETS["hmm-letters"].shape, (str(text),), out, training, stop)
    assert read_symbols(out, load(out).config.size) == list(LETTERS)


def test_symbols_of_a_vocabulary_with_gaps_have_names(shared_data: Path) -> None:
    tokenizer = Tokenizer.load(shared_data / "tokenizers" / "cl100k_base.tiktoken")
    gaps = [i for i in range(tokenizer.vocab_size) if not has_bytes(tokenizer, i)]
    assert gaps  # else this shows nothing
    assert [symbol_name(tokenizer, i) for i in gaps] == [f"unused {i}" for i in gaps]
    assert symbol_name(tokenizer, tokenizer.encode(" master")[0]) == " master"


def has_bytes(tokenizer: Tokenizer, id: int) -> bool:
    try:
        tokenizer.token_bytes(id)
    except InputError:
        return False
    return True
