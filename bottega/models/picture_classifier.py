"""What classifiers of pictures share: the checks of what they are given, their loss, work in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from bottega.errors import InputError
from bottega.nn.loss import Loss

Shape = tuple[int, int, int]  # channels, height, width


def require_classes(classes: Sequence[str]) -> None:
    """Raise InputError where there is nothing to tell apart, or two classes have one name."""
    if len(classes) < 2:
        raise InputError(f"a classifier needs at least 2 classes, not {len(classes)}")
    if len(set(classes)) < len(classes):
        raise InputError("two classes have the same name; give each its own")


def require_shape(pictures: Tensor, shape: Shape) -> None:
    """Raise InputError unless `pictures` are (n, *shape)."""
    if tuple(pictures.shape[1:]) != shape:
        given, wanted = (" × ".join(map(str, sizes)) for sizes in (pictures.shape[1:], shape))
        raise InputError(
            f"the pictures are {given} (channels × height × width); this model sees {wanted}; "
            "resize them, or train one on pictures of that shape"
        )


def classification_loss(
    logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], label_smoothing: int | float = 0.0
) -> Loss:
    """Nats of the labels, summed; `accuracy` is the share got right. Softmax is in fp32."""
    logits = logits.float()
    total = F.cross_entropy(logits, labels, reduction="sum", label_smoothing=label_smoothing)
    count = torch.tensor(len(labels), device=labels.device)
    return Loss(total, count, {"accuracy": (logits.argmax(-1) == labels).sum()})


@torch.no_grad()
def in_batches(
    compute: Callable[[Tensor], Tensor], pictures: Float[Tensor, "n channels height width"], rows: int = 256
) -> Float[Tensor, "n numbers"]:
    """What `compute` makes of the pictures, in fp32, so many at a time as memory and caches like."""
    return torch.cat([compute(part).float() for part in torch.split(pictures, rows)])
