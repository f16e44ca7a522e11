"""`bottega lineage`: a family of models on one bench. Each bench is one module here, lineage_WHAT.py."""

from __future__ import annotations

from bottega.cli.modules import run_module

BENCHES = {
    "text": "n-gram, HMM, RNN, LSTM, GRU and GPT on the same text, in bits per byte",
    "sentiment": "naive Bayes and logistic regression, by how many texts they have seen",
    "labels": "a pre-trained deep belief network and random weights, by how many labels they have seen",
    "digits": "mixture, RBM, DBN, VAE and GAN on the same pictures: samples, log p, FID and KID",
    "translation": "RNN, RNN with attention and Transformer on the same pairs, in BLEU",
}

EXAMPLE = "bottega lineage text --data shakespeare --minutes 10 --out runs/lineage"


def main(argv: list[str]) -> None:
    """Run the bench that the first argument names, as the others say."""
    run_module("lineage", "Compare models with their ancestors.", BENCHES, EXAMPLE, argv)
