"""DETR: objects found as a set, by a Transformer that is asked for all of them at once (Carion et al. 2020).

Section numbers are those of "End-to-End Object Detection with Transformers". A small convolutional network
turns the picture into a grid of features; the encoder lets each place see all others; the decoder asks the
grid `n_query` learnt questions; each answer is a class, "no object" among them, and a box. `matching` says
which answer stands for which object, and what a wrong one costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.models.boxes import Detections
from bottega.models.folders import read_model, write_model
from bottega.models.matching import SetWeights, set_loss
from bottega.nn.attention_maps import recorded
from bottega.nn.dropout import dropout
from bottega.nn.loss import Loss
from bottega.nn.picture_networks import check_pictures
from bottega.nn.positions import sinusoidal
from bottega.nn.transformer import (
    MLP,
    Block,
    BlockConfig,
    CrossAttention,
    SelfAttention,
    hidden_matrices,
    make_norm,
)

MODEL_TYPE = "bottega-detr"
PICTURES = 256  # that `detect` looks at together


@dataclass(frozen=True)
class DETRConfig:
    """The shape of a DETR and what its errors weigh. Raises InputError for values that make no sense.

    `stride` is how many pixels of the picture make one place of the grid, a power of two.
    """

    channels: int = 3
    height: int = 32
    width: int = 32
    n_class: int = 6
    n_query: int = 8
    stride: int = 4
    n_encoder_layer: int = 2
    n_decoder_layer: int = 3
    n_head: int = 4
    n_embd: int = 128
    n_inner: int = 256
    dropout: int | float = 0.0
    l1_weight: int | float = 5.0
    giou_weight: int | float = 2.0
    no_object_weight: int | float = 0.1

    def __post_init__(self) -> None:
        sizes = ("channels", "height", "width", "n_class", "n_query", "n_encoder_layer", "n_decoder_layer")
        for name in (*sizes, "n_head", "n_embd", "n_inner"):
            if getattr(self, name) < 1:
                raise InputError(f"a DETR needs {name} of at least 1, not {getattr(self, name)}")
        if self.n_embd % self.n_head or self.n_embd % 4:
            raise InputError(
                f"n_embd {self.n_embd} must be a multiple of n_head {self.n_head}, and of 4: "
                "a sine and a cosine for each of two axes"
            )
        if self.stride < 2 or self.stride & (self.stride - 1):
            raise InputError(f"stride must be 2, 4, 8 or another power of two, not {self.stride}")
        if self.height % self.stride or self.width % self.stride:
            raise InputError(
                f"pictures of {self.height} × {self.width} pixels do not divide into places of "
                f"{self.stride}; give another stride"
            )
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must be at least 0 and below 1, not {self.dropout}")
        for name in ("l1_weight", "giou_weight", "no_object_weight"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} must be 0 or more, not {getattr(self, name)}")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of features."""
        return self.height // self.stride, self.width // self.stride

    @property
    def block(self) -> BlockConfig:
        """What every layer is made of; the norms stand before, where the paper's stand after."""
        return BlockConfig(
            self.n_embd, self.n_head, self.n_inner, mlp="relu", causal=False, dropout=self.dropout
        )

    @property
    def weights(self) -> SetWeights:
        """What errors weigh."""
        return SetWeights(self.l1_weight, self.giou_weight, self.no_object_weight)


class Backbone(nn.Module):
    """The picture as a grid of features: convolutions that halve it until a place is `stride` pixels."""

    def __init__(self, config: DETRConfig) -> None:
        super().__init__()
        halvings = config.stride.bit_length() - 1
        widths = [max(16, config.n_embd >> left) for left in range(halvings, 0, -1)] + [config.n_embd]
        self.stem = nn.Conv2d(config.channels, widths[0], 3, padding=1)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.GroupNorm(1, narrow), nn.ReLU(), nn.Conv2d(narrow, wide, 3, 2, 1))
            for narrow, wide in pairwise(widths)
        )

    def forward(
        self, pictures: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch n_embd rows columns"]:
        """Features of each place."""
        # Channels last, as the Transformer has them too: a fifth of a step's time less on a CPU.
        x = self.stem(pictures.to(self.stem.weight.dtype, memory_format=torch.channels_last))
        for stage in self.stages:
            x = stage(x)
        return x


class DecoderBlock(nn.Module):
    """The queries look at each other, then at the picture (section 3.2).

    `questions`, the learnt embeddings that tell the queries apart, are added wherever a query asks.
    """

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.norm1, self.attn = make_norm(config, config.n_embd), SelfAttention(config)
        self.norm2, self.cross = make_norm(config, config.n_embd), CrossAttention(config)
        self.norm3, self.mlp = make_norm(config, config.n_embd), MLP(config)

    def forward(
        self,
        x: Float[Tensor, "batch query width"],
        questions: Float[Tensor, "query width"],
        memory: Float[Tensor, "batch place width"],
    ) -> Float[Tensor, "batch query width"]:
        """Three residual branches."""
        x = x + self._drop(self.attn(self.norm1(x) + questions))
        x = x + self._drop(self.cross(self.norm2(x) + questions, self.cross.keys_values(memory)))
        return x + self._drop(self.mlp(self.norm3(x)))

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)


