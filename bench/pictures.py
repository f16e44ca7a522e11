"""How fast do models of pictures learn, beside other projects, on one core?

    python bench/pictures.py                        # all of them, on MNIST
    python bench/pictures.py rbm --pictures 20000
    python bench/pictures.py --quick                # seconds: shows that everything is in place

Both sides learn from the same pictures in the same order of sizes, one thread each, in turn, and the medians
of the rounds are compared. Speed is in seconds of the processor, which other programs do not take away.
Reading the data, checkpoints and validation are part of no time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from report import record
from threadpoolctl import threadpool_limits

from bottega.data.picture_batches import PictureBatches
from bottega.data.pictures import Pictures, open_pictures
from bottega.training.config import TrainingConfig
from bottega.training.loop import train

Row = dict[str, object]


@dataclass(frozen=True)
class Options:
    """What is measured on what."""

    pictures: Pictures
    rounds: int
    quick: bool


def main() -> None:
    """Measure each system that was named and write its rows down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("systems", nargs="*", choices=[*SYSTEMS, []], help="default: all")
    parser.add_argument("--data", default="mnist", help="pictures")
    parser.add_argument("--pictures", type=int, help="how many of them, at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--quick", action="store_true", help="the embedded digits, one round, nothing written"
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    taught, _ = open_pictures(["embedded" if asked.quick else asked.data])
    some = taught.where(np.arange(min(len(taught), asked.pictures or len(taught))))
    options = Options(some, 1 if asked.quick else asked.rounds, asked.quick)
    with threadpool_limits(1):
        for system in asked.systems or SYSTEMS:
            for row in SYSTEMS[system](options):
                print(row, flush=True)
                if not asked.quick:
                    record("pictures", row)


def in_turn(rounds: int, *sides: Callable[[], float]) -> list[float]:
    """The median seconds of each side, which take turns, so that all see the same machine."""
    return [
        median(column) for column in zip(*([side() for side in sides] for _ in range(rounds)), strict=True)
    ]


def processor_seconds(work: Callable[[], object]) -> float:
    """The seconds of the processor that `work` takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def epoch_of(model: torch.nn.Module, pictures: Pictures, config: TrainingConfig) -> float:
    """The seconds of the processor of one epoch by the training loop, without its first steps and its end."""
    marks: list[float] = []

    class Marked(PictureBatches):
        def next_batch(self) -> dict[str, torch.Tensor]:
            marks.append(time.process_time())
            return super().next_batch()

    with tempfile.TemporaryDirectory() as folder:
        train(model, Marked(pictures, config.batch_size, config.seed), Path(folder) / "run", config)
    # The first call only looks, the next is the first step; what is between two steps is all that a step is.
    steps = np.diff(marks[2:])
    return float(steps.mean()) * (len(pictures) / config.batch_size)


def rbm(options: Options) -> Iterator[Row]:
    """An epoch of PCD-1, 500 hidden units, beside scikit-learn's BernoulliRBM, which knows no other."""
    from sklearn.neural_network import BernoulliRBM

    from bottega.models.rbm import RBM, RBMConfig

    yield draws(options)
    lit = (options.pictures.pixels > 127).astype(np.uint8)
    pictures = Pictures(255 * lit, options.pictures.labels)
    channels, height, width = pictures.shape
    flat = lit.reshape(len(lit), -1).astype(np.float32)
    units = 50 if options.quick else 500

    for rows in (100, 10):
        steps = len(pictures) // rows

        def ours(precision: str, rows: int = rows, steps: int = steps) -> float:
            model = RBM(RBMConfig(channels, height, width, units, persistent=True, n_chains=rows))
            config = TrainingConfig(
                steps=steps,
                batch_size=rows,
                optimizer="sgd",
                learning_rate=0.01,
                beta1=0.0,
                weight_decay=0.0,
                clip=0.0,
                schedule="constant",
                warmup_steps=0,
                precision=precision,  # type: ignore[arg-type]
            )
            return epoch_of(model, pictures, config)

        def theirs(rows: int = rows) -> float:
            machine = BernoulliRBM(units, learning_rate=0.01, batch_size=rows, n_iter=1, random_state=0)
            return processor_seconds(lambda: machine.fit(flat))

        half, full, rival = in_turn(options.rounds, lambda: ours("bf16"), lambda: ours("fp32"), theirs)
        yield {
            "case": f"RBM, PCD-1, {units} hidden units, {len(pictures):,} pictures, batches of {rows}",
            "rival": "scikit-learn BernoulliRBM, fp32",
            "our seconds": round(half, 3),
            "our seconds in fp32": round(full, 3),
            "their seconds": round(rival, 3),
            "speed ratio": round(rival / half, 2),
            "speed ratio in fp32": round(rival / full, 2),
        }


def draws(options: Options) -> Row:
    """Zeros and ones by their logits, as a Gibbs chain draws a layer of pixels."""
    from bottega.nn.bernoulli import bernoulli

    logits, n = torch.randn(100, 784), 20 if options.quick else 2000

    def many(draw: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], float]:
        return lambda: processor_seconds(lambda: [draw(logits) for _ in range(n)])

    ours, theirs = in_turn(options.rounds, many(bernoulli), many(lambda x: torch.bernoulli(x.sigmoid())))
    return {
        "case": f"{n:,} draws of 100 × 784 zeros and ones",
        "rival": "torch.bernoulli",
        "our seconds": round(ours, 3),
        "their seconds": round(theirs, 3),
        "speed ratio": round(theirs / ours, 2),
    }


