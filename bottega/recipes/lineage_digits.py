"""Five ways to a model of pictures on the same digits: density, energy, layers of it, latent code, game.

Gaussian mixture (by expectation–maximisation, 1977), restricted Boltzmann machine (Hinton 2002), deep belief
network (Hinton et al. 2006), variational autoencoder (Kingma & Welling 2014), generative adversarial network
(Goodfellow et al. 2014). What descends a gradient trains equally long; the mixture is done when it has
converged. Not all have a likelihood, and those who have mean different things by it: the table says what. FID
and KID compare all of them, in the features of a classifier that is trained beside them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from bottega.data.disk import write_json
from bottega.data.pictures import Pictures, open_pictures
from bottega.errors import InputError
from bottega.evaluation.frechet import evaluate_samples, fid, kid_and_error
from bottega.evaluation.pictures import kind_in_words, log_likelihood, measure_labels
from bottega.models.abilities import EmbedsPictures, SamplesPictures, ScoresPictures
from bottega.models.load import load
from bottega.plots.picture_rows import draw_rows
from bottega.recipes.lineage import Row, markdown, run_each, same_names, settle, trained
from bottega.recipes.presets import find
from bottega.training.config import BUDGETS, TrainingConfig
from bottega.training.progress import Display

NAMES = {  # the presets: of the RBMs and GANs those that come to samples in minutes
    "mixture": "mixture of Gaussians",
    "rbm-pcd": "RBM",
    "dbn": "DBN",
    "vae": "VAE",
    "dcgan": "GAN (DCGAN)",
}
DBN_LAYERS = (500, 500)  # each as wide as the RBM's, so that what it adds is depth
JUDGE = "cnn"  # the preset of the classifier whose features FID and KID are in
JUDGE_STEPS = 600  # on any machine, and whatever --minutes: the same ruler
SCORED = 500  # held-out pictures whose log p is asked: importance sampling takes 5,000 codes for each
DRAWN = 2_000  # pictures that each model draws for FID and KID
SHOWN = 12  # of them in the figure


def lineage_digits(
    out: Path, data: Sequence[str] = ("embedded",), minutes: float = 2.0, console: Console | None = None
) -> str:
    """Train every model for `minutes` on `data` in `out`, or find it there; return the table.

    Writes lineage.md (the table), results.json and lineage.png (samples side by side). Raises InputError
    where `out` holds another bench or the pictures have no labels, and `Stopped` on Ctrl-C, after which the
    same call goes on.
    """
    console = console or Console()
    if not minutes > 0:
        raise InputError(f"--minutes must be above 0, not {minutes}")
    taught, held = open_pictures(data)
    if not len(held):
        raise InputError(f"{data[0]}: too few pictures, none are held out; give more")
    settle(out, {"bench": "digits", "data": same_names(data), "minutes": minutes})
    jobs: dict[str, Callable[[Path], Row]] = {
        JUDGE: partial(_judge, tuple(data), held, console),
        **{name: partial(_member, name, tuple(data), minutes, held, console) for name in NAMES},
    }
    rows = run_each(out, jobs, minutes, console)
    judge = rows.pop(JUDGE)
    rows = {"real": _real(load(out / JUDGE), taught, held), **rows}
    table = _table(rows, judge, held)
    write_json(out / "results.json", {"classifier": judge, "models": rows})
    (out / "lineage.md").write_text(table + "\n", encoding="utf-8")
    samples = {"held out": held.floats(slice(SHOWN))}
    for name, title in NAMES.items():
        drawn = load(out / name).sample(SHOWN).float()
        samples[f"{title}\nFID {rows[name]['fid']:.1f}"] = drawn.numpy(force=True)
    draw_rows(samples, out / "lineage.png")
    return table


def _train(name: str, data: tuple[str, ...], budget: Row, console: Console, out: Path) -> float:
    """Run the preset with this budget, or go on with it; return the seconds that its steps took."""
    preset, shape = find(name), _shape(name)
    training, began = preset.training, time.monotonic()
    if isinstance(training, TrainingConfig):
        training = replace(training, **{**dict.fromkeys(BUDGETS), **budget})
    with Display(console) as display:
        preset.run(shape, data, out, training, display)
    runs = [run for run in (out, *sorted(out.glob("stage-*"))) if (run / "curves.jsonl").is_file()]
    return sum(trained(run).seconds for run in runs) if runs else time.monotonic() - began


def _shape(name: str) -> Any:
    shape = find(name).shape
    return replace(shape, layers=DBN_LAYERS) if name == "dbn" else shape


def _judge(data: tuple[str, ...], held: Pictures, console: Console, out: Path) -> Row:
    seconds = _train(JUDGE, data, {"steps": JUDGE_STEPS}, console, out)
    accuracy = measure_labels(load(out), held)
    return {"seconds": seconds, "accuracy": accuracy.share, "count": accuracy.count}


def _member(
    name: str, data: tuple[str, ...], minutes: float, held: Pictures, console: Console, out: Path
) -> Row:
    stages = len(DBN_LAYERS) if name == "dbn" else 1  # a DBN's budget is each layer's
    seconds = _train(name, data, {"minutes": minutes / stages}, console, out)
    model, judge = load(out), load(out.parent / JUDGE)
    assert isinstance(model, SamplesPictures) and isinstance(judge, EmbedsPictures)
    row: Row = {"about": _about(model), "seconds": seconds}
    with console.status("measuring"):
        if isinstance(model, ScoresPictures):
            found = log_likelihood(model, held.where(np.arange(min(SCORED, len(held)))))
            row |= {"nats": found.mean, "kind": kind_in_words(found), "error": found.error}
        return row | evaluate_samples(model, held, judge, DRAWN)


def _real(judge: EmbedsPictures, taught: Pictures, held: Pictures) -> Row:
    """The distance of training pictures, as if they had been drawn: no sampler need be nearer."""
    n = min(DRAWN, len(taught), len(held))
    first, second = (judge.embed(torch.from_numpy(one.floats(slice(n)))).numpy() for one in (held, taught))
    value, error = kid_and_error(first, second)
    return {"fid": fid(first, second), "kid": value, "kid_error": error, "drawn": n}


def _about(model: Any) -> str:
    """The size that tells most."""
    names = {"n_components": "Gaussians", "n_hidden": "hidden units", "latent": "latent numbers"}
    sizes = {what: getattr(model.config, field, None) for field, what in names.items()}
    if layers := getattr(model.config, "layers", ()):
        return "layers of " + ", ".join(map(str, layers))
    return ", ".join(f"{size} {what}" for what, size in sizes.items() if size is not None)


def _nats(row: Row) -> str:
    """Log p and its standard error, each where there is one."""
    if "nats" not in row:
        return ""
    return f"{row['nats']:.1f}" + (f" ± {row['error']:.1g}" if row["error"] else "")


def _table(rows: dict[str, Row], judge: Row, held: Pictures) -> str:
    header = ("model", "", "kind of log p", "log p, nats", "training, s", "FID", "KID")
    cells = [
        (
            NAMES.get(name, "training pictures"),
            row.get("about", ""),
            row.get("kind", "" if name == "real" else "none"),
            _nats(row),
            f"{row['seconds']:,.0f}" if "seconds" in row else "",
            f"{row['fid']:.1f}",
            f"{row['kid']:.3g} ± {row['kid_error']:.1g}",
        )
        for name, row in rows.items()
    ]
    return (
        f"{markdown(header, cells, texts=3)}\n\n"
        f"log p of the first {min(SCORED, len(held)):,} held-out pictures; kinds do not compare with others. "
        f"FID and KID of {rows['real']['drawn']:,} pictures from as many held out, in the features of a "
        f"classifier that gets {judge['accuracy']:.2%} of {judge['count']:,} right: not comparable with "
        "published figures."
    )
