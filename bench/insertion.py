"""What middles of held-out text cost a trained model with their suffix and without; draws docs/figures.

python bench/insertion.py runs/quickstart              # the run's own held-out text
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import matplotlib.pyplot as plt
from report import record

from bottega.data.shards import TokenShards
from bottega.evaluation.insertion import MiddleScore, score_middles
from bottega.models.gpt import GPT
from bottega.models.load import load, load_tokenizer

FIGURE = Path(__file__).parent.parent / "docs" / "figures" / "insertion.png"


def main() -> None:
    """Score, print, record, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a quickstart's folder")
    parser.add_argument("--per-document", type=int, default=20, help="middles of each length and document")
    parser.add_argument("--figure", type=Path, default=FIGURE)
    options = parser.parse_args()
    model, tokenizer = load(options.run), load_tokenizer(options.run)
    assert isinstance(model, GPT)
    held = TokenShards.open(options.run / "data" / "heldout")
    texts = [tokenizer.decode(held.document(i)) for i in range(held.n_documents)]
    scores = score_middles(model, tokenizer, texts, per_document=options.per_document)
    for score in scores:
        row = {name: round(value, 4) for name, value in asdict(score).items()}
        print(row, f"{score.saving:.1%} saved")
        record("insertion", row)
    draw(scores, options.figure)


def draw(scores: list[MiddleScore], path: Path) -> None:
    """Bits per byte over the middle's length."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    lengths = [score.characters for score in scores]
    axes.plot(lengths, [score.without_suffix for score in scores], "o-", color="0.6", label="prefix alone")
    axes.plot(lengths, [score.with_suffix for score in scores], "o-", color="C0", label="prefix and suffix")
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [str(length) for length in lengths])
    axes.set(xlabel="characters of the middle", ylabel="bits per byte of the middle", ylim=(0, None))
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
