"""What --data says of a text model's corpus: shards as they are, or documents, prepared in the run."""

from __future__ import annotations

import json
from pathlib import Path

from bottega.data import shards
from bottega.data.corpus import open_corpus
from bottega.data.disk import write_json
from bottega.data.splits import by_hash
from bottega.errors import InputError
from bottega.text.tokenizer import Tokenizer
from bottega.training.distributed import world_from_environment
from bottega.training.events import Listener, Notice

DATA = "embedded, documents (data sets, files, folders), or what `bottega data prepare` wrote"
TOKENIZER_CHARACTERS = 16_000_000  # of training text: more moves the last merges only


def shards_of(
    data: tuple[str, ...], out: Path, vocabulary: int, on_event: Listener | None = None
) -> dict[Path, float]:
    """Folders with `train` and `heldout`, and their weights, for `pretrain`.

    Where `data` names such folders (several with weights) they are taken as they are. Else it names documents
    (embedded, data sets of the catalog, files, folders), which are split, and tokenised into `out`/data with
    byte-level BPE of `vocabulary` tokens, or as many as the text gives, learnt from their training part;
    once, so that a run resumes.

    Raises InputError where `out` was begun with other documents, or they are too few to learn from.
    """
    if are_prepared(data):
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
    tokenizer = Tokenizer.train(sample, min(vocabulary, 512 + total // 200), exact=False)
    parts = [shards.prepare(d, tokenizer, made / n) for n, d in (("train", training), ("heldout", held))]
    write_json(done, settings)
    sizes = " and ".join(f"{part.n_documents:,} documents ({part.n_tokens:,} tokens)" for part in parts)
    say(f"{', '.join(data)}: {sizes} to train on and held out, {tokenizer.vocab_size:,} different tokens")
    return {made: 1.0}


def are_prepared(data: tuple[str, ...]) -> bool:
    """Whether `data` names folders that `bottega data prepare` wrote, with weights or without, or documents.

    Raises InputError where only some are, where documents have a weight, and for one part of such a folder.
    """
    folders = [_weighted(one)[0] for one in data]
    prepared = [folder for folder in folders if (Path(folder) / "train").is_dir()]
    for one, folder in zip(data, folders, strict=True):
        if (Path(folder) / "meta.json").is_file():
            raise InputError(f"{folder} is a part of a prepared folder; give the folder that it is in")
        if folder not in prepared and (prepared or folder != one):
            raise InputError(
                f"{folder} is no folder that `bottega data prepare` wrote; only such are mixed, each as "
                "FOLDER=WEIGHT; prepare it, or give documents alone and without weights"
            )
    return bool(prepared)


def mixture(given: tuple[str, ...]) -> dict[Path, float]:
    """Folders with their weights, from FOLDER or FOLDER=WEIGHT; a single one needs no weight.

    Raises InputError where a weight is missing or no number, or a folder is named twice.
    """
    weights: dict[Path, float] = {}
    for one in given:
        folder, weight = _weighted(one)
        weight = "1" if len(given) == 1 and folder == one else weight
        try:
            value = float(weight)
        except ValueError:
            raise InputError(f"{one}: expected FOLDER=WEIGHT, such as data/books=0.8") from None
        if Path(folder) in weights:
            raise InputError(f"{folder} is named twice; give each folder once")
        weights[Path(folder)] = value
    return weights


def _weighted(one: str) -> tuple[str, str]:
    """The folder and the weight of FOLDER=WEIGHT; a path that exists is all folder."""
    folder, separator, weight = one.rpartition("=")
    return (one, "") if Path(one).exists() or not separator else (folder, weight)
