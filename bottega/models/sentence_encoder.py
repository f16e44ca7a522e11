"""A sentence encoder: texts as vectors that point the same way where they tell of the same thing.

Pooled states of unit length, as in Sentence-BERT (Reimers & Gurevych 2019), trained with in-batch negatives
(InfoNCE: van den Oord et al. 2018; for retrieval, Karpukhin et al. 2020). Without layers it is a table of
token vectors and their mean (Iyyer et al. 2015; weighted as in Arora et al. 2017): minutes on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.interop.sentence import TABLE, Layout, Pooling, read_layout, write_layout
from bottega.models.bert import BERTConfig, BERTEncoder, batches_of, read_encoder, shortened
from bottega.models.folders import read_config, write_model
from bottega.nn.loss import Loss
from bottega.nn.undrawn import undrawn
from bottega.text.wordpiece import WordPiece

# Chosen by trial: among the best of all paragraphs 0.8 finds more than 1, before any training.
IDF_POWER = 0.8


@dataclass(frozen=True)
class SentenceEncoderConfig(BERTConfig):
    """A BERT's shape, or with no layers a table of vectors; how states are pooled; the loss's temperature.

    In a `log-mean`, which a table alone has, a token that stands n times counts 1 + ln n times. Texts are cut
    at `max_tokens`, by default at the context.
    """

    FEWEST_LAYERS: ClassVar[int] = 0

    vocab_size: int = 30_000
    n_layer: int = 0
    n_head: int = 8
    n_embd: int = 1024
    dropout: int | float = 0.0
    pooling: Pooling = "mean"
    normalized: bool = True
    max_tokens: int | None = None
    temperature: int | float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        poolings = ("mean", "cls", "max") if self.n_layer else ("mean", "log-mean")
        if self.pooling not in poolings:
            raise InputError(
                f"pooling is {' or '.join(poolings)} in an encoder of {self.n_layer} layers, "
                f"not {self.pooling!r}"
            )
        if not self.temperature > 0:
            raise InputError(f"temperature must be above 0, not {self.temperature}")
        if self.max_tokens is not None and not 1 <= self.max_tokens <= self.context_length:
            raise InputError(f"max_tokens must be from 1 to {self.context_length}, not {self.max_tokens}")

    @property
    def longest(self) -> int:
        """The most tokens that a text may have."""
        return self.context_length if self.max_tokens is None else self.max_tokens


class SentenceEncoder(nn.Module):
    """Maps padded token ids to one vector a row; with its tokenizer, texts."""

    def __init__(self, config: SentenceEncoderConfig, tokenizer: WordPiece | None = None) -> None:
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        if tokenizer is not None and not self.framed:
            self.tokenizer = tokenizer.without_frame()
        if config.n_layer:
            self.encoder = BERTEncoder(config)
        else:
            self.table = nn.Embedding(config.vocab_size, config.n_embd)
            nn.init.normal_(self.table.weight, std=config.n_embd**-0.5)

    def forward(self, ids: Int[Tensor, "batch time"]) -> Float[Tensor, "batch width"]:
        """The vector of each row, of which padding is no part; a row of nothing else gives zeros."""
        real = ids != self.config.pad
        if not self.config.n_layer:
            pooled = self._mean(ids)
        elif self.config.pooling == "cls":
            pooled = self.encoder(ids)[:, 0]
        else:
            states, real = self.encoder(ids), real[..., None]
            if self.config.pooling == "max":
                pooled = states.masked_fill(~real, float("-inf")).amax(1)
            else:
                pooled = (states * real).sum(1) / real.sum(1).clamp(min=1)
        return F.normalize(pooled, dim=-1) if self.config.normalized else pooled

    def _mean(self, ids: Int[Tensor, "batch time"]) -> Float[Tensor, "batch width"]:
        """The mean of a table's vectors, weighted as the pooling says."""
        table, pad = self.table.weight, self.config.pad
        if self.config.pooling == "mean":
            return F.embedding_bag(ids, table, mode="mean", padding_idx=pad)
        weights = _log_counts(ids).masked_fill(ids == pad, 0)
        total = F.embedding_bag(
            ids, table, mode="sum", per_sample_weights=weights.to(table.dtype), padding_idx=pad
        )
        return total / weights.sum(1, keepdim=True).clamp(min=1)

    def loss(self, batch: Mapping[str, Tensor]) -> Loss:
        """Nats of finding each `query`'s own `document` among all of the batch, and the other way round.

        Both are (batch × time) ids, padded on the right; every other row's text is a negative, so a
        micro-batch has fewer. `accuracy` is the share of queries that find theirs.
        """
        queries, documents = self(batch["query"]), self(batch["document"])
        scores = (queries @ documents.T).float() / self.config.temperature
        own = torch.arange(len(scores), device=scores.device)
        there = F.cross_entropy(scores, own, reduction="sum")
        back = F.cross_entropy(scores.T, own, reduction="sum")
        count = torch.tensor(len(scores), device=scores.device)
        return Loss((there + back) / 2, count, {"accuracy": (scores.argmax(1) == own).sum()})

    def begin_as_tfidf(self, documents: Int[Tensor, " vocabulary"], total: int) -> None:
        """Begin a table where TF-IDF stands, given in how many of `total` documents each token occurs.

        Each token's vector points anywhere and is as long as its inverse document frequency to the power
        IDF_POWER: up to chance the cosine of two means is then that of two such TF-IDF vectors (Johnson &
        Lindenstrauss 1984), of plain term frequencies for `mean`, of logarithmic ones for `log-mean`.
        """
        if self.config.n_layer:
            raise InputError("only an encoder without layers can begin as TF-IDF")
        weights = torch.log((1 + total) / (1 + documents.float())) ** IDF_POWER
        self.table.weight.data.mul_(weights[:, None].to(self.table.weight.device))

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text as the model reads them, cut to the longest that it takes.

        Raises InputError where the model came without a tokenizer.
        """
        if self.tokenizer is None:
            raise InputError("the encoder has no tokenizer; load it from a folder that holds one")
        rows = self.tokenizer.encode_batch(list(texts))
        longest = self.config.longest
        return [shortened(row, longest) if self.framed else row[:longest] for row in rows]

    @property
    def framed(self) -> bool:
        """Whether texts stand between [CLS] and [SEP]: a BERT reads them so, a table does not."""
        return self.config.n_layer > 0

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """The vector of each text, (texts, width) float32; a text is cut to `config.longest` tokens."""
        return self.encode_ids(self.tokenize(texts))

    def encode_ids(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        """The vector of each row of token ids, (rows, width) float32."""
        found = np.zeros((len(rows), self.config.n_embd), np.float32)
        device = next(self.parameters()).device
        with torch.inference_mode():
            for numbers, ids in batches_of(rows, self.config.pad):
                found[numbers] = self(ids.to(device)).float().cpu().numpy()
        return found

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a folder, with the tokenizer where there is one; `sentence-transformers` opens it too.

        Unless it pools by `log-mean`, which no module there computes.
        """
        from bottega.interop.bert import config_to_huggingface, state_to_huggingface
        from bottega.interop.folder import write_folder

        folder, config = Path(folder), self.config
        if config.n_layer:
            hf = config_to_huggingface(asdict(config), "BertModel") | {"temperature": config.temperature}
            readme = "# A sentence encoder\n\nIt opens in `sentence-transformers` and in `transformers`.\n"
            write_folder(
                folder, hf, state_to_huggingface(self.encoder.state_dict(), bare=True), readme=readme
            )
        else:
            write_model(folder, TABLE, config, {"embedding.weight": self.table.weight})
        layout = Layout(not config.n_layer, config.pooling, config.normalized, config.longest)
        write_layout(folder, layout, config.n_embd)
        if self.tokenizer is not None:
            self.tokenizer.save(folder)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> SentenceEncoder:
        """Load a folder of ours, of `sentence-transformers`, or any BERT's (which is pooled by the mean).

        Raises InputError where it is damaged or asks for modules that are not computed here.
        """
        from bottega.interop.locate import locate, read_json
        from bottega.interop.values import number

        folder = locate(path)
        layout = read_layout(folder)
        has_tokenizer = any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt"))
        tokenizer = WordPiece.load(folder) if has_tokenizer else None
        if layout.static:
            return cls._read_table(folder, tokenizer)
        encoder = read_encoder(folder)
        shape = {field.name: getattr(encoder.config, field.name) for field in fields(BERTConfig)}
        cut = None if layout.max_tokens is None else min(layout.max_tokens, shape["context_length"])
        hf = read_json(folder / "config.json")
        temperature = number(hf, "temperature", SentenceEncoderConfig.temperature)
        config = SentenceEncoderConfig(
            **shape,
            pooling=layout.pooling,
            normalized=layout.normalized,
            max_tokens=cut,
            temperature=temperature,
        )
        model = cls(config, tokenizer)
        model.encoder.load_state_dict(encoder.state_dict())
        return model.eval()

    @classmethod
    def _read_table(cls, folder: Path, tokenizer: WordPiece | None) -> SentenceEncoder:
        from bottega.interop.folder import read_stored

        shapes, read = read_stored(folder)
        shape = shapes.get("embedding.weight")
        if shape is None or len(shape) != 2 or len(shapes) != 1:
            raise InputError(
                f"{folder}: expected one tensor, embedding.weight (tokens × width), in the weights"
            )
        if (folder / "config.json").is_file():
            config = read_config(folder, TABLE, SentenceEncoderConfig)
        else:  # as sentence-transformers leaves it
            config = SentenceEncoderConfig(shape[0], 1 << 13, n_embd=shape[1], n_head=1)
        if (config.vocab_size, config.n_embd, config.n_layer) != (*shape, 0):
            raise InputError(f"{folder}: embedding.weight is {shape}, which config.json contradicts")
        with undrawn():
            model = cls(config, tokenizer)
        model.load_state_dict({"table.weight": read()["embedding.weight"].float()}, assign=True)
        return model.eval()


def _log_counts(ids: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
    """What each place counts so that a token that stands n times in its row counts 1 + ln n times in all."""
    row = torch.arange(len(ids), device=ids.device)[:, None]
    keys = ids + row * (ids.max() + 1)
    _, token, times = torch.unique(keys, return_inverse=True, return_counts=True)
    n = times[token]
    return (1 + n.log()) / n
