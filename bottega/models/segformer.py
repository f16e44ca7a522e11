"""SegFormer: what each pixel shows, by a Transformer in stages and linear layers (Xie et al. 2021).

Section numbers are those of "SegFormer: Simple and Efficient Design for Semantic Segmentation with
Transformers". The encoder sees the picture in stages, each coarser and wider than the one before; no position
is ever told: the zeros around a convolution's picture tell it. The decoder brings all stages to one width and
one resolution and classifies each place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.nn.batch_norm import BatchNorm
from bottega.nn.dropout import dropout
from bottega.nn.loss import IGNORE, Loss
from bottega.nn.transformer import BlockConfig, CrossAttention
from bottega.nn.undrawn import undrawn

MODEL_TYPE = "segformer"  # the folders are those of `transformers`
PER_STAGE = ("widths", "depths", "heads", "patches", "strides", "reductions", "mlp_ratios")
PICTURES = 64  # that `segment` looks at together


@dataclass(frozen=True)
class SegFormerConfig:
    """The shape of a SegFormer; the defaults are B0's. Raises InputError for values that make no sense.

    Tuples have a value a stage: how many channels a place has, how many blocks follow one another, their
    heads, the side of a patch and the step to the next, by how much keys and values are thinned along each
    side, and how much wider the feed-forward layer is. `height` and `width` are those of the pictures that it
    learns from; it takes others.
    """

    channels: int = 3
    height: int = 512
    width: int = 512
    n_class: int = 150
    widths: tuple[int, ...] = (32, 64, 160, 256)
    depths: tuple[int, ...] = (2, 2, 2, 2)
    heads: tuple[int, ...] = (1, 2, 5, 8)
    patches: tuple[int, ...] = (7, 3, 3, 3)
    strides: tuple[int, ...] = (4, 2, 2, 2)
    reductions: tuple[int, ...] = (8, 4, 2, 1)
    mlp_ratios: tuple[int, ...] = (4, 4, 4, 4)
    decoder_width: int = 256
    dropout: int | float = 0.1

    def __post_init__(self) -> None:
        for name in ("channels", "height", "width", "decoder_width"):
            if getattr(self, name) < 1:
                raise InputError(f"a SegFormer needs {name} of at least 1, not {getattr(self, name)}")
        if self.n_class < 2:
            raise InputError(f"a SegFormer tells at least 2 classes apart, not {self.n_class}")
        for name in PER_STAGE:
            values = getattr(self, name)
            if len(values) != len(self.widths) or not values or min(values) < 1:
                raise InputError(
                    f"{name} {values}: expected a number of at least 1 for each of {len(self.widths)} stages"
                )
        for width, heads in zip(self.widths, self.heads, strict=True):
            if width % heads:
                raise InputError(f"a width of {width} is not a multiple of its {heads} heads")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must be at least 0 and below 1, not {self.dropout}")
        self.check_size(self.height, self.width)

    def check_size(self, height: int, width: int) -> None:
        """Raise InputError for pictures so small that a stage's grid cannot be thinned as it should be."""
        rows, columns = height, width
        for patch, stride, reduction in zip(self.patches, self.strides, self.reductions, strict=True):
            rows, columns = ((side + 2 * (patch // 2) - patch) // stride + 1 for side in (rows, columns))
            if min(rows, columns) < reduction:
                raise InputError(
                    f"pictures of {height} × {width} pixels become a grid of {rows} × {columns}, too small "
                    f"to be thinned by {reduction} along each side; give larger ones or smaller reductions"
                )


Grid = Float[Tensor, "batch rows columns width"]  # of places, the channels of each side by side
Coarser = Float[Tensor, "batch fewer_rows fewer_columns another_width"]


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution over (batch, rows, columns, channels): torch names the channels first."""
    return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class PatchEmbedding(nn.Module):
    """Overlapped patch merging (section 3.1): neighbouring patches share their edges."""

    def __init__(self, channels: int, width: int, patch: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, stride, patch // 2)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Grid) -> Coarser:
        """A coarser grid."""
        return self.norm(convolve(self.proj, x))


class Reduction(nn.Module):
    """Sequence reduction (section 3.1, eq. 2): R × R places become one, so attention costs R² times less."""

    def __init__(self, width: int, by: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, by, by)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Grid) -> Coarser:
        """The thinned grid."""
        return self.norm(convolve(self.conv, x))


class MixFFN(nn.Module):
    """The feed-forward layer with a 3 × 3 convolution in it (eq. 3): from it places learn where they are."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, inner)
        self.conv = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.down = nn.Linear(inner, width)

    def forward(self, x: Grid) -> Grid:
        """Widen, mix with the neighbours, bend, narrow."""
        return self.down(F.gelu(convolve(self.conv, self.up(x))))


class Block(nn.Module):
    """Efficient self-attention and the Mix-FFN, each on a residual branch."""

    def __init__(self, width: int, heads: int, reduction: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.reduce = Reduction(width, reduction) if reduction > 1 else None
        self.attn = CrossAttention(BlockConfig(width, heads, mlp_ratio * width))
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MixFFN(width, mlp_ratio * width)

    def forward(self, x: Grid) -> Grid:
        """Every place attends to the thinned grid."""
        normed = self.norm1(x)
        memory = normed if self.reduce is None else self.reduce(normed)
        seen = self.attn(normed.flatten(1, 2), self.attn.keys_values(memory.flatten(1, 2)))
        x = x + seen.view(x.shape)
        return x + self.mlp(self.norm2(x))


class Stage(nn.Module):
    """One level of the hierarchy: patches, blocks, a norm."""

    def __init__(self, config: SegFormerConfig, stage: int) -> None:
        super().__init__()
        width = config.widths[stage]
        below = config.channels if stage == 0 else config.widths[stage - 1]
        self.embed = PatchEmbedding(below, width, config.patches[stage], config.strides[stage])
        self.blocks = nn.ModuleList(
            Block(width, config.heads[stage], config.reductions[stage], config.mlp_ratios[stage])
            for _ in range(config.depths[stage])
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Grid) -> Coarser:
        """The picture, or the stage below, as a coarser grid of wider places."""
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Decoder(nn.Module):
    """The all-MLP decoder (section 3.2, eq. 4)."""

    def __init__(self, config: SegFormerConfig) -> None:
        super().__init__()
        width, stages = config.decoder_width, len(config.widths)
        self.dropout = config.dropout
        self.proj = nn.ModuleList(nn.Linear(below, width) for below in config.widths)
        self.fuse = nn.Conv2d(stages * width, width, 1, bias=False)
        self.norm = BatchNorm(width)
        self.classifier = nn.Conv2d(width, config.n_class, 1)

    def forward(self, stages: Sequence[Tensor]) -> Float[Tensor, "batch classes rows columns"]:
        """Logits of the classes, at the resolution of the first stage.

        The paper upsamples, lays the stages side by side, and fuses them by one matrix. Here each stage goes
        through its part of that matrix before it is upsampled: both maps are linear, so their order makes no
        difference but to the work, which is done at the coarse resolution.
        """
        size = stages[0].shape[1:3]
        parts = self.fuse.weight.chunk(len(stages), 1)[::-1]  # the matrix has the coarsest stage first
        fused = [
            F.interpolate(F.conv2d(proj(x).permute(0, 3, 1, 2), part), size, mode="bilinear")
            for x, proj, part in zip(stages, self.proj, parts, strict=True)
        ]
        x = F.relu(self.norm(sum(fused[1:], fused[0])))
        return self.classifier(dropout(x, float(self.dropout), self.training))


class SegFormer(nn.Module):
    """Encoder and decoder; called on pictures it gives logits. `classes` name what it tells apart."""

    def __init__(self, config: SegFormerConfig, classes: Sequence[str] | None = None) -> None:
        super().__init__()
        names = [f"class {number}" for number in range(config.n_class)]
        self.config = config
        self.classes: Sequence[str] = list(names if classes is None else classes)
        if len(self.classes) != config.n_class:
            raise InputError(f"{len(self.classes)} names for {config.n_class} classes; give as many")
        self.stages = nn.ModuleList(Stage(config, stage) for stage in range(len(config.widths)))
        self.decoder = Decoder(config)
        self.init_weights()

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the pictures that it learnt from."""
        return self.config.channels, self.config.height, self.config.width

    def forward(
        self, pictures: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Logits of each place of the first stage; pictures are taken as they are."""
        x = pictures.to(self.decoder.fuse.weight.dtype).permute(0, 2, 3, 1)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return self.decoder(maps)

    def logits_of_pixels(
        self, pictures: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes height width"]:
        """Logits of each pixel, in fp32: those of the places, interpolated."""
        size = pictures.shape[-2:]
        return F.interpolate(self(pictures).float(), size, mode="bilinear")

    def loss(self, batch: Mapping[str, Tensor]) -> Loss:
        """Nats of each pixel of `pictures`, whose class is in `masks` (batch × height × width), or IGNORE.

        `accuracy` is the share of pixels got right.
        """
        logits, masks = self.logits_of_pixels(batch["pictures"]), batch["masks"]
        total = F.cross_entropy(logits, masks, reduction="sum", ignore_index=IGNORE)
        accuracy = (logits.argmax(1) == masks).sum()
        return Loss(total, (masks != IGNORE).sum(), {"accuracy": accuracy})

    def segment(self, pictures: Tensor) -> Int[Tensor, "n height width"]:
        """The class of each pixel of (n, channels, height, width) floats.

        Raises InputError where the pictures are of another number of channels, or not finite.
        """
        channels = self.config.channels
        if pictures.dim() != 4 or pictures.shape[1] != channels or 0 in pictures.shape[2:]:
            shape = "×".join(map(str, pictures.shape))
            raise InputError(f"the pictures are {shape}; expected n × {channels} × height × width")
        if not pictures.is_floating_point() or not pictures.isfinite().all():
            raise InputError("the pictures hold what is no finite float; expected numbers from 0 to 1")
        self.config.check_size(*pictures.shape[2:])
        device = self.decoder.fuse.weight.device
        found = torch.empty((len(pictures), *pictures.shape[2:]), dtype=torch.long, device=pictures.device)
        with torch.inference_mode():
            for first in range(0, len(pictures), PICTURES):
                some = pictures[first : first + PICTURES].to(device)
                found[first : first + PICTURES] = self.logits_of_pixels(some).argmax(1)
        return found

    def matrix_parameters(self) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        """The blocks' matrices, each with the rows of the maps that it stacks."""
        for module in self.modules():
            if isinstance(module, Block):
                width = len(module.attn.q.weight)
                yield module.attn.kv.weight, (width, width)
                for linear in (module.attn.q, module.attn.out, module.mlp.up, module.mlp.down):
                    yield linear.weight, (len(linear.weight),)

    def init_weights(self) -> None:
        """As in the published code: N(0, 0.02) for matrices, N(0, √(2 / fan-out)) for kernels, biases 0."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
            elif isinstance(module, nn.Conv2d):
                fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
                nn.init.trunc_normal_(module.weight, std=(2 / fan_out) ** 0.5)
            if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def n_parameters(self) -> int:
        """All parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the folder of a `SegformerForSemanticSegmentation`."""
        from bottega.interop.folder import write_folder
        from bottega.interop.segformer import config_to_huggingface, state_to_huggingface

        hf = config_to_huggingface(asdict(self.config), self.classes)
        opening = "It opens in `transformers` (`SegformerForSemanticSegmentation`) and here (`bottega.load`)."
        readme = (
            f"---\nlibrary_name: transformers\n---\n\n# A SegFormer\n\n{self.n_parameters():,} parameters. "
            f"{opening} Pixels go in as numbers from 0 to 1.\n"
        )
        write_folder(folder, hf, state_to_huggingface(self.state_dict()), readme=readme)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> SegFormer:
        """Load a folder or Hub repository; InputError where it is damaged or no such model.

        Other people's are given pictures normalised as their preprocessor_config.json says.
        """
        from bottega.interop.locate import locate
        from bottega.interop.segformer import read_config, read_state

        folder = locate(path)
        fields, classes = read_config(folder)
        with undrawn():
            model = cls(SegFormerConfig(**fields), classes)
        model.load_state_dict(read_state(folder, model.state_dict()), assign=True)
        return model.eval()
