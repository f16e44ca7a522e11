"""GPT: the decoder-only Transformer, from GPT-1 to the Qwen3 architecture, in one file.

Radford et al. (2018): post-norm. Radford et al. (2019): pre-norm, a final norm, residual branches initialised
1/√(2·layers) smaller. Brown et al. (2020): every second layer sees a local band only. The modern family:
RMSNorm (Zhang & Sennrich 2019), rotary positions (Su et al. 2021), grouped queries (Ainslie et al. 2023),
normalised queries and keys (Henry et al. 2020), SwiGLU (Shazeer 2020).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.nn.attention_maps import recorded
from bottega.nn.cache import ContiguousCache, KVCache
from bottega.nn.loss import Loss, cross_entropy_of_head
from bottega.nn.positions import rotary_frequencies, rotary_table
from bottega.nn.transformer import Block, BlockConfig, make_norm
from bottega.nn.undrawn import undrawn


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT. Sizes are counts; `band` is how many last keys the odd layers see (None: all)."""

    vocab_size: int
    context_length: int
    n_layer: int
    n_head: int
    n_embd: int
    n_kv_head: int | None = None  # default: n_head
    head_dim: int | None = None  # default: n_embd / n_head
    n_inner: int | None = None  # default: 4 n_embd
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    norm_position: Literal["pre", "post"] = "pre"
    norm_eps: float = 1e-5
    positions: Literal["learned", "rotary"] = "learned"
    rope_theta: float = 10000.0
    rope_scaling: dict[str, Any] | None = None
    mlp: Literal["gelu", "gelu_tanh", "swiglu"] = "gelu_tanh"
    qk_norm: bool = False
    attention_bias: bool = True
    mlp_bias: bool = True
    tied: bool = True
    band: int | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        sizes = (
            "vocab_size",
            "context_length",
            "n_layer",
            "n_head",
            "n_embd",
            "kv_heads",
            "head_size",
            "inner",
        )
        for name in sizes if self.band is None else [*sizes, "band"]:
            if getattr(self, name) < 1:
                raise InputError(f"a GPT needs {name} of at least 1, not {getattr(self, name)}")
        if self.head_dim is None and self.n_embd % self.n_head:
            raise InputError(f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}; give head_dim")
        if self.n_head % self.kv_heads:
            raise InputError(f"n_head {self.n_head} is not a multiple of n_kv_head {self.kv_heads}")
        if self.positions == "rotary" and self.head_size % 2:
            raise InputError(
                f"rotary positions turn pairs of channels: head_dim {self.head_size} must be even"
            )

    @property
    def block(self) -> BlockConfig:
        """What each block is made of."""
        return BlockConfig(
            self.n_embd,
            self.n_head,
            self.inner,
            self.n_kv_head,
            self.head_dim,
            self.norm,
            self.norm_position,
            self.norm_eps,
            self.mlp,
            self.qk_norm,
            self.attention_bias,
            self.mlp_bias,
            dropout=self.dropout,
        )

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.n_head if self.n_kv_head is None else self.n_kv_head

    @property
    def head_size(self) -> int:
        """Width of a head."""
        return self.n_embd // self.n_head if self.head_dim is None else self.head_dim

    @property
    def inner(self) -> int:
        """Width of the feed-forward layer."""
        return 4 * self.n_embd if self.n_inner is None else self.n_inner


