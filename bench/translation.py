"""How fast are sentences translated with a beam of 5, beside CTranslate2 and transformers' Marian class?

A Transformer with random weights of a Multi30k translator's size (4 + 4 layers, 128 wide, 10,000 tokens), the
same weights in CTranslate2 (our export), and MarianMTModel of the same shape with its own random weights. All
translate the same sentences, drawn with lengths from 5 to 25 tokens, with batches of the same sentences, to
exactly `new` tokens: nothing ends earlier, so that all do the same work. The decoders alternate, round by
round; the median counts. Tokens are those of the translations that are returned, one a sentence. Each has a
process of its own: beside CTranslate2's threads torch took 1.4 times as long in the same one.

    python bench/translation.py                # about three minutes
    python bench/translation.py --quick        # one round, few sentences; no record
"""

from __future__ import annotations

import json
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import tyro
from report import record

from bottega.data.pair_loader import Vocabulary
from bottega.data.pairs import SPECIAL_TOKENS
from bottega.interop.ctranslate2_folder import export_ctranslate2
from bottega.models.beam_search import BeamConfig, beam_search
from bottega.models.transformer import Transformer, TransformerConfig
from bottega.text.tokenizer import Tokenizer

BEAM = 5
Batches = list[list[list[int]]]
Decoder = Callable[[Batches], int]  # gives the number of tokens returned


@dataclass(frozen=True)
class Bench:
    """Beam-5 tokens a second, ours beside the rivals that are installed."""

    sentences: int = 256
    batch: int = 64
    new: int = 20
    width: int = 128
    layers: int = 4
    heads: int = 4
    vocabulary: int = 10_000
    threads: int = 2
    rounds: int = 3
    quick: bool = False


def draw(bench: Bench, first: int) -> Batches:
    """Sentences of 5 to 25 tokens from `first` on, those of like length together."""
    numbers = random.Random(0)
    lengths = sorted(numbers.randint(5, 25) for _ in range(bench.sentences))
    ids = [[numbers.randrange(first, bench.vocabulary) for _ in range(n)] for n in lengths]
    return [ids[start : start + bench.batch] for start in range(0, len(ids), bench.batch)]


