"""What --data says of a text model's corpus."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bottega.data.shard_files import TokenShards
from bottega.errors import InputError
from bottega.recipes.text_shards import shards_of
from bottega.training.events import Event, Notice

TEXT = "".join(f"Day {day}: the master grinds azure, and the boy sweeps.\n\n" for day in range(60))


def test_a_small_text_gives_a_small_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text(TEXT)
    told: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Notice):
            told.append(event.text)

    data, out = (str(tmp_path / "diary.txt"),), tmp_path / "run"
    assert shards_of(data, out, 8192, listen) == {out / "data": 1.0}
    size = TokenShards.open(out / "data" / "train").vocab_size
    assert 262 < size < 400
    assert f"{size} different tokens" in told[-1]
    assert shards_of(data, out, 8192) == {out / "data": 1.0}  # what is there is taken
    with pytest.raises(InputError, match=r"was begun with .* and a vocabulary of 8192"):
        shards_of(data, out, 4096)
    assert json.loads((out / "data" / "made.json").read_text())["vocabulary"] == 8192
