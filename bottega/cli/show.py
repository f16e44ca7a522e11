"""`bottega show`: pictures of what a run or a model does. Each is one module here, show_WHAT.py."""

from __future__ import annotations

from bottega.cli.modules import run_module

PICTURES = {
    "curves": "learning curves of runs",
    "positions": "how a Transformer is told where a token stands",
    "states": "what the states of a hidden Markov model emit",
    "words": "a map of Word2Vec's words",
    "alignment": "which words a translator looked at for each that it wrote",
    "attention": "who looks at whom in a Transformer: a page with every head",
    "rollout": "from which patches a Vision Transformer reads the class of a picture",
    "topics": "the topics of a run: a page with their map, words and documents",
    "samples": "what a model of pictures drew while it learnt: side by side, or a film",
    "features": "the filters of the first layer of a model of pictures",
    "reconstructions": "pictures above what a model makes of them",
    "manifold": "where pictures lie in a model's code",
    "interpolation": "the way from one picture to another through the codes of a model",
    "chain": "Gibbs chains of a Boltzmann machine",
    "scenes": "drawn scenes with their captions, boxes and masks",
    "masks": "what a SegFormer takes the pixels of scenes for",
    "boxes": "what a DETR finds in scenes, and where it looks for it",
    "modes": "which modes of eight Gaussians a GAN has found",
    "game": "a GAN on a line: its density, D, and the best D",
}

EXAMPLE = "bottega show curves runs/first runs/second --out curves.png"


def main(argv: list[str]) -> None:
    """Draw what the first argument names, as the others say."""
    run_module("show", "Draw what a run or a model does.", PICTURES, EXAMPLE, argv)
