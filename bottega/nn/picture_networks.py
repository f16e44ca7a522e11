"""Networks between small pictures and vectors: dense ones, and convolutional ones for any height and width.

Each is an `nn.Sequential`: an encoder takes (n, channels, height, width) to (n, outputs), a decoder takes
(n, inputs) back to pictures, whose values may be anything: who wants them in [0, 1] puts a sigmoid behind.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bottega.errors import InputError

Kind = Literal["dense", "convolutional"]
PictureShape = tuple[int, int, int]  # channels, height, width
SMALLEST = 7  # the convolutions halve a picture until neither side is longer


def encoder(kind: Kind, shape: PictureShape, outputs: int, hidden: int, n_layer: int) -> nn.Sequential:
    """An encoder of either kind; `hidden` counts units, or the filters of the first convolution."""
    if kind == "dense":
        return dense_encoder(shape, outputs, hidden, n_layer)
    return conv_encoder(shape, outputs, hidden)


def decoder(kind: Kind, shape: PictureShape, inputs: int, hidden: int, n_layer: int) -> nn.Sequential:
    """The decoder that belongs to `encoder` of the same kind."""
    if kind == "dense":
        return dense_decoder(shape, inputs, hidden, n_layer)
    return conv_decoder(shape, inputs, hidden)


def dense_encoder(
    shape: PictureShape, outputs: int, hidden: int, n_layer: int, activation: type[nn.Module] = nn.ReLU
) -> nn.Sequential:
    """`n_layer` hidden layers of `hidden` units, then a linear map; with none it is linear altogether."""
    channels, height, width = shape
    sizes = [channels * height * width, *[hidden] * n_layer, outputs]
    return nn.Sequential(nn.Flatten(), *_stacked(sizes, activation))


def dense_decoder(
    shape: PictureShape, inputs: int, hidden: int, n_layer: int, activation: type[nn.Module] = nn.ReLU
) -> nn.Sequential:
    """The encoder turned round."""
    channels, height, width = shape
    sizes = [inputs, *[hidden] * n_layer, channels * height * width]
    return nn.Sequential(*_stacked(sizes, activation), nn.Unflatten(1, shape))


def conv_encoder(
    shape: PictureShape, outputs: int, filters: int, activation: type[nn.Module] = nn.ReLU
) -> nn.Sequential:
    """Convolutions of stride 2, twice as many filters at each, until the sides are at most 7; a linear map.

    28 × 28 goes to 14 × 14 with `filters` channels and to 7 × 7 with twice as many, 8 × 8 to 4 × 4.
    """
    layers: list[nn.Module] = []
    stages = _stages(shape, filters)
    for (before, _, _), (after, _, _) in pairwise(stages):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), activation()]
    channels, height, width = stages[-1]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * width, outputs))


def conv_decoder(
    shape: PictureShape, inputs: int, filters: int, activation: type[nn.Module] = nn.ReLU
) -> nn.Sequential:
    """The encoder turned round: a linear map, then transposed convolutions of stride 2."""
    stages = _stages(shape, filters)[::-1]
    channels, height, width = stages[0]
    layers: list[nn.Module] = [nn.Linear(inputs, channels * height * width), nn.Unflatten(1, stages[0])]
    for (before, _, _), (after, height, width) in pairwise(stages):
        # Of the two sizes that stride 2 takes to the same one, output_padding chooses ours.
        even = (1 - height % 2, 1 - width % 2)
        layers += [
            activation(),
            nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=even),
        ]
    return nn.Sequential(*layers)


def first_filters(
    network: nn.Sequential, shape: PictureShape
) -> Float[Tensor, "n channels filter_height filter_width"]:
    """What the units of an encoder's first layer look at: whole pictures, or the patches of convolutions."""
    first = next(layer for layer in network if isinstance(layer, nn.Linear | nn.Conv2d))
    weight = first.weight.detach().float()
    return weight if weight.dim() == 4 else weight.view(-1, *shape)


def check_pictures(
    pictures: Float[Tensor, ...], shape: PictureShape, what: str = "the model"
) -> Float[Tensor, "n channels height width"]:
    """The pictures, if they are numbers from 0 to 1 of this shape; InputError where they are not."""
    if pictures.dim() != 4 or tuple(pictures.shape[1:]) != shape:
        wanted, found = " × ".join(map(str, ("n", *shape))), " × ".join(map(str, pictures.shape))
        raise InputError(f"{what} takes pictures of {wanted} (n, channels, height, width), not {found}")
    if not len(pictures):
        raise InputError(f"{what} was given no pictures; expected at least 1")
    low, high = (float(value) for value in torch.aminmax(pictures))
    if not (low >= 0 and high <= 1):  # NaN is neither
        raise InputError(f"pixels must be from 0 to 1, not from {low:g} to {high:g}; divide bytes by 255")
    return pictures


def _stacked(sizes: list[int], activation: type[nn.Module]) -> list[nn.Module]:
    """Linear maps with an activation between each two."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), activation()]
    return layers[:-1]


def _stages(shape: PictureShape, filters: int) -> list[PictureShape]:
    """The shapes that a picture goes through, from its own to the smallest."""
    stages, (_, height, width) = [shape], shape
    while len(stages) == 1 or max(height, width) > SMALLEST:
        height, width = (height + 1) // 2, (width + 1) // 2
        stages.append((filters * 2 ** (len(stages) - 1), height, width))
    return stages
