"""How good topics are and how fast they are found on one core, beside tomotopy and scikit-learn.

    python bench/topics.py                                        # wikipedia-good, 10 to 200 topics
    python bench/topics.py --documents 500 --figure docs/figures/topics-perplexity.png
    python bench/topics.py --quick                                # seconds: shows that everything is in place

All learn from the same words on one and the same core, one thread each, the rivals right after us, and all
topics are measured by the same function: a tenth of the documents is held out, half of each tells about the
other half (`bottega.evaluation.topics`). Speed is in seconds of the processor, which other programs do not
take away; preparing the words and compiling our loops are part of no time. Chains of different seeds end in
different topics, whose perplexities are some percent apart, so both sides run several.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from report import record
from sklearn.decomposition import LatentDirichletAllocation

from bottega.data.documents import read_documents
from bottega.evaluation.topics import coherence, complete_documents
from bottega.models.lda import LDAConfig, counted
from bottega.models.lda_gibbs import Gibbs
from bottega.models.lda_gibbs import gibbs as learn_by_gibbs
from bottega.models.lda_variational import OnlineBayes, online_bayes
from bottega.text.words import Vocabulary


@dataclass(frozen=True)
class Words:
    """The corpus as word ids: what is learnt from, and what is held out."""

    training: list[np.ndarray]
    held_out: list[np.ndarray]
    n_words: int

    @property
    def tokens(self) -> int:
        """That are learnt from."""
        return sum(map(len, self.training))


def main() -> None:
    """Measure each number of topics by both ways of inference."""
    options = parse()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    words = read(options.data, options.documents)
    some = words.training[:9]  # compiles
    learn_by_gibbs(some, words.n_words, np.ones(2), 0.1, Gibbs(1))
    online_bayes(counted(some, words.n_words), np.ones(2), 0.1, OnlineBayes(1))
    curves: dict[str, list[float]] = {}
    for n_topics in options.topics:
        for method, steps in ((gibbs, options.sweeps), (online, options.passes)):
            row = mean([method(words, n_topics, steps, seed) for seed in range(options.seeds)])
            print(row, flush=True)
            name = str(row["case"]).partition(",")[0]
            for who in ("our perplexity", "their perplexity"):
                curves.setdefault(label(name, who), []).append(float(str(row.get(who, "nan"))))
            if not options.quick:
                record("topics", row)
    if options.figure:
        draw(options.topics, curves, options.figure)


def parse() -> argparse.Namespace:
    """The command line."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--data", default="wikipedia-good", help="a file, folder or data set")
    parser.add_argument("--documents", type=int, help="how many documents, at most")
    parser.add_argument("--topics", type=int, nargs="+", default=[10, 20, 50, 100, 200])
    parser.add_argument("--sweeps", type=int, default=200, help="of the Gibbs samplers")
    parser.add_argument("--passes", type=int, default=20, help="of online Bayes")
    parser.add_argument("--seeds", type=int, default=3, help="chains; what differs is averaged over them")
    parser.add_argument("--figure", type=Path, help="draw perplexity against the number of topics")
    parser.add_argument("--quick", action="store_true", help="60 documents, 4 topics, 3 sweeps and passes")
    options = parser.parse_args()
    if options.quick:
        options.documents, options.topics, options.sweeps, options.passes = 60, [4], 3, 3
        options.seeds = 1
    return options


def read(data: str, limit: int | None) -> Words:
    """Every tenth document is held out; the words that count are those of the preset."""
    config = LDAConfig()
    prepare = config.preparation()
    documents = [prepare(d.text) for d in itertools.islice(read_documents([data]), limit)]
    training = [document for place, document in enumerate(documents) if place % 10]
    vocabulary = Vocabulary.build(training, min_documents=config.min_documents, max_share=config.max_share)
    ids = [found for document in training if len(found := vocabulary.ids(document))]
    return Words(ids, [vocabulary.ids(document) for document in documents[::10]], len(vocabulary))


