"""The Transformer of 2017: an encoder that reads a sentence, a decoder that writes another (Vaswani et al.).

Section numbers are those of "Attention Is All You Need". What came after is a choice: pre-norm (Xiong et al.
2020), and learnt, binary and rotary positions (Su et al. 2021) beside the sinusoids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.models.folders import read_model, write_model
from bottega.nn.attention_maps import recorded
from bottega.nn.beam_cache import BeamCache
from bottega.nn.cache import KVCache
from bottega.nn.dropout import dropout
from bottega.nn.loss import IGNORE, Loss, cross_entropy_of_head
from bottega.nn.positions import binary, rotary_frequencies, rotary_table, sinusoidal
from bottega.nn.transformer import (
    MLP,
    Block,
    BlockConfig,
    CrossAttention,
    KeysValues,
    Rotary,
    SelfAttention,
    hidden_matrices,
    make_norm,
)

MODEL_TYPE = "bottega-transformer"
NormPosition = Literal["pre", "post"]
Positions = Literal["sinusoidal", "learnt", "binary", "rotary"]
_SIZES = ("vocab_size", "context_length", "n_encoder_layer", "n_decoder_layer", "n_head", "n_embd", "n_inner")


@dataclass(frozen=True)
class TransformerConfig:
    """The shape of a translator; the defaults are the paper's base model (table 3).

    `vocab_size` counts the tokens that both languages share; `context_length` is how many tokens either side
    may have, <eos> among them; `pad`, `bos` and `eos` are ids. Raises InputError for senseless values.
    """

    vocab_size: int = 37_000
    context_length: int = 256
    n_encoder_layer: int = 6
    n_decoder_layer: int = 6
    n_head: int = 8
    n_embd: int = 512
    n_inner: int = 2048
    norm_position: NormPosition = "post"
    positions: Positions = "sinusoidal"
    shared: bool = True
    """One matrix embeds source and target and is the output's (section 3.4); otherwise there are three."""
    dropout: float = 0.1
    """Of embeddings and of what each sub-layer adds (section 5.4)."""
    attention_dropout: float = 0.0
    """Of the attention weights: the paper names none."""
    label_smoothing: float = 0.1
    pad: int = 0
    bos: int = 1
    eos: int = 2
    source_language: str = ""
    target_language: str = ""

    def __post_init__(self) -> None:
        for name in _SIZES:
            if getattr(self, name) < 1:
                raise InputError(f"a Transformer needs {name} of at least 1, not {getattr(self, name)}")
        if self.n_embd % self.n_head or self.n_embd % 2:
            raise InputError(f"n_embd {self.n_embd} must be even, and a multiple of n_head {self.n_head}")
        if self.positions == "rotary" and self.n_embd // self.n_head % 2:
            raise InputError(
                f"rotary positions turn pairs of channels: {self.n_embd // self.n_head} of a head is odd"
            )
        for name in ("dropout", "attention_dropout", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 0 and below 1, not {getattr(self, name)}")
        choices = {"norm_position": get_args(NormPosition), "positions": get_args(Positions)}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(allowed)}")
        ids = (self.pad, self.bos, self.eos)
        if len(set(ids)) < 3 or not all(0 <= id < self.vocab_size for id in ids):
            raise InputError(f"pad, bos and eos must be three ids below {self.vocab_size}, not {ids}")

    @property
    def block(self) -> BlockConfig:
        """What the blocks of the encoder are made of."""
        return BlockConfig(
            self.n_embd,
            self.n_head,
            self.n_inner,
            norm_position=self.norm_position,
            mlp="relu",
            causal=False,
            dropout=self.dropout,
        )

    def build(self) -> Transformer:
        """A model of this shape, freshly drawn."""
        return Transformer(self)


class DecoderBlock(nn.Module):
    """Attention to what has been written, attention to what was read, feed-forward (section 3.1)."""

    def __init__(self, config: BlockConfig, layer: int, attention_dropout: float) -> None:
        super().__init__()
        self.post_norm, self.dropout = config.norm_position == "post", config.dropout
        inside = replace(config, causal=True, dropout=attention_dropout)
        self.norm1, self.attn = make_norm(config, config.n_embd), SelfAttention(inside, layer)
        self.norm2, self.cross = make_norm(config, config.n_embd), CrossAttention(inside)
        self.norm3, self.mlp = make_norm(config, config.n_embd), MLP(config)

    def forward(
        self,
        x: Float[Tensor, "batch time width"],
        keys_values: KeysValues,
        source_mask: Bool[Tensor, "batch 1 1 key"] | None = None,
        rotary: Rotary | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "batch time width"]:
        """Three residual branches; `keys_values` is what `cross` made of the encoder's states."""
        if self.post_norm:
            x = self.norm1(x + self._drop(self.attn(x, rotary, cache)))
            x = self.norm2(x + self._drop(self.cross(x, keys_values, source_mask)))
            return self.norm3(x + self._drop(self.mlp(x)))
        x = x + self._drop(self.attn(self.norm1(x), rotary, cache))
        x = x + self._drop(self.cross(self.norm2(x), keys_values, source_mask))
        return x + self._drop(self.mlp(self.norm3(x)))

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)