class GPT(nn.Module):
    """A generative pre-trained Transformer; called on token ids it gives logits."""

    frequencies: Tensor

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.tok_emb = nn.Embedding(config.vocab_size, config.n_embd)
        if config.positions == "learned":
            self.pos_emb = nn.Embedding(config.context_length, config.n_embd)
        else:
            frequencies = rotary_frequencies(config.head_size, config.rope_theta, config.rope_scaling)
            self.register_buffer("frequencies", frequencies, persistent=False)
        shape = config.block
        self.blocks = nn.ModuleList(
            Block(shape, layer, config.band if layer % 2 else None) for layer in range(config.n_layer)
        )
        self.norm = make_norm(shape, config.n_embd) if config.norm_position == "pre" else nn.Identity()
        if not config.tied:
            self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.init_weights()

    def init_weights(self) -> None:
        """Draw the weights as GPT-2 does (Radford et al. 2019, section 2.3).

        | weights                     | drawn from               |
        |-----------------------------|--------------------------|
        | embeddings, head, matrices  | N(0, 0.02)               |
        | attn.out, mlp.down          | N(0, 0.02 / √(2 layers)) |
        | biases; norms               | 0; 1 (torch's own)       |
        """
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                residual = name.endswith(("attn.out.weight", "mlp.down.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * self.config.n_layer) ** 0.5 if residual else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    @property
    def head_weight(self) -> Float[Tensor, "vocabulary width"]:
        """The output matrix: its own, or the embedding's."""
        return self.tok_emb.weight if self.config.tied else self.head.weight

    def hidden(
        self, ids: Int[Tensor, "batch time"], cache: KVCache | None = None
    ) -> Float[Tensor, "batch time width"]:
        """The last layer's states, normalised: what the head reads.

        Raises InputError where the tokens exceed the context.
        """
        time = ids.shape[1]
        positions = cache.positions(time) if cache is not None else torch.arange(time, device=ids.device)
        if cache is None and time > self.config.context_length:
            raise InputError(f"{time} tokens exceed the context of {self.config.context_length}; give fewer")
        x, rotary = self.tok_emb(ids), None
        if self.config.positions == "learned":
            # Padding of a shorter row may lie beyond the last position; it is never read.
            x = x + self.pos_emb(positions.clamp(max=self.config.context_length - 1))
        else:
            cosine, sine = rotary_table(positions, self.frequencies)
            rotary = (cosine.to(x.dtype), sine.to(x.dtype))
        x = F.dropout(x, self.config.dropout, self.training) if self.config.dropout else x
        for block in self.blocks:
            # A compiled block is compiled for training's shapes; with a cache they change at every step.
            x = block(x, rotary) if cache is None else block.forward(x, rotary, cache)
        return self.norm(x)

    def forward(
        self, ids: Int[Tensor, "batch time"], cache: KVCache | None = None
    ) -> Float[Tensor, "batch time vocabulary"]:
        """Logits of the next token after each position; with a cache, `ids` continue what it holds."""
        return F.linear(self.hidden(ids, cache), self.head_weight)

    def loss(self, batch: Mapping[str, Tensor]) -> Loss:
        """Cross-entropy in nats of `targets` (batch × time, IGNORE where nothing is scored) after `ids`."""
        hidden = self.hidden(batch["ids"])
        return cross_entropy_of_head(hidden.flatten(0, 1), self.head_weight, batch["targets"].flatten())

    def attention(self, ids: Int[Tensor, " time"]) -> dict[str, Float[Tensor, "layer head time time"]]:
        """How much each token takes from each before it, in every head of every layer."""
        with recorded(self.blocks) as tables, torch.no_grad():
            self.hidden(ids[None])
        return {"self": torch.cat(tables)}

    def new_cache(self, batch: int, capacity: int | None = None) -> ContiguousCache:
        """An empty cache for `batch` rows, of the whole context unless `capacity` says less."""
        config, weight = self.config, self.tok_emb.weight
        capacity = config.context_length if capacity is None else capacity
        return ContiguousCache(
            config.n_layer, batch, config.kv_heads, config.head_size, capacity, weight.dtype, weight.device
        )

    def matrix_parameters(self) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        """The hidden matrices, each with the rows of the maps that it stacks (as q, k, v; gate, up)."""
        for block in self.blocks:
            assert isinstance(block, Block)
            inner = self.config.inner
            yield block.attn.qkv.weight, block.attn.sizes
            yield block.attn.out.weight, (self.config.n_embd,)
            yield block.mlp.up.weight, (inner, inner) if self.config.mlp == "swiglu" else (inner,)
            yield block.mlp.down.weight, (self.config.n_embd,)

    def compile_units(self) -> Iterator[nn.Module]:
        """The modules worth compiling one by one: the blocks are alike, so one artefact serves them all."""
        yield from self.blocks

    def n_parameters(self) -> int:
        """All parameters, a tied matrix counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def flops_per_token(self, context_length: int | None = None) -> float:
        """Training FLOPs a token: 6 × (matrices and head) + 6 · layers · attention width · context.

        The second term is the causal half of Chowdhery et al. (2022, appendix B); look-ups are free.
        """
        config = self.config
        time = config.context_length if context_length is None else context_length
        matrices = sum(parameter.numel() for parameter, _ in self.matrix_parameters())
        head = config.vocab_size * config.n_embd
        return 6.0 * (matrices + head) + 6.0 * config.n_layer * config.n_head * config.head_size * time

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors in the Hugging Face layout, in the dtype that they have."""
        from bottega.interop.folder import write_folder
        from bottega.interop.huggingface import checkpoint_config, state_to_huggingface

        hf = checkpoint_config(asdict(self.config))
        write_folder(Path(folder), hf, state_to_huggingface(hf, self.state_dict()))

    @classmethod
    def from_pretrained(cls, path: str | Path) -> GPT:
        """Load a folder or a Hub repository, for use; InputError where a tensor is missing or misshapen."""
        from bottega.interop.folder import read_folder
        from bottega.interop.huggingface import config_from_huggingface, state_from_huggingface

        hf, tensors = read_folder(path)
        config = GPTConfig(**config_from_huggingface(hf))
        with undrawn():
            model = cls(config)
        state = state_from_huggingface(hf, tensors)
        model.load_state_dict(state, assign=True)
        if config.positions == "rotary":  # not in the file: it follows from the configuration
            model.frequencies = rotary_frequencies(config.head_size, config.rope_theta, config.rope_scaling)
        return model.eval()  # whoever trains it says so