def padded(batch: list[list[int]], eos: int, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids that end with <eos>, and which of them stand."""
    width = max(map(len, batch)) + 1
    ids = torch.tensor([[*line, eos, *[pad] * (width - len(line) - 1)] for line in batch])
    return ids, ids != pad


def ours(folder: Path, new: int) -> Decoder:
    """Our search."""
    model = Transformer.from_pretrained(folder)
    shape, config = model.config, BeamConfig(BEAM, max_tokens=new, min_tokens=new)

    def run(batches: Batches) -> int:
        tokens = 0
        for batch in batches:
            source = padded(batch, shape.eos, shape.pad)
            found = beam_search(model, *source, config, shape.bos, shape.eos, shape.pad)
            tokens += sum(len(best.ids) for (best,) in found)
        return tokens

    return run


def ctranslate2_decoder(folder: Path, names: list[str], kind: str, new: int, threads: int) -> Decoder:
    """CTranslate2 with our export."""
    import ctranslate2

    translator = ctranslate2.Translator(str(folder), compute_type=kind, intra_threads=threads)

    def run(batches: Batches) -> int:
        tokens = 0
        for batch in batches:
            texts = [[names[id] for id in line] for line in batch]
            lengths = {"max_decoding_length": new, "min_decoding_length": new}
            found = translator.translate_batch(texts, beam_size=BEAM, **lengths)
            tokens += sum(len(result.hypotheses[0]) for result in found)
        return tokens

    return run


def marian(shape: TransformerConfig, new: int) -> Decoder:
    """`generate` of transformers' MarianMTModel."""
    from transformers import MarianConfig, MarianMTModel

    sides = {
        f"{side}_{name}": value
        for side, layers in (("encoder", shape.n_encoder_layer), ("decoder", shape.n_decoder_layer))
        for name, value in (
            ("layers", layers),
            ("attention_heads", shape.n_head),
            ("ffn_dim", shape.n_inner),
        )
    }
    ids = {"pad_token_id": shape.pad, "bos_token_id": shape.bos, "eos_token_id": shape.eos}
    config = MarianConfig(
        vocab_size=shape.vocab_size,
        d_model=shape.n_embd,
        max_position_embeddings=shape.context_length,
        activation_function="relu",
        scale_embedding=True,
        decoder_start_token_id=shape.bos,
        forced_eos_token_id=None,
        **sides,
        **ids,
    )
    model = MarianMTModel(config).eval()
    limits: dict[str, Any] = {"max_new_tokens": new, "min_new_tokens": new, "num_beams": BEAM}

    def run(batches: Batches) -> int:
        tokens = 0
        for batch in batches:
            source, mask = padded(batch, shape.eos, shape.pad)
            found = model.generate(input_ids=source, attention_mask=mask.long(), **limits)
            tokens += found.shape[0] * (found.shape[1] - 1)  # the first is <bos>
        return tokens

    return run


def decoders(bench: Bench, folder: Path) -> tuple[dict[str, Callable[[], Decoder]], int]:
    """How to make whoever runs here, and the first id that is no special token."""
    tokenizer = Tokenizer.train(
        ["any words will do, ids are translated"] * 9, 270, special_tokens=SPECIAL_TOKENS
    )
    words = Vocabulary.of(tokenizer)
    shape = TransformerConfig(
        bench.vocabulary,
        128,
        bench.layers,
        bench.layers,
        bench.heads,
        bench.width,
        2 * bench.width,
        pad=words.pad,
        bos=words.bos,
        eos=words.eos,
    )
    torch.manual_seed(0)
    Transformer(shape).save_pretrained(folder / "ours")
    found: dict[str, Callable[[], Decoder]] = {"ours fp32": partial(ours, folder / "ours", bench.new)}
    if find_spec("ctranslate2"):
        tokenizer.save(folder / "ours")
        export_ctranslate2(folder / "ours", folder / "ctranslate2")
        names = json.loads((folder / "ctranslate2" / "shared_vocabulary.json").read_text("utf-8"))
        for kind in ("float32", "int8"):
            arguments = folder / "ctranslate2", names, kind, bench.new, bench.threads
            found[f"ctranslate2 {kind}"] = partial(ctranslate2_decoder, *arguments)
    else:
        print("ctranslate2 is not installed and is left out")
    if find_spec("transformers"):
        found["transformers fp32"] = partial(marian, shape, bench.new)
    else:
        print("transformers is not installed and is left out")
    return found, max(words.pad, words.bos, words.eos) + 1


def serve(make: Callable[[], Decoder], threads: int, connection: Connection) -> None:
    """Decode what comes, and say how many tokens that gave and how many seconds it took; end with None."""
    torch.set_num_threads(threads)
    decode = make()
    while batches := connection.recv():
        start = time.perf_counter()
        connection.send((decode(batches), time.perf_counter() - start))


def start(make: Callable[[], Decoder], threads: int) -> Connection:
    """A process that decodes; it ends with this one."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    context.Process(target=serve, args=(make, threads, there), daemon=True).start()
    return here


def measure(decoder: Connection, batches: Batches, bench: Bench) -> float:
    """Tokens a second of one decoder, once."""
    decoder.send(batches)
    tokens, seconds = decoder.recv()
    expected = sum(map(len, batches)) * bench.new
    if tokens != expected:
        raise RuntimeError(f"{tokens} tokens, not {expected}: the decoders do not do the same work")
    return float(tokens / seconds)


def main(bench: Bench) -> None:
    """Measure all in turn, round by round."""
    if bench.quick:
        bench = Bench(sentences=8, batch=4, new=4, width=32, layers=1, vocabulary=300, rounds=1, quick=True)
    with tempfile.TemporaryDirectory() as temporary:
        makers, first = decoders(bench, Path(temporary))
        batches = draw(bench, first)
        found = {name: start(make, bench.threads) for name, make in makers.items()}
        for decoder in found.values():
            measure(decoder, batches[:1], bench)  # caches and threads
        speeds: dict[str, list[float]] = {name: [] for name in found}
        for _ in range(bench.rounds):
            for name, decoder in found.items():
                speeds[name].append(measure(decoder, batches, bench))
        for decoder in found.values():
            decoder.send(None)
    medians = {name: statistics.median(each) for name, each in speeds.items()}
    for name, speed in medians.items():
        row: dict[str, Any] = {"decoder": name, "tokens/s, beam 5": speed}
        if "transformers fp32" in medians:
            row["times transformers"] = speed / medians["transformers fp32"]
        row |= {"sentences at a time": bench.batch, "tokens a sentence": bench.new}
        print(row, flush=True)
        if not bench.quick:
            record("translation", row)


if __name__ == "__main__":
    main(tyro.cli(Bench, description=__doc__))