def gibbs(words: Words, n_topics: int, sweeps: int, seed: int) -> dict[str, object]:
    """Collapsed Gibbs sampling from α = 0.1, which is learnt, and η = 0.01, beside tomotopy."""
    options, prior = Gibbs(sweeps, average=max(1, sweeps // 5), seed=seed), np.full(n_topics, 0.1)
    start = time.process_time()
    weights, alpha, _ = learn_by_gibbs(words.training, words.n_words, prior, 0.01, options)
    seconds = time.process_time() - start
    row = case(f"Gibbs, {n_topics} topics", "tomotopy", words, sweeps)
    row |= measured(words, "our", weights / weights.sum(0), alpha, sweeps / seconds)
    try:
        import tomotopy
    except ImportError:
        return row | {"rival": "tomotopy is not installed"}
    rival = tomotopy.LDAModel(k=n_topics, alpha=0.1, eta=0.01, seed=seed + 1)
    for document in words.training:
        rival.add_doc([str(word) for word in document])
    start = time.process_time()
    rival.train(sweeps, workers=1)
    seconds = time.process_time() - start
    topics = np.full((words.n_words, n_topics), 1e-12)
    of_word = np.transpose([rival.get_topic_word_dist(k) for k in range(n_topics)])
    topics[[int(word) for word in rival.used_vocabs]] = of_word
    learnt = np.array(rival.alpha, dtype=float)
    return row | measured(words, "their", topics, learnt, sweeps / seconds)


def online(words: Words, n_topics: int, passes: int, seed: int) -> dict[str, object]:
    """Online variational Bayes by scikit-learn's own defaults, beside it."""
    prior, counts = np.full(n_topics, 1 / n_topics), counted(words.training, words.n_words)
    start = time.process_time()
    weights, _ = online_bayes(counts, prior, 1 / n_topics, OnlineBayes(passes, seed=seed))
    seconds = time.process_time() - start
    row = case(f"online Bayes, {n_topics} topics", "scikit-learn", words, passes)
    row |= measured(words, "our", weights / weights.sum(0), prior, passes / seconds)
    rival = LatentDirichletAllocation(n_topics, learning_method="online", max_iter=passes, random_state=seed)
    start = time.process_time()
    rival.fit(counts)
    seconds = time.process_time() - start
    topics = rival.components_.T / rival.components_.sum(1)
    return row | measured(words, "their", topics, prior, passes / seconds)


def case(name: str, rival: str, words: Words, steps: int) -> dict[str, object]:
    """What was done; the first entry tells cases apart."""
    name = f"{name}, {len(words.training):,} documents"
    return {"case": name, "rival": rival, "tokens": words.tokens, "steps": steps}


def measured(
    words: Words, who: str, topics: np.ndarray, alpha: np.ndarray, steps_a_second: float
) -> dict[str, object]:
    """What is said of either side's topics (word, topic)."""
    top = np.argsort(-topics, axis=0, kind="stable")[:10].T.tolist()
    return {
        f"{who} tokens/s": round(words.tokens * steps_a_second),
        f"{who} perplexity": round(complete_documents(words.held_out, topics, alpha).perplexity, 1),
        f"{who} NPMI": round(float(np.mean(coherence(top, words.training))), 3),
    }


def mean(rows: Sequence[dict[str, object]]) -> dict[str, object]:
    """One row of several chains, with our speed as a multiple of theirs."""
    row: dict[str, object] = {"case": rows[0]["case"], "chains": len(rows)}
    for name, value in rows[0].items():
        row[name] = value
        if name.startswith(("our", "their")):
            average = float(np.mean([float(str(one[name])) for one in rows]))
            row[name] = round(average) if name.endswith("tokens/s") else round(average, 3)
    if "their tokens/s" in row:
        ours, theirs = (float(str(row[f"{who} tokens/s"])) for who in ("our", "their"))
        row["speed ratio"] = round(ours / theirs, 2)
    return row


def label(case: str, who: str) -> str:
    """Of a curve."""
    ours = who == "our perplexity"
    return f"{case}, {'Bottega' if ours else 'tomotopy' if case == 'Gibbs' else 'scikit-learn'}"


def draw(topics: Sequence[int], curves: dict[str, list[float]], out: Path) -> None:
    """Perplexity against the number of topics."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=130, layout="constrained")
    axes = figure.subplots()
    styles = itertools.product(("#0072B2", "#D55E00"), ("-", "--"))
    for (name, values), (colour, line) in zip(sorted(curves.items()), styles, strict=False):
        axes.plot(topics, values, line, color=colour, marker="o", markersize=4, label=name)
    axes.set_xscale("log")
    axes.set_xticks(topics, [str(n) for n in topics])
    axes.minorticks_off()
    axes.set_xlabel("topics")
    axes.set_ylabel("held-out perplexity a word")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.legend(frameon=False)
    figure.savefig(out)


if __name__ == "__main__":
    main()
