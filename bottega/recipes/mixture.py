"""The Gaussian mixture as a preset: pictures in; its density, its means and its samples out."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bottega.data.disk import disk_errors
from bottega.data.picture_files import save_picture
from bottega.data.pictures import open_pictures
from bottega.errors import Stopped
from bottega.models.mixture import MODEL_TYPE, Mixture, MixtureConfig
from bottega.plots.grid import grid
from bottega.recipes.pictures import DATA, SHAPE, SHOWN
from bottega.recipes.preset import Preset, check_free
from bottega.training.events import Listener, Notice

_SAY_EVERY = 10.0  # seconds


@dataclass(frozen=True)
class MixtureFit:
    """How the pictures are prepared, and the seed of the clusters in which the Gaussians begin."""

    size: int | None = None
    """Resize the pictures to a square of so many pixels a side; None: they stay as they are."""
    grey: bool = False
    """Take the colours out."""
    seed: int = 0


def fit_mixture(
    shape: MixtureConfig, data: tuple[str, ...], out: Path, fit: MixtureFit, on_event: Listener | None
) -> str:
    """Fit a mixture to the training pictures; write it, samples.png and means.png into `out`.

    Raises what `open_pictures` and `Mixture.fit` raise, InputError where `out` holds something else, and
    Stopped after a Ctrl-C, with what was fitted so far in `out`.
    """

    def say(line: str) -> None:
        if on_event is not None:
            on_event(Notice(line))

    said = began = time.monotonic()

    def progress(done: int, most: int) -> None:
        nonlocal said
        if time.monotonic() - said >= _SAY_EVERY:
            said = time.monotonic()
            say(f"iteration {done:,} of at most {most:,}")

    check_free(out, MODEL_TYPE)
    taught, held = open_pictures(data, fit.size, fit.grey, report=say)
    channels, height, width = taught.shape
    shape = replace(shape, channels=channels, height=height, width=width)
    say(f"{len(taught):,} pictures of {channels}×{height}×{width} to learn from, {len(held):,} held out")
    model = Mixture.fit(torch.from_numpy(taught.floats()), shape, progress, fit.seed)
    model.save_pretrained(out)
    with disk_errors(out):
        save_picture(grid(model.sample(SHOWN).numpy()), out / "samples.png")
        save_picture(grid(model.features().numpy()), out / "means.png")
    if not model.finished:
        raise Stopped(
            f"stopped after {model.iterations:,} iterations; the mixture so far is in {out}; the same "
            "command starts again"
        )
    line = (
        f"{out}: {shape.n_components:,} Gaussians in {len(model.directions):,} directions, "
        f"{model.iterations:,} iterations in {time.monotonic() - began:.0f} s"
    )
    if not len(held):
        return f"{line}; none held out, too few pictures"
    nats = model.score(torch.from_numpy(held.floats())).mean
    return f"{line}; held-out density {nats:.1f} nats a picture (of grey values, not of binary pictures)"


PRESETS: dict[str, Preset] = {
    "mixture": Preset(
        about="a mixture of Gaussians over the pictures' principal directions",
        shape=MixtureConfig(),
        training=MixtureFit(),
        run=fit_mixture,
        data=DATA,
        minutes=0.1,
        expected="held-out density 47.5 nats of grey values, on embedded",
        not_offered=SHAPE,
    ),
}