def vit(options: Options) -> Iterator[Row]:
    """A step of vit-tiny, and of ViT-Base at 224 × 224, beside `transformers`, each with AdamW."""
    from bottega.models.vit import ViTConfig

    few = options.pictures.where(np.arange(min(len(options.pictures), 4096)))
    down, right = (-(-224 // side) for side in few.shape[1:])
    wide = few.pixels[:64].repeat(down, 2).repeat(right, 3)[:, :, :224, :224]
    large = Pictures(wide, few.labels[:64])
    tiny = ViTConfig(*few.shape, patch=4, n_layer=4, n_head=4, n_embd=96)
    cases = [("vit-tiny", tiny, few, 64, 20), ("vit-base", ViTConfig(*large.shape), large, 4, 4)]
    for name, shape, pictures, rows, steps in cases[:1] if options.quick else cases:
        row: Row = {
            "case": f"{name}, a step of {rows} pictures of {'×'.join(map(str, pictures.shape))}",
            "rival": "transformers",
        }
        for precision, words in (("bf16", ""), ("fp32", " in fp32")):
            ours = partial(our_vit_step, shape, pictures, rows, steps, precision)
            theirs = partial(their_vit_step, shape, pictures, rows, steps, precision)
            mine, rival = in_turn(options.rounds, ours, theirs)
            row |= {
                f"our seconds{words}": round(mine, 4),
                f"their seconds{words}": round(rival, 4),
                f"speed ratio{words}": round(rival / mine, 2),
            }
        yield row


def our_vit_step(shape: Any, pictures: Pictures, rows: int, steps: int, precision: Any) -> float:
    """The seconds of a step by the training loop."""
    from bottega.models.vit import ViT

    config = TrainingConfig(
        steps=steps, batch_size=rows, optimizer="adamw", compile="off", precision=precision
    )
    return epoch_of(ViT(shape), pictures, config) * rows / len(pictures)


def their_vit_step(shape: Any, pictures: Pictures, rows: int, steps: int, precision: str) -> float:
    """The seconds of a step of `ViTForImageClassification` as its users write it, bf16 by autocast."""
    import transformers

    config = transformers.ViTConfig(
        image_size=[shape.height, shape.width],
        patch_size=shape.patch,
        num_channels=shape.channels,
        hidden_size=shape.n_embd,
        num_hidden_layers=shape.n_layer,
        num_attention_heads=shape.n_head,
        intermediate_size=4 * shape.n_embd,
        num_labels=len(shape.classes),
    )
    model = transformers.ViTForImageClassification(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    batches = PictureBatches(pictures, rows)

    def step() -> None:
        batch = batches.next_batch()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = model(2 * batch["pictures"] - 1, labels=batch["labels"]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()

    step()
    return processor_seconds(lambda: [step() for _ in range(steps)]) / steps


def vae(options: Options) -> Iterator[Row]:
    """An epoch of the preset `vae` on grey values, and log p of a picture from 5,000 codes, beside pythae.

    Their networks are ours inside their classes, so that only what is around them differs.
    """
    from bottega.models.vae import SAMPLES, VAE, VAEConfig

    pictures, rows = options.pictures, 128
    shape = VAEConfig(*pictures.shape, hidden=50 if options.quick else 500)
    few = torch.from_numpy(pictures.floats(slice(2 if options.quick else 10)))

    def ours(precision: Any) -> float:
        config = TrainingConfig(
            steps=len(pictures) // rows,
            batch_size=rows,
            optimizer="adamw",
            learning_rate=1e-3,
            weight_decay=0.0,
            clip=0.0,
            precision=precision,
        )
        return epoch_of(VAE(shape), pictures, config)

    def our_log_p() -> float:
        model = VAE(shape)
        return processor_seconds(lambda: model.score(few, SAMPLES)) / len(few)

    half, full, nats = in_turn(options.rounds, partial(ours, "bf16"), partial(ours, "fp32"), our_log_p)
    row: Row = {
        "case": f"VAE, a code of {shape.latent}, {len(pictures):,} pictures, batches of {rows}",
        "our seconds": round(half, 3),
        "our seconds in fp32": round(full, 3),
    }
    log_p: Row = {
        "case": f"VAE, log p of a picture from {SAMPLES:,} codes",
        "our seconds in fp32": round(nats, 4),
    }
    try:
        their_epoch, their_nats = in_turn(
            options.rounds,
            partial(their_vae_epoch, shape, pictures, rows),
            partial(their_vae_log_p, shape, few, SAMPLES),
        )
    except ImportError:
        missing = {"rival": "pythae is not installed"}
        yield from (row | missing, log_p | missing)
        return
    yield row | {
        "rival": "pythae, fp32",
        "their seconds": round(their_epoch, 3),
        "speed ratio": round(their_epoch / half, 2),
        "speed ratio in fp32": round(their_epoch / full, 2),
    }
    yield log_p | {
        "rival": "pythae, fp32",
        "their seconds": round(their_nats, 4),
        "speed ratio in fp32": round(their_nats / nats, 2),
    }


def their_vae(shape: Any) -> Any:
    """pythae's VAE with the same layers as ours."""
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    from bottega.nn.picture_networks import dense_decoder, dense_encoder

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = dense_encoder(shape.shape, 2 * shape.latent, shape.hidden, shape.n_layer)

        def forward(self, x: torch.Tensor) -> Any:
            mean, log_variance = self.layers(x).chunk(2, -1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = dense_decoder(shape.shape, shape.latent, shape.hidden, shape.n_layer)

        def forward(self, z: torch.Tensor) -> Any:
            return ModelOutput(reconstruction=self.layers(z).sigmoid())

    config = VAEConfig(input_dim=shape.shape, latent_dim=shape.latent, reconstruction_loss="bce")
    return VAE(config, Encoder(), Decoder())


def their_vae_epoch(shape: Any, pictures: Pictures, rows: int) -> float:
    """The seconds of an epoch by pythae's trainer, without what it saves."""
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    dataset = BaseDataset(torch.from_numpy(pictures.floats()), torch.from_numpy(pictures.labels))
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=1,
            per_device_train_batch_size=rows,
            learning_rate=1e-3,
            optimizer_cls="Adam",
            no_cuda=True,
        )
        trainer = BaseTrainer(model=their_vae(shape), train_dataset=dataset, training_config=config)
        trainer.prepare_training()
        return processor_seconds(lambda: trainer.train_step(1))


def their_vae_log_p(shape: Any, pictures: torch.Tensor, samples: int) -> float:
    """The seconds that pythae's `get_nll` takes for a picture."""
    model = their_vae(shape).eval()
    with torch.no_grad():
        return processor_seconds(lambda: model.get_nll(pictures, samples, 100)) / len(pictures)


SYSTEMS: dict[str, Callable[[Options], Iterator[Row]]] = {"rbm": rbm, "vae": vae, "vit": vit}


if __name__ == "__main__":
    main()
