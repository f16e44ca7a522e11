"""ViT: a picture as a sequence of patches, read by the Transformer's encoder (Dosovitskiy et al. 2021).

Section and equation numbers are those of "An Image is Worth 16x16 Words: Transformers for Image Recognition
at Scale". `ViTEncoder` gives <cls> and each patch a state that has seen all of the picture; `ViT` tells
classes from the state of <cls>.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.models.picture_classifier import classification_loss, in_batches, require_classes, require_shape
from bottega.nn.attention_maps import recorded, rollout
from bottega.nn.loss import Loss
from bottega.nn.transformer import Block, BlockConfig, hidden_matrices
from bottega.nn.undrawn import undrawn

MODEL_TYPE = "vit"  # the folders are those of `transformers`


@dataclass(frozen=True)
class ViTConfig:
    """The pictures and the shape of a ViT; the defaults are ViT-Base's with patches of 16 × 16 pixels.

    `mean` and `std`, one number or one a channel, are what pictures in [0, 1] are normalised by. Raises
    InputError for values that make no sense.
    """

    channels: int = 3
    height: int = 224
    width: int = 224
    classes: tuple[str, ...] = tuple("0123456789")
    patch: int = 16
    """Side of a patch in pixels; the sides of the picture must be multiples of it."""
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    n_inner: int | None = None  # default: 4 n_embd
    norm_eps: int | float = 1e-12
    mlp: Literal["gelu", "gelu_tanh", "relu"] = "gelu"
    dropout: int | float = 0.0
    mean: tuple[int | float, ...] = (0.5,)
    std: tuple[int | float, ...] = (0.5,)

    def __post_init__(self) -> None:
        for name in ("channels", "height", "width", "patch", "n_layer", "n_head", "n_embd"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.n_inner is not None and self.n_inner < 1:
            raise InputError(f"n_inner must be at least 1, not {self.n_inner}")
        if self.n_embd % self.n_head:
            raise InputError(f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must be at least 0 and below 1, not {self.dropout}")
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (1, self.channels):
                raise InputError(f"{name} has {len(numbers)} numbers for {self.channels} channels")
        if min(self.std) <= 0:
            raise InputError(f"std must be above 0, not {min(self.std)}")

    @property
    def grid(self) -> tuple[int, int]:
        """Patches in a column and in a row; InputError where they do not tile the picture."""
        if self.height % self.patch or self.width % self.patch:
            raise InputError(
                f"patches of {self.patch} × {self.patch} pixels do not tile pictures of {self.height} × "
                f"{self.width}; give a patch that divides both sides, or resize the pictures"
            )
        return self.height // self.patch, self.width // self.patch

    @property
    def tokens(self) -> int:
        """<cls> and the patches."""
        return 1 + self.grid[0] * self.grid[1]

    @property
    def block(self) -> BlockConfig:
        """What each block is made of: pre-norm (equations 2 and 3), and everything sees everything."""
        return BlockConfig(
            self.n_embd,
            self.n_head,
            4 * self.n_embd if self.n_inner is None else self.n_inner,
            norm_position="pre",
            norm_eps=self.norm_eps,
            mlp=self.mlp,
            causal=False,
            dropout=self.dropout,
        )

    def build(self) -> ViT:
        """A new model of this shape."""
        return ViT(self)


class ViTEncoder(nn.Module):
    """Patches, <cls> and learnt places, and the blocks over them (section 3.1)."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        # A convolution that does not overlap is one linear map of each patch: E in equation 1.
        self.patches = nn.Conv2d(config.channels, config.n_embd, config.patch, stride=config.patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, config.n_embd))
        self.pos_emb = nn.Parameter(torch.empty(1, config.tokens, config.n_embd))
        self.blocks = nn.ModuleList(Block(config.block, layer) for layer in range(config.n_layer))
        self.norm = nn.LayerNorm(config.n_embd, eps=config.norm_eps)
        for name, numbers in (("mean", config.mean), ("std", config.std)):
            tensor = torch.tensor(numbers, dtype=torch.float32)[:, None, None]
            self.register_buffer(name, tensor, persistent=False)
        self.init_weights()

    def init_weights(self) -> None:
        """N(0, 0.02) for maps and places, cut off at two deviations; <cls> and biases are 0."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif name != "cls" and parameter.dim() > 1:
                nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04)

    def forward(
        self, pictures: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch token embedding"]:
        """The states of <cls> and of the patches, row by row, of pictures in [0, 1] (equations 1 to 4)."""
        config = self.config
        require_shape(pictures, (config.channels, config.height, config.width))
        x = ((pictures - self.mean) / self.std).to(self.cls.dtype)
        patches = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(patches), -1, -1), patches], 1) + self.pos_emb
        x = F.dropout(x, config.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def attention(
        self, picture: Float[Tensor, "channels height width"]
    ) -> Float[Tensor, "layer head token token"]:
        """How much <cls> and each patch take from each, in every head of every layer."""
        with recorded(self.blocks) as tables, torch.no_grad():
            self(picture[None])
        return torch.cat(tables)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> ViTEncoder:
        """The encoder of any ViT's folder or Hub repository; heads are left out.

        Raises InputError where the folder is damaged or holds what our ViT does not compute.
        """
        from bottega.interop.locate import locate
        from bottega.interop.vit import read_config, read_state

        folder = locate(path)
        config = ViTConfig(**read_config(folder))
        with undrawn():
            expected = cls(config).state_dict()
        state = read_state(folder, expected)
        encoder = cls(config)  # allocated when the file is known to hold so much
        encoder.load_state_dict(state)
        return encoder.eval()


class ViT(nn.Module):
    """The encoder with a linear layer over <cls>; called on pictures it gives logits of the classes."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        require_classes(config.classes)
        self.config = config
        self.encoder = ViTEncoder(config)
        self.head = nn.Linear(config.n_embd, len(config.classes))
        nn.init.zeros_(self.head.weight)  # sure of nothing at first, as in section 3.2
        nn.init.zeros_(self.head.bias)

    @property
    def classes(self) -> Sequence[str]:
        """What it tells apart."""
        return self.config.classes

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what it sees."""
        return self.config.channels, self.config.height, self.config.width

    def forward(
        self, pictures: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Logits of the classes, of pictures in [0, 1]."""
        return self.head(self.encoder(pictures)[:, 0])

    def loss(self, batch: Mapping[str, Tensor]) -> Loss:
        """Nats of the `labels` (batch) of `pictures` (batch × channels × height × width, in [0, 1])."""
        return classification_loss(self(batch["pictures"]), batch["labels"])

    def predict_proba(self, pictures: Float[Tensor, "n channels height width"]) -> np.ndarray:
        """The probability of each class for each picture in [0, 1]: (n, classes); rows sum to 1."""
        return in_batches(lambda part: self(part).float().softmax(-1), pictures).numpy(force=True)

    def embed(self, pictures: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n embedding"]:
        """The state of <cls>: what it knows of each picture."""
        return in_batches(lambda part: self.encoder(part)[:, 0], pictures)

    def attention(
        self, picture: Float[Tensor, "channels height width"]
    ) -> dict[str, Float[Tensor, "layer head token token"]]:
        """How much <cls> and each patch take from each, in every head of every layer."""
        return {"self": self.encoder.attention(picture)}

    def rollout(self, picture: Float[Tensor, "channels height width"]) -> Float[Tensor, "rows columns"]:
        """What <cls> has in the end from each patch, through all layers (Abnar & Zuidema 2020); sums to 1."""
        from_patches = rollout(self.encoder.attention(picture))[0, 1:]
        return (from_patches / from_patches.sum()).view(self.config.grid)

    def features(self) -> Float[Tensor, "filters channels patch patch"]:
        """The filters that the patches are seen through (figure 7, left)."""
        return self.encoder.patches.weight.detach().float()

    def matrix_parameters(self) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        """The hidden matrices, each with the rows of the maps that it stacks."""
        yield from hidden_matrices(self.encoder.blocks)

    def compile_units(self) -> Iterator[nn.Module]:
        """The modules worth compiling one by one: the blocks are alike."""
        yield from self.encoder.blocks

    def flops_per_token(self) -> float:
        """Training FLOPs of a row of the batch, a picture.

        6 × tokens × (matrices + 2 · layers · tokens · width), of which the second is attention itself.
        """
        config = self.config
        matrices = sum(parameter.numel() for parameter, _ in self.matrix_parameters())
        seen = 2 * config.n_layer * config.tokens * config.n_embd
        return 6.0 * config.tokens * (matrices + self.encoder.patches.weight.numel() + seen)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the folder of a `ViTForImageClassification`, with what prepares its pictures."""
        from bottega.interop.vit import write

        write(folder, asdict(self.config), self.state_dict())

    @classmethod
    def from_pretrained(cls, path: str | Path) -> ViT:
        """Load a folder or Hub repository of a classifier; InputError where a tensor is missing."""
        from bottega.interop.locate import locate
        from bottega.interop.vit import read_config, read_state

        folder = locate(path)
        config = ViTConfig(**read_config(folder))
        with undrawn():
            expected = cls(config).state_dict()
        state = read_state(folder, expected)
        model = cls(config)
        model.load_state_dict(state)
        return model.eval()  # whoever trains it says so
