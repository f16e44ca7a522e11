"""A convolutional classifier of pictures: LeNet-5 (LeCun et al. 1998, section II) in today's parts.

The plan is theirs: convolutions and pooling in turn, more maps at each smaller size, then dense layers. The
parts came later: rectified units (Nair & Hinton 2010), max pooling, dropout (Srivastava et al. 2014), the
initialisation of He et al. (2015), softmax with cross-entropy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.models.folders import read_model, write_model
from bottega.models.picture_classifier import classification_loss, in_batches, require_classes, require_shape
from bottega.nn.loss import Loss

MODEL_TYPE = "bottega-cnn"
MOST_PLACES = 7  # of a side before the dense layer: larger pictures are averaged down to these


@dataclass(frozen=True)
class CNNConfig:
    """The pictures and the sizes. Raises InputError for values that make no sense."""

    channels: int = 1
    height: int = 28
    width: int = 28
    classes: tuple[str, ...] = tuple("0123456789")
    filters: int = 32
    """Maps of the first convolution; the second has twice as many."""
    n_embd: int = 128
    """Width of the layer before the classes: what `embed` gives."""
    dropout: int | float = 0.5
    """Of that layer."""

    def __post_init__(self) -> None:
        for name in ("channels", "height", "width", "filters", "n_embd"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must be at least 0 and below 1, not {self.dropout}")
        require_classes(self.classes)

    def build(self) -> CNN:
        """A new model of this shape."""
        return CNN(self)


class CNN(nn.Module):
    """Two convolutions, each with pooling, and two dense layers; called on pictures it gives logits."""

    def __init__(self, config: CNNConfig) -> None:
        super().__init__()
        self.config, maps = config, 2 * config.filters
        self.conv1 = nn.Conv2d(config.channels, config.filters, 5, padding=2)
        self.conv2 = nn.Conv2d(config.filters, maps, 3, padding=1)
        self.places = (min(MOST_PLACES, -(-config.height // 4)), min(MOST_PLACES, -(-config.width // 4)))
        self.dense = nn.Linear(maps * self.places[0] * self.places[1], config.n_embd)
        self.head = nn.Linear(config.n_embd, len(config.classes))
        self.init_weights()
        # Channels innermost: on a CPU a step takes half the time in bf16, and four fifths in fp32.
        for layer in (self.conv1, self.conv2):
            layer.weight.data = layer.weight.data.to(memory_format=torch.channels_last)

    @property
    def classes(self) -> Sequence[str]:
        """What it tells apart."""
        return self.config.classes

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what it sees."""
        return self.config.channels, self.config.height, self.config.width

    def init_weights(self) -> None:
        """N(0, 2 / fan in) where a rectifier follows (He et al. 2015); the head begins at 0, unsure."""
        for layer in (self.conv1, self.conv2, self.dense):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def states(
        self, pictures: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch embedding"]:
        """The layer before the classes. Black is 0, as is what lies beyond the border."""
        require_shape(pictures, self.picture_shape)
        x = pictures.to(self.conv1.weight.dtype)
        x = F.max_pool2d(F.relu(self.conv1(x)), 2, ceil_mode=True)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2, ceil_mode=True)
        x = F.adaptive_avg_pool2d(x, self.places)
        return F.relu(self.dense(x.flatten(1)))

    def forward(
        self, pictures: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Logits of the classes, of pictures in [0, 1]."""
        return self.head(F.dropout(self.states(pictures), self.config.dropout, self.training))

    def loss(self, batch: Mapping[str, Tensor]) -> Loss:
        """Nats of the `labels` (batch) of `pictures` (batch × channels × height × width, in [0, 1])."""
        return classification_loss(self(batch["pictures"]), batch["labels"])

    def predict_proba(self, pictures: Float[Tensor, "n channels height width"]) -> np.ndarray:
        """The probability of each class for each picture in [0, 1]: (n, classes); rows sum to 1."""
        return in_batches(lambda part: self(part).float().softmax(-1), pictures).numpy(force=True)

    def embed(self, pictures: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n embedding"]:
        """The layer before the classes: what it knows of each picture, for distances between sets."""
        return in_batches(self.states, pictures)

    def features(self) -> Float[Tensor, "filters channels height width"]:
        """The filters of the first layer, black where they say no and white where they say yes."""
        return self.conv1.weight.detach().float()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors."""
        write_model(folder, MODEL_TYPE, self.config, self.state_dict())

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> CNN:
        """The model of a folder; InputError where it is damaged or holds another kind of model."""
        return read_model(folder, MODEL_TYPE, CNNConfig, cls)