class Transformer(nn.Module):
    """An encoder and a decoder; `loss` trains it, `begin` and `next` let it write token by token."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        shape = config.block
        self.embedding = nn.Embedding(config.vocab_size, config.n_embd)
        if not config.shared:
            self.target_embedding = nn.Embedding(config.vocab_size, config.n_embd)
            self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if config.positions == "learnt":
            self.source_positions = nn.Embedding(config.context_length, config.n_embd)
            self.target_positions = nn.Embedding(config.context_length, config.n_embd)
        self.encoder = nn.ModuleList(Block(shape, layer) for layer in range(config.n_encoder_layer))
        for block in self.encoder:
            assert isinstance(block, Block)
            block.attn.dropout = config.attention_dropout
        self.decoder = nn.ModuleList(
            DecoderBlock(shape, layer, config.attention_dropout) for layer in range(config.n_decoder_layer)
        )
        pre = config.norm_position == "pre"  # its residual stream is normalised nowhere else
        self.encoder_norm = make_norm(shape, config.n_embd) if pre else nn.Identity()
        self.decoder_norm = make_norm(shape, config.n_embd) if pre else nn.Identity()
        self.init_weights()

    def init_weights(self) -> None:
        """Draw the weights.

        | weights            | drawn from                                  |
        |--------------------|---------------------------------------------|
        | embeddings, output | N(0, 1/√width), to be multiplied by √width   |
        | matrices           | uniform, by Glorot & Bengio (2010, eq. 16)  |
        | learnt positions   | N(0, 0.02)                                  |
        | biases; norms      | 0; 1 (torch's own)                          |
        """
        for name, parameter in self.named_parameters():
            if name.endswith("positions.weight"):
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("embedding.weight") or name == "head.weight":
                nn.init.normal_(parameter, std=self.config.n_embd**-0.5)
            elif parameter.dim() == 2:
                nn.init.xavier_uniform_(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    @property
    def head_weight(self) -> Float[Tensor, "vocabulary width"]:
        """The output matrix: the embedding's, or its own."""
        return self.embedding.weight if self.config.shared else self.head.weight

    def encode(
        self, source: Int[Tensor, "batch s"], source_mask: Bool[Tensor, "batch s"]
    ) -> Float[Tensor, "batch s width"]:
        """The encoder's states, which the decoder attends to; InputError beyond the context."""
        self._check(source.shape[1], "source")
        positions = torch.arange(source.shape[1], device=source.device)
        x, rotary = self._embed(source, positions, self.embedding, "source")
        mask = source_mask[:, None, None]
        for block in self.encoder:
            x = block(x, rotary, None, mask)
        out: Tensor = self.encoder_norm(x)
        return out

    def decode(
        self,
        target: Int[Tensor, "batch t"],
        memory: Float[Tensor, "batch s width"],
        source_mask: Bool[Tensor, "batch s"],
    ) -> Float[Tensor, "batch t width"]:
        """The decoder's states, each of what stands up to there: what the output matrix reads."""
        self._check(target.shape[1], "target")
        positions = torch.arange(target.shape[1], device=target.device)
        x, rotary = self._embed(target, positions, self._target_embedding, "target")
        mask = source_mask[:, None, None]
        for block in self.decoder:
            assert isinstance(block, DecoderBlock)
            x = block(x, block.cross.keys_values(memory), mask, rotary)
        out: Tensor = self.decoder_norm(x)
        return out

    def forward(
        self,
        source: Int[Tensor, "batch s"],
        source_mask: Bool[Tensor, "batch s"],
        target: Int[Tensor, "batch t"],
    ) -> Float[Tensor, "batch t vocabulary"]:
        """Logits of the target token after each position."""
        return F.linear(self.decode(target, self.encode(source, source_mask), source_mask), self.head_weight)

    def loss(self, batch: Mapping[str, Tensor]) -> Loss:
        """Cross-entropy in nats of `targets`, smoothed in training (section 5.4), plain in evaluation."""
        mask = batch["source_mask"]
        hidden = self.decode(batch["target"], self.encode(batch["source"], mask), mask)
        scored = batch["targets"] != IGNORE  # padding never meets the output matrix, the largest product here
        smoothing = self.config.label_smoothing if self.training else 0.0
        return cross_entropy_of_head(hidden[scored], self.head_weight, batch["targets"][scored], smoothing)

    def attention(
        self, source_ids: Int[Tensor, " s"], target_ids: Int[Tensor, " t"]
    ) -> dict[str, Float[Tensor, "layer head query key"]]:
        """Who looks at whom: "encoder" (s × s), "decoder" (t × t), and "cross" (t × s), by layer and head."""
        mask = torch.ones_like(source_ids, dtype=torch.bool)[None]
        with torch.no_grad(), recorded(self) as tables:
            self.decode(target_ids[None], self.encode(source_ids[None], mask), mask)
        n = self.config.n_encoder_layer
        return {
            "encoder": torch.cat(tables[:n]),
            "decoder": torch.cat(tables[n::2]),
            "cross": torch.cat(tables[n + 1 :: 2]),
        }

    def begin(self, source: Int[Tensor, "batch s"], source_mask: Bool[Tensor, "batch s"]) -> TransformerState:
        """Read the sources; the state of as many rows that have written nothing yet."""
        memory = self.encode(source, source_mask)
        keys_values = [block.cross.keys_values(memory) for block in self.decoder]  # type: ignore[union-attr, operator]
        # Every step multiplies by them: laid out once as a product takes them.
        cross = [(k.contiguous(), v.contiguous()) for k, v in keys_values]
        n_head, dim = self.config.n_head, self.config.n_embd // self.config.n_head
        cache = BeamCache(len(self.decoder), len(source), n_head, dim, memory.dtype, memory.device)
        return TransformerState(cache, cross, source_mask[:, None, None])

    def next(self, ids: Int[Tensor, " rows"], state: TransformerState) -> Float[Tensor, "rows vocabulary"]:
        """Logits of the token after `ids`, one a row; <bos> is the first. The state moves on by one.

        A sentence's rows stand side by side where its tokens would: cross-attention needs no other order, and
        the cache knows which of them descends from which.
        """
        cache = state.cache
        self._check(cache.length + 1, "target")
        beside = ids.view(len(state.source_mask), -1)
        positions = cache.positions(beside.shape[1])[:1]  # the same for every sentence
        x, rotary = self._embed(beside, positions, self._target_embedding, "target")
        for block, keys_values in zip(self.decoder, state.cross, strict=True):
            x = block.forward(x, keys_values, state.source_mask, rotary, cache)
        cache.advance(1)
        return F.linear(self.decoder_norm(x.flatten(0, 1)), self.head_weight)

    def matrix_parameters(self) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        """The hidden matrices, each with the rows of the maps that it stacks (as q, k, v)."""
        yield from hidden_matrices(self.encoder)
        yield from hidden_matrices(self.decoder)

    def n_parameters(self) -> int:
        """All parameters, a shared matrix counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def flops_per_token(self) -> float:
        """Training FLOPs a token, for as many source tokens as target tokens: 3 × (matrices and output).

        Six a weight, but each token passes one of the two halves; attention itself is small beside them.
        """
        matrices = sum(parameter.numel() for parameter, _ in self.matrix_parameters())
        return 3.0 * (matrices + self.config.vocab_size * self.config.n_embd)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors."""
        write_model(folder, MODEL_TYPE, self.config, self.state_dict())

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Transformer:
        """Load a folder, for use; InputError where it is damaged or holds another kind of model."""
        return read_model(path, MODEL_TYPE, TransformerConfig, cls)

    @property
    def _target_embedding(self) -> nn.Embedding:
        return self.embedding if self.config.shared else self.target_embedding

    def _embed(
        self, ids: Tensor, positions: Tensor, embedding: nn.Embedding, side: str
    ) -> tuple[Tensor, Rotary | None]:
        """Embeddings times √width plus positions (sections 3.4, 3.5); what rotary positions turn by."""
        config = self.config
        x, rotary = embedding(ids) * config.n_embd**0.5, None
        match config.positions:
            case "rotary":
                frequencies = rotary_frequencies(config.n_embd // config.n_head, 10000.0).to(ids.device)
                cosine, sine = rotary_table(positions, frequencies)
                rotary = (cosine.to(x.dtype), sine.to(x.dtype))
            case "learnt":
                x = x + (self.source_positions if side == "source" else self.target_positions)(positions)
            case "binary":
                x = x + binary(positions, config.n_embd).to(x.dtype)
            case _:
                x = x + sinusoidal(positions, config.n_embd).to(x.dtype)
        return dropout(x, config.dropout, self.training), rotary

    def _check(self, length: int, side: str) -> None:
        if length > self.config.context_length:
            raise InputError(
                f"{length} tokens of {side} exceed the context of {self.config.context_length}; give fewer"
            )


class TransformerState:
    """What the decoder has written, and the keys and values that it attends to, kept once a sentence."""

    def __init__(
        self, cache: BeamCache, cross: list[KeysValues], source_mask: Bool[Tensor, "sentence 1 1 key"]
    ) -> None:
        self.cache, self.cross, self.source_mask = cache, cross, source_mask

    def select(self, rows: Int[Tensor, " n"]) -> None:
        """Make row `i` what row `rows[i]` was; rows of a sentence stay neighbours, and are equally many."""
        sentences = self.cache.select(rows)
        if len(sentences) < len(self.source_mask):
            self.cross = [(k[sentences], v[sentences]) for k, v in self.cross]
            self.source_mask = self.source_mask[sentences]