class DETR(nn.Module):
    """Backbone, encoder, decoder and two heads; `detect` finds the objects of pictures."""

    def __init__(self, config: DETRConfig) -> None:
        super().__init__()
        self.config = config
        width, shape = config.n_embd, config.block
        self.backbone = Backbone(config)
        self.encoder = nn.ModuleList(Block(shape) for _ in range(config.n_encoder_layer))
        self.encoder_norm = make_norm(shape, width)
        self.questions = nn.Parameter(torch.empty(config.n_query, width))
        self.decoder = nn.ModuleList(DecoderBlock(shape) for _ in range(config.n_decoder_layer))
        self.decoder_norm = make_norm(shape, width)
        self.class_head = nn.Linear(width, config.n_class + 1)
        self.box_head = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4)
        )
        self.init_weights()

    def init_weights(self) -> None:
        """Draw the weights.

        | weights                    | drawn from                                 |
        |----------------------------|--------------------------------------------|
        | questions                  | N(0, 1)                                    |
        | the Transformer's matrices | uniform, by Glorot & Bengio (2010, eq. 16) |
        | the Transformer's biases   | 0                                          |
        | convolutions, heads, norms | torch's own                                |
        """
        nn.init.normal_(self.questions)
        for parameter in (*self.encoder.parameters(), *self.decoder.parameters()):
            if parameter.dim() == 2:
                nn.init.xavier_uniform_(parameter)
        for module in (*self.encoder.modules(), *self.decoder.modules()):
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the pictures."""
        return self.config.channels, self.config.height, self.config.width

    def forward(
        self, pictures: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "layer batch query class"], Float[Tensor, "layer batch query 4"]]:
        """What each decoder layer says of each query: logits, of which the last is "no object", and a box.

        The last layer's is the answer; the others' train those layers (section 3.2, auxiliary losses).
        Positions are added once, to the features; the paper adds them in every attention, and not to values.
        """
        features = self.backbone(pictures).flatten(2).transpose(1, 2)
        memory = features + grid_positions(*self.config.grid, self.config.n_embd).to(features)
        for block in self.encoder:
            memory = block(memory)
        memory = self.encoder_norm(memory)
        x = self.questions.new_zeros(len(pictures), *self.questions.shape)
        said = []
        for block in self.decoder:
            x = block(x, self.questions, memory)
            said.append(self.decoder_norm(x))
        states = torch.stack(said)
        return self.class_head(states).float(), self.box_head(states).float().sigmoid()

    def loss(self, batch: Mapping[str, Tensor]) -> Loss:
        """The set loss (eq. 2) of every decoder layer, summed; the count is that of the pictures.

        `batch`: pictures (batch, channels, height, width) in [0, 1], boxes (batch, object, 4) and classes
        (batch, object), negative where there is no object. The metrics are the last layer's terms.
        """
        logits, boxes = self(batch["pictures"])
        layers, n = logits.shape[:2]
        classes, truth = batch["classes"].repeat(layers, 1), batch["boxes"].repeat(layers, 1, 1)
        terms = set_loss(logits.flatten(0, 1), boxes.flatten(0, 1), classes, truth, self.config.weights)
        total = terms["class"] + self.config.l1_weight * terms["l1"] + self.config.giou_weight * terms["giou"]
        metrics = {name: of_picture[-n:].detach().sum() for name, of_picture in terms.items()}
        return Loss(total.sum(), torch.tensor(n, device=total.device), metrics)

    @torch.no_grad()
    def detect(
        self, pictures: Float[Tensor, "n channels height width"], threshold: float | int = 0.5
    ) -> list[Detections]:
        """What stands in each picture: every query whose likeliest class has a probability of `threshold`.

        With a threshold of 0 all queries answer, as curves of precision want it. Raises InputError for
        pictures of another shape or with values that are no numbers in [0, 1], and for a threshold that is no
        probability.
        """
        if not 0 <= threshold <= 1:
            raise InputError(f"threshold must be a probability, from 0 to 1, not {threshold}")
        check_pictures(pictures, self.picture_shape, "DETR")
        found = []
        for start in range(0, len(pictures), PICTURES):
            some = pictures[start : start + PICTURES].to(self.questions.device)
            logits, boxes = (said[-1].cpu() for said in self(some))
            scores, classes = logits.softmax(-1)[..., :-1].max(-1)
            for score, kind, box in zip(scores, classes, boxes, strict=True):
                order = score.argsort(descending=True)
                order = order[score[order] >= threshold]
                found.append(Detections(box[order], kind[order], score[order], order))
        return found

    @torch.no_grad()
    def attention(
        self, pictures: Float[Tensor, "n channels height width"]
    ) -> Float[Tensor, "n query rows columns"]:
        """Where in the picture each query looks in the last decoder layer, over its heads; sums to 1."""
        check_pictures(pictures, self.picture_shape, "DETR")
        with recorded(self.decoder[-1]) as tables:
            self(pictures.to(self.questions.device))
        return tables[-1].mean(1).view(len(pictures), -1, *self.config.grid)

    def matrix_parameters(self) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        """The hidden matrices, each with the rows of the maps that it stacks (as q, k, v)."""
        yield from hidden_matrices(self.encoder)
        yield from hidden_matrices(self.decoder)

    def compile_units(self) -> Iterator[nn.Module]:
        """The modules worth compiling one by one: the layers of a stack are alike."""
        yield from self.encoder
        yield from self.decoder

    def n_parameters(self) -> int:
        """All parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors."""
        write_model(folder, MODEL_TYPE, self.config, self.state_dict())

    @classmethod
    def from_pretrained(cls, path: str | Path) -> DETR:
        """Load a folder, for use; InputError where it is damaged or holds another kind of model."""
        return read_model(path, MODEL_TYPE, DETRConfig, cls)


def grid_positions(rows: int, columns: int, width: int) -> Float[Tensor, "place width"]:
    """Sinusoids of the row in the first half of the channels, of the column in the second (section A.4)."""
    row, column = (sinusoidal(torch.arange(n), width // 2) for n in (rows, columns))
    both = (row[:, None].expand(-1, columns, -1), column[None].expand(rows, -1, -1))
    return torch.cat(both, -1).flatten(0, 1)
