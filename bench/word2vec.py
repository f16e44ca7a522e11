"""How fast Word2Vec learns on one thread, and what its vectors are good for, beside gensim.

    BOTTEGA_DATA=… python bench/word2vec.py        # wikipedia-good, 5 readings, both architectures
    python bench/word2vec.py --data embedded       # what every installation carries
    python bench/word2vec.py --quick               # seconds: shows that everything is in place

Both programs read the same sentences, on one thread, with the same settings: 100 numbers, a window of 5, 5
negatives, min_count 5, sub-sampling at 1e-3. Speed is words of the vocabulary a second, of which a reading
takes as many for both; it is the median of --repeats readings that take turns, after one that is not counted.
Building the vocabulary and compiling are part of neither. Analogies are asked of models of --epochs readings.
"""

from __future__ import annotations

import argparse
import os
import statistics
from functools import partial

from report import record, seconds

from bottega.errors import InputError
from bottega.evaluation.analogies import measure_analogies
from bottega.models.word2vec import Word2Vec, Word2VecConfig, Word2VecTraining
from bottega.recipes.words import read_sentences

RATES = {"skip-gram": 0.025, "cbow": 0.05}


def main() -> None:
    """Measure each architecture, ours and gensim's in turns."""
    options = parse()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    sentences = some_sentences(options.data, options.words)
    for architecture, rate in RATES.items():
        config = Word2VecConfig(architecture=architecture)
        model, corpus = Word2Vec.drawn(sentences, config)
        rival = gensim_model(sentences, config, rate)
        once = Word2VecTraining(epochs=1, rate=rate)
        ours, theirs = [], []
        for _ in range(options.repeats + 1):
            ours.append(seconds(partial(model.learn, corpus, once)))
            if rival is not None:
                theirs.append(seconds(partial(train_gensim, rival, sentences, 1)))
        row = {
            "architecture": architecture,
            "words": len(corpus.ids),
            "vocabulary": len(model.words),
            "words/s": round(len(corpus.ids) / statistics.median(ours[1:])),
        }
        whole = Word2Vec.fit(sentences, config, Word2VecTraining(epochs=options.epochs, rate=rate))
        answers = measure_analogies(whole)
        row |= {"questions": sum(answers.asked.values()), "analogies %": round(100 * answers.share, 1)}
        if rival is not None:
            fresh = gensim_model(sentences, config, rate)
            train_gensim(fresh, sentences, options.epochs)
            same = Word2Vec(config, fresh.wv.index_to_key, whole.counts, fresh.wv.vectors, whole.contexts)
            row |= {
                "gensim words/s": round(len(corpus.ids) / statistics.median(theirs[1:])),
                "ratio": round(statistics.median(theirs[1:]) / statistics.median(ours[1:]), 2),
                "gensim analogies %": round(100 * measure_analogies(same).share, 1),
            }
        print(row)
        if not options.quick:
            record("word2vec", row)


def parse() -> argparse.Namespace:
    """The command line."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--data", default="wikipedia-good", help="a file, folder or data set")
    parser.add_argument("--words", type=float, default=1e7, help="how many words to read, at most")
    parser.add_argument("--epochs", type=int, default=5, help="readings before the analogies")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="50,000 words of the embedded corpus, once")
    options = parser.parse_args()
    if options.quick:
        options.data, options.words, options.epochs, options.repeats = "embedded", 5e4, 1, 1
    return options


def some_sentences(data: str, limit: float) -> list[list[str]]:
    """Sentences until they hold as many words; gensim drops what lies beyond 10,000 words of one."""
    sentences, total = [], 0
    for sentence in read_sentences((data,)):
        sentences.append(sentence[:10_000])
        total += len(sentences[-1])
        if total >= limit:
            break
    if not sentences:
        raise InputError(f"{data} holds no words")
    return sentences


def gensim_model(sentences: list[list[str]], config: Word2VecConfig, rate: float):
    """gensim's model with its vocabulary, not trained; None where gensim is not installed."""
    try:
        from gensim.models import Word2Vec as Gensim
    except ModuleNotFoundError:
        print("gensim is not installed: its columns are left out")
        return None
    model = Gensim(
        vector_size=config.width,
        window=config.window,
        negative=config.negatives,
        min_count=config.min_count,
        sample=config.subsample,
        sg=int(config.architecture == "skip-gram"),
        alpha=rate,
        min_alpha=1e-4,
        workers=1,
    )
    model.build_vocab(sentences)
    return model


def train_gensim(model, sentences: list[list[str]], epochs: int) -> None:
    """Let gensim read the sentences."""
    model.train(sentences, total_examples=len(sentences), epochs=epochs)


if __name__ == "__main__":
    main()
