from __future__ import annotations

from pathlib import Path

import pytest

from bottega.errors import Stopped
from bottega.models.load import load
from bottega.models.symbols import read_symbols
from bottega.recipes.hmm import LETTERS, PRESETS, BaumWelch, train_letters
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
