"""What --data says of a text model's corpus: shards as they are, or documents, prepared in the run."""

from __future__ import annotations

import json
from pathlib import Path

from bottega.data import shards
from bottega.data.corpus import open_corpus
from bottega.data.disk import write_json
from bottega.data.splits import by_hash
from bottega.errors import InputError
from bottega.recipes.gpt import mixture
from bottega.text.tokenizer import Tokenizer
from bottega.training.distributed import world_from_environment
from bottega.training.events import Listener, Notice

TOKENIZER_CHARACTERS = 16_000_000  # of training text: more moves the last merges only


def shards_of(
    data: tuple[str, ...], out: Path, vocabulary: int, on_event: Listener | None = None
) -> dict[Path, float]:
    """Folders with `train` and `heldout`, and their weights, for `pretrain`.

    Where `data` names such folders (several with weights) they are taken as they are. Else it names documents
    (embedded, data sets of the catalog, files, folders), which are split, and tokenised into `out`/data with
    byte-level BPE of `vocabulary` tokens learnt from their training part; once, so that a run resumes.

    Raises InputError where `out` was begun with other documents, or they are too few to learn from.
    """
    folders = [one.rpartition("=")[0] if "=" in one and not Path(one).exists() else one for one in data]
    if data and all((Path(folder) / "train").is_dir() for folder in folders):
        return mixture(data)
    made, done = out / "data", out / "data" / "made.json"
    names = [str(Path(name).resolve()) if Path(name).exists() else name for name in data]
    settings = {"data": names, "vocabulary": vocabulary}
    if done.is_file():
        if (before := json.loads(done.read_text(encoding="utf-8"))) != settings:
            raise InputError(
                f"{out} was begun with {', '.join(before['data'])} and a vocabulary of "
                f"{before['vocabulary']}; give the same to go on, or another --out to start anew"
            )
        return {made: 1.0}
    if world_from_environment().size > 1:
        raise InputError("several processes need their data made before: see `bottega data prepare`")

    def say(text: str) -> None:
        if on_event is not None:
            on_event(Notice(text))

    documents, held = open_corpus(list(data), "text", report=say)
    training = list(documents)
    total = sum(len(document.text) for document in training)
    share = TOKENIZER_CHARACTERS / max(total, 1)
    sample = [d.text for d in training if share >= 1 or by_hash(d.name, share)]
    # A merge needs occurrences to be learnt from: small texts get small vocabularies.
    tokenizer = Tokenizer.train(sample, min(vocabulary, 512 + total // 200))
    parts = [shards.prepare(d, tokenizer, made / n) for n, d in (("train", training), ("heldout", held))]
    write_json(done, settings)
    sizes = " and ".join(f"{part.n_documents:,} documents ({part.n_tokens:,} tokens)" for part in parts)
    say(f"{', '.join(data)}: {sizes} to train on and held out")
    return {made: 1.0}
