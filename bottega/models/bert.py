"""BERT: the Transformer's encoder, trained on hidden words and on what follows what (Devlin et al. 2018).

Section numbers are those of "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding". `BERTEncoder` gives each token a state that has seen both sides; `BERT` pre-trains it;
`BERTClassifier` tells classes from the state of [CLS].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.nn.attention_maps import recorded
from bottega.nn.loss import IGNORE, Loss
from bottega.nn.transformer import Block, BlockConfig, hidden_matrices
from bottega.nn.undrawn import undrawn
from bottega.text.wordpiece import WordPiece

MODEL_TYPE = "bert"  # the folders are those of `transformers`
MASKED = 0.15  # of the tokens are to be guessed (section 3.1)


@dataclass(frozen=True)
class BERTConfig:
    """The shape of a BERT; the defaults are BERT-base's. Raises InputError for values that make no sense."""

    FEWEST_LAYERS: ClassVar[int] = 1

    vocab_size: int = 30522
    context_length: int = 512
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    n_inner: int | None = None  # default: 4 n_embd
    n_segment: int = 2
    norm_eps: int | float = 1e-12
    mlp: Literal["gelu", "gelu_tanh", "relu"] = "gelu"
    dropout: int | float = 0.1
    pad: int = 0  # the id of [PAD], which nothing attends to

    def __post_init__(self) -> None:
        least = {"n_layer": self.FEWEST_LAYERS}
        for name in ("vocab_size", "context_length", "n_layer", "n_head", "n_embd", "n_segment"):
            if getattr(self, name) < least.get(name, 1):
                raise InputError(f"{name} must be at least {least.get(name, 1)}, not {getattr(self, name)}")
        if self.n_embd % self.n_head:
            raise InputError(f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must be at least 0 and below 1, not {self.dropout}")
        if not 0 <= self.pad < self.vocab_size:
            raise InputError(f"pad {self.pad} is no token of a vocabulary of {self.vocab_size}")

    @property
    def block(self) -> BlockConfig:
        """What each block is made of: that of 2017, with a GELU, and seeing both sides."""
        return BlockConfig(
            self.n_embd,
            self.n_head,
            4 * self.n_embd if self.n_inner is None else self.n_inner,
            norm_position="post",
            norm_eps=self.norm_eps,
            mlp=self.mlp,
            causal=False,
            dropout=self.dropout,
        )


class BERTEncoder(nn.Module):
    """Embeddings of tokens, places and segments, and the blocks over them (section 3)."""

    def __init__(self, config: BERTConfig) -> None:
        super().__init__()
        self.config = config
        width = config.n_embd
        self.tok_emb = nn.Embedding(config.vocab_size, width)
        self.pos_emb = nn.Embedding(config.context_length, width)
        self.seg_emb = nn.Embedding(config.n_segment, width)
        self.norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.blocks = nn.ModuleList(Block(config.block, layer) for layer in range(config.n_layer))
        self.pooler = nn.Linear(width, width)

    def forward(
        self,
        ids: Int[Tensor, "batch time"],
        segments: Int[Tensor, "batch time"] | None = None,
        mask: Bool[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time width"]:
        """The state of each token. `segments`: 0 or 1 a token; `mask`: True where one is to be seen.

        Without them all is one segment, and all but the padding is seen. Raises InputError where the tokens
        exceed the context.
        """
        time = ids.shape[1]
        if time > self.config.context_length:
            raise InputError(f"{time} tokens exceed the context of {self.config.context_length}; give fewer")
        segments = torch.zeros_like(ids) if segments is None else segments
        mask = ids != self.config.pad if mask is None else mask
        x = self.tok_emb(ids) + self.pos_emb(torch.arange(time, device=ids.device)) + self.seg_emb(segments)
        x = F.dropout(self.norm(x), self.config.dropout, self.training)
        for block in self.blocks:
            x = block(x, mask=mask[:, None, None])
        return x

    def pooled(self, states: Float[Tensor, "batch time width"]) -> Float[Tensor, "batch width"]:
        """What stands for the whole text: tanh of a linear map of the state of [CLS]."""
        return torch.tanh(self.pooler(states[:, 0]))


class _WithEncoder(nn.Module):
    """What BERT and its classifier share: the encoder, and the view into it."""

    config: BERTConfig
    encoder: BERTEncoder

    def attention(
        self, ids: Int[Tensor, " time"], segments: Int[Tensor, " time"] | None = None
    ) -> dict[str, Float[Tensor, "layer head time time"]]:
        """How much each token takes from each, in every head of every layer."""
        with recorded(self.encoder.blocks) as tables, torch.no_grad():
            self.encoder(ids[None], None if segments is None else segments[None])
        return {"self": torch.cat(tables)}

    def matrix_parameters(self) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        """The hidden matrices, each with the rows of the maps that it stacks."""
        yield from hidden_matrices(self.encoder.blocks)

    def compile_units(self) -> Iterator[nn.Module]:
        """The modules worth compiling one by one: the blocks are alike."""
        yield from self.encoder.blocks

    def init_weights(self) -> None:
        """N(0, 0.02) for matrices, cut off at two deviations as in the published code; biases are 0."""
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def n_parameters(self) -> int:
        """All parameters; the output layer's matrix is the embedding."""
        return sum(parameter.numel() for parameter in self.parameters())


class MaskedHead(nn.Module):
    """From states to logits of tokens: a layer of its own, then the embedding's matrix (section 3.1)."""

    def __init__(self, config: BERTConfig) -> None:
        super().__init__()
        self.mlp = config.mlp
        self.dense = nn.Linear(config.n_embd, config.n_embd)
        self.norm = nn.LayerNorm(config.n_embd, eps=config.norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(
        self, states: Float[Tensor, "*n width"], embedding: Float[Tensor, "vocabulary width"]
    ) -> Float[Tensor, "*n vocabulary"]:
        """Logits of the token that stood in each place."""
        x = self.dense(states)
        x = (
            F.relu(x)
            if self.mlp == "relu"
            else F.gelu(x, approximate="tanh" if "tanh" in self.mlp else "none")
        )
        return F.linear(self.norm(x), embedding, self.bias)


class BERT(_WithEncoder):
    """The encoder with the two heads that pre-train it; called on token ids it gives logits of tokens."""

    def __init__(self, config: BERTConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = BERTEncoder(config)
        self.mlm = MaskedHead(config)
        self.next = nn.Linear(config.n_embd, 2)
        self.init_weights()

    def forward(
        self, ids: Int[Tensor, "batch time"], segments: Int[Tensor, "batch time"] | None = None
    ) -> Float[Tensor, "batch time vocabulary"]:
        """Logits of what stands in each place."""
        return self.mlm(self.encoder(ids, segments), self.encoder.tok_emb.weight)

    def follows(
        self, ids: Int[Tensor, "batch time"], segments: Int[Tensor, "batch time"]
    ) -> Float[Tensor, "batch 2"]:
        """Logits of the two answers to "does segment 1 follow segment 0 in its text?": yes, no."""
        return self.next(self.encoder.pooled(self.encoder(ids, segments)))

    def loss(self, batch: Mapping[str, Tensor]) -> Loss:
        """Nats of the hidden tokens and of the question whether the second segment follows.

        `batch`: ids, segments, targets (batch × time; IGNORE but where a token is hidden), next (batch; 0
        where it follows). The paper adds the two means; so that sums stay sums, the question weighs as much
        as the hidden tokens of a full row. `accuracy` is the share of hidden tokens that were guessed.
        """
        targets = batch["targets"]
        states = self.encoder(batch["ids"], batch["segments"])
        hidden = targets != IGNORE
        logits = self.mlm(states[hidden], self.encoder.tok_emb.weight)
        words = F.cross_entropy(logits.float(), targets[hidden], reduction="sum")
        answers = self.next(self.encoder.pooled(states)).float()
        order = F.cross_entropy(answers, batch["next"], reduction="sum") * (MASKED * targets.shape[1])
        right = (logits.argmax(-1) == targets[hidden]).sum()
        metrics = {"masked": words.detach(), "next": order.detach(), "accuracy": right}
        return Loss(words + order, hidden.sum(), metrics)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the folder of a `BertForPreTraining`."""
        _write(self, folder, "BertForPreTraining")

    @classmethod
    def from_pretrained(cls, path: str | Path) -> BERT:
        """Load a folder or Hub repository that has both heads; InputError where a tensor is missing."""
        return _read(cls, path)


class BERTClassifier(_WithEncoder):
    """The encoder with a linear layer over [CLS] (section 4.1); `classes` name what it tells apart."""

    def __init__(self, config: BERTConfig, classes: Sequence[str]) -> None:
        super().__init__()
        if len(classes) < 2:
            raise InputError(f"a classifier needs at least 2 classes, not {len(classes)}")
        self.config = config
        self.classes: Sequence[str] = list(classes)
        self.encoder = BERTEncoder(config)
        self.classifier = nn.Linear(config.n_embd, len(classes))
        self.tokenizer: WordPiece | None = None  # for `predict_proba`; `from_pretrained` reads it
        self.init_weights()

    def forward(
        self, ids: Int[Tensor, "batch time"], segments: Int[Tensor, "batch time"] | None = None
    ) -> Float[Tensor, "batch classes"]:
        """Logits of the classes."""
        pooled = self.encoder.pooled(self.encoder(ids, segments))
        return self.classifier(F.dropout(pooled, self.config.dropout, self.training))

    def loss(self, batch: Mapping[str, Tensor]) -> Loss:
        """Nats of the `labels` (batch) of `ids` (batch × time, padded); `accuracy` is the share got right."""
        logits, labels = self(batch["ids"], batch.get("segments")).float(), batch["labels"]
        total = F.cross_entropy(logits, labels, reduction="sum")
        count = torch.tensor(len(labels), device=labels.device)
        return Loss(total, count, {"accuracy": (logits.argmax(-1) == labels).sum()})

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """The probability of each class for each text, (texts, classes); a text is cut to the context.

        Raises InputError where the model came without a tokenizer.
        """
        if self.tokenizer is None:
            raise InputError("the classifier has no tokenizer; load it from a folder that holds one")
        longest, device = self.config.context_length, self.classifier.weight.device
        rows = [shortened(ids, longest) for ids in self.tokenizer.encode_batch(list(texts))]
        found = np.zeros((len(rows), len(self.classes)), np.float32)
        with torch.inference_mode():
            for numbers, ids in batches_of(rows, self.config.pad):
                found[numbers] = self(ids.to(device)).softmax(-1).float().cpu().numpy()
        return found

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the folder of a `BertForSequenceClassification`, with its tokenizer where it has one."""
        names = dict(enumerate(self.classes))
        labels = {"id2label": names, "label2id": {name: id for id, name in names.items()}}
        _write(self, folder, "BertForSequenceClassification", labels)
        if self.tokenizer is not None:
            self.tokenizer.save(folder)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> BERTClassifier:
        """Load a folder or Hub repository of a classifier; InputError where a tensor is missing."""
        from bottega.interop.bert import read_config
        from bottega.interop.locate import locate

        folder = locate(path)
        names = read_config(folder)[0].get("id2label")
        if not isinstance(names, dict) or sorted(names) != sorted(map(str, range(len(names)))):
            raise InputError(f"{folder}: config.json names no classes; expected id2label as classifiers have")
        model = _read(cls, folder, [str(names[str(id)]) for id in range(len(names))])
        if any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
            model.tokenizer = WordPiece.load(folder)
        return model


def shortened(ids: Sequence[int], longest: int) -> list[int]:
    """A framed text, cut to `longest` tokens, of which the last stays its [SEP]."""
    return list(ids) if len(ids) <= longest else [*ids[: longest - 1], ids[-1]]


def batches_of(
    rows: Sequence[Sequence[int]], pad: int, tokens: int = 8192
) -> Iterator[tuple[list[int], Int[Tensor, "batch time"]]]:
    """Rows of like length together, padded on the right: their numbers and their ids, `tokens` at a time."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    while order:
        longest = max(1, len(rows[order[-1]]))
        taken, order = order[-max(1, tokens // longest) :], order[: -max(1, tokens // longest)]
        ids = torch.full((len(taken), longest), pad)
        for line, i in enumerate(taken):
            ids[line, : len(rows[i])] = torch.tensor(rows[i], dtype=torch.long)
        yield taken, ids


def read_encoder(path: str | Path) -> BERTEncoder:
    """The encoder of any BERT's folder or Hub repository; heads are left out, a missing pooler is drawn.

    Raises InputError where the folder is damaged or holds what our BERT does not compute.
    """
    from bottega.interop.bert import read_config, read_state
    from bottega.interop.locate import locate

    folder = locate(path)
    _, fields = read_config(folder)
    config = BERTConfig(**fields)
    with undrawn():
        expected = BERTEncoder(config).state_dict()
    state = read_state(folder, expected, optional="pooler.")
    encoder = BERTEncoder(config)  # allocated when the file is known to hold so much
    encoder.load_state_dict(state, strict=False)
    return encoder.eval()


def classifier_from(
    path: str | Path, classes: Sequence[str], dropout: int | float | None = None
) -> BERTClassifier:
    """A classifier over a pre-trained encoder, with an untrained last layer, ready for fine-tuning."""
    encoder = read_encoder(path)
    config = encoder.config if dropout is None else replace(encoder.config, dropout=dropout)
    model = BERTClassifier(config, classes)
    model.encoder.load_state_dict(encoder.state_dict())
    return model


def _write(
    model: BERT | BERTClassifier, folder: str | Path, architecture: str, more: Mapping[str, Any] | None = None
) -> None:
    from bottega.interop.bert import config_to_huggingface, state_to_huggingface
    from bottega.interop.folder import write_folder

    hf = config_to_huggingface(asdict(model.config), architecture) | dict(more or {})
    opening = f"It opens in `transformers` (`{architecture}.from_pretrained`) and here (`bottega.load`)."
    size = f"{model.n_parameters():,} parameters"
    readme = f"---\nlibrary_name: transformers\n---\n\n# A BERT\n\n{size}. {opening}\n"
    write_folder(folder, hf, state_to_huggingface(model.state_dict()), readme=readme)


def _read(cls: Any, path: str | Path, *rest: Any) -> Any:
    from bottega.interop.bert import read_config, read_state
    from bottega.interop.locate import locate

    folder = locate(path)
    _, fields = read_config(folder)
    with undrawn():
        model = cls(BERTConfig(**fields), *rest)
    model.load_state_dict(read_state(folder, model.state_dict()), assign=True)
    return model.eval()  # whoever trains it says so
