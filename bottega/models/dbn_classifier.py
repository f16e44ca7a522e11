"""A deep belief network as a classifier: the pass upwards, fine-tuned by back-propagation.

Hinton & Salakhutdinov (2006) and Bengio et al. (2007, section 2.4) take the weights that a stack has learnt
without labels as the beginning of a network of sigmoids, and put a softmax on top. Labels then only have to
correct what the pictures alone have taught.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.models.dbn import DBN, DBNConfig
from bottega.models.folders import read_model, write_model
from bottega.models.picture_classifier import classification_loss, in_batches, require_classes
from bottega.nn.loss import Loss
from bottega.nn.picture_networks import check_pictures

MODEL_TYPE = "bottega-dbn-classifier"


@dataclass(frozen=True)
class DBNClassifierConfig:
    """The pictures' shape, the widths of the hidden layers, and what is told apart."""

    channels: int = 1
    height: int = 28
    width: int = 28
    layers: tuple[int, ...] = (500, 500, 2000)
    classes: tuple[str, ...] = tuple("0123456789")

    def __post_init__(self) -> None:
        DBNConfig(self.channels, self.height, self.width, self.layers)
        require_classes(self.classes)


class DBNClassifier(nn.Module):
    """The pass upwards as a network of sigmoids, with a softmax on top; called on pictures it gives logits.

    Made by `from_dbn` it begins where the machines ended; made from a configuration alone, with the random
    weights that Glorot & Bengio (2010, section 4.2.1) give sigmoids.
    """

    def __init__(self, config: DBNClassifierConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.channels * config.height * config.width, *config.layers]
        self.layers = nn.ModuleList(nn.Linear(below, above) for below, above in pairwise(widths))
        self.head = nn.Linear(widths[-1], len(config.classes))
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.weight, gain=4.0)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.head.weight)  # sure of nothing
        nn.init.zeros_(self.head.bias)

    @classmethod
    def from_dbn(cls, dbn: DBN, classes: Sequence[str]) -> DBNClassifier:
        """The classifier whose layers begin as those of the stack; its head knows nothing yet."""
        model = cls(DBNClassifierConfig(*dbn.picture_shape, dbn.config.layers, tuple(classes)))
        model.begin_from(dbn)
        return model

    @torch.no_grad()
    def begin_from(self, dbn: DBN) -> None:
        """Take the stack's weights and hidden biases; InputError where it is of other sizes."""
        found, own = ((one.config.layers, one.picture_shape) for one in (dbn, self))
        if found != own:
            raise InputError(f"the stack has layers and pictures of {found}, the classifier of {own}")
        for layer, rbm in zip(self.layers, dbn.machines, strict=True):
            layer.weight.copy_(rbm.weight.T)  # type: ignore[operator]
            layer.bias.copy_(rbm.hidden_bias)  # type: ignore[operator]

    @property
    def classes(self) -> Sequence[str]:
        """What it tells apart."""
        return self.config.classes

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what it sees."""
        return self.config.channels, self.config.height, self.config.width

    def states(self, pictures: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n hidden"]:
        """The top layer."""
        x = pictures.flatten(1).to(self.head.weight.dtype)
        for layer in self.layers:
            x = torch.sigmoid(layer(x))
        return x

    def forward(self, pictures: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n classes"]:
        """Logits of the classes, of pictures in [0, 1]."""
        return self.head(self.states(pictures))

    def loss(self, batch: Mapping[str, Tensor]) -> Loss:
        """Nats of the `labels` (batch) of `pictures` (batch × channels × height × width, in [0, 1])."""
        return classification_loss(self(batch["pictures"]), batch["labels"])

    def predict_proba(self, pictures: Float[Tensor, "n channels height width"]) -> np.ndarray:
        """The probability of each class for each picture in [0, 1]: (n, classes); rows sum to 1.

        Raises InputError where they are not of this shape with numbers from 0 to 1.
        """
        seen = check_pictures(pictures, self.picture_shape, "the classifier")
        return in_batches(lambda part: self(part).float().softmax(-1), seen).numpy(force=True)

    def embed(self, pictures: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n hidden"]:
        """The top layer of pictures; InputError as in `predict_proba`."""
        return in_batches(self.states, check_pictures(pictures, self.picture_shape, "the classifier"))

    def features(self) -> Float[Tensor, "n channels height width"]:
        """The weights of each unit of the first layer as a picture, any range."""
        first: nn.Linear = self.layers[0]  # type: ignore[assignment]
        return first.weight.detach().float().reshape(-1, *self.picture_shape)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and the weights; WorkError where the disk cannot take them."""
        write_model(folder, MODEL_TYPE, self.config, self.state_dict())

    @classmethod
    def from_pretrained(cls, path: str | Path) -> DBNClassifier:
        """Read what `save_pretrained` wrote; InputError where it is damaged or holds something else."""
        return read_model(path, MODEL_TYPE, DBNClassifierConfig, cls)
