"""The translator: it learns, it decodes as it was trained, it refuses what makes no sense."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bottega.errors import InputError
from bottega.models.load import load
from bottega.models.transformer import Transformer, TransformerConfig
from bottega.nn.loss import IGNORE
from bottega.recipes.translation import PRESETS

PAD, BOS, EOS = 0, 1, 2
TINY = TransformerConfig(
    vocab_size=20,
    context_length=16,
    n_encoder_layer=2,
    n_decoder_layer=2,
    n_head=2,
    n_embd=16,
    n_inner=32,
    dropout=0.0,
    label_smoothing=0.0,
)
POSITIONS = ["sinusoidal", "learnt", "binary", "rotary"]


def reversal(rows: int = 64, seed: int = 0) -> dict[str, Tensor]:
    """Sequences of 2 to 6 tokens, and the same backwards."""
    generator = torch.Generator().manual_seed(seed)
    sources = [
        torch.randint(3, 20, (int(n),), generator=generator).tolist()
        for n in torch.randint(2, 7, (rows,), generator=generator)
    ]
    width = 1 + max(map(len, sources))

    def padded(lines: list[list[int]], padding: int) -> Tensor:
        return torch.tensor([line + [padding] * (width - len(line)) for line in lines])

    source = padded([[*line, EOS] for line in sources], PAD)
    return {
        "source": source,
        "source_mask": source != PAD,
        "target": padded([[BOS, *line[::-1]] for line in sources], PAD),
        "targets": padded([[*line[::-1], EOS] for line in sources], IGNORE),
    }


def drawn(config: TransformerConfig = TINY) -> Transformer:
    torch.manual_seed(0)
    return Transformer(config)


def test_it_learns_to_reverse() -> None:
    model, batch = drawn(replace(TINY, n_embd=32, norm_position="pre")), reversal()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(250):
        optimizer.zero_grad()
        model.loss(batch).mean.backward()
        optimizer.step()
    assert float(model.eval().loss(batch).mean.detach()) < 0.05


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("norm_position", ["pre", "post"])
def test_step_by_step_as_all_at_once(positions: str, norm_position: str) -> None:
    model = drawn(replace(TINY, positions=positions, norm_position=norm_position)).eval()
    batch = reversal(5)
    with torch.no_grad():
        whole = model(batch["source"], batch["source_mask"], batch["target"])
        state = model.begin(batch["source"], batch["source_mask"])
        for t in range(batch["target"].shape[1]):
            logits = model.next(batch["target"][:, t], state)
            torch.testing.assert_close(logits, whole[:, t], atol=1e-5, rtol=1e-5)


def test_select_moves_repeats_and_leaves_out_rows() -> None:
    model, batch = drawn().eval(), reversal(3)
    prefix = torch.tensor([[BOS, 5, 7], [BOS, 6, 8], [BOS, 9, 4], [BOS, 4, 4]])
    of = torch.tensor([0, 0, 2, 2])  # whose rows they are: sentence 1 is done and leaves
    with torch.no_grad():
        state = model.begin(batch["source"], batch["source_mask"])
        model.next(prefix[[0, 0, 2], 0], state)
        state.select(torch.tensor([0, 0, 1, 1, 2, 2]))
        model.next(torch.tensor([6, 5, 3, 3, 4, 9]), state)
        state.select(torch.tensor([1, 0, 5, 4]))
        logits = model.next(prefix[:, 2], state)
        whole = model(batch["source"][of], batch["source_mask"][of], prefix)
    torch.testing.assert_close(logits, whole[:, -1], atol=1e-5, rtol=1e-5)


def test_padding_changes_nothing() -> None:
    model, batch = drawn().eval(), reversal(8)
    wider = dict(batch)
    wider["source"] = torch.nn.functional.pad(batch["source"], (0, 4), value=PAD)
    wider["source_mask"] = wider["source"] != PAD
    wider["target"] = torch.nn.functional.pad(batch["target"], (0, 4), value=PAD)
    wider["targets"] = torch.nn.functional.pad(batch["targets"], (0, 4), value=IGNORE)
    with torch.no_grad():
        torch.testing.assert_close(model.loss(wider).total, model.loss(batch).total)
        assert model.loss(wider).count == model.loss(batch).count


def test_labels_are_smoothed_in_training_only() -> None:
    model, batch = drawn(replace(TINY, label_smoothing=0.3)), reversal(8)
    with torch.no_grad():
        logits = model(batch["source"], batch["source_mask"], batch["target"]).flatten(0, 1)
        for smoothing in (0.3, 0.0):
            wanted = torch.nn.functional.cross_entropy(
                logits, batch["targets"].flatten(), label_smoothing=smoothing
            )
            torch.testing.assert_close(model.loss(batch).mean, wanted)
            model.eval()


def test_attention_says_who_looks_at_whom() -> None:
    model = drawn(replace(TINY, n_encoder_layer=1)).eval()
    maps = model.attention(torch.tensor([5, 6, 7, EOS]), torch.tensor([BOS, 7, 6]))
    assert {name: tuple(table.shape) for name, table in maps.items()} == {
        "encoder": (1, 2, 4, 4),
        "decoder": (2, 2, 3, 3),
        "cross": (2, 2, 3, 4),
    }
    for table in maps.values():
        torch.testing.assert_close(table.sum(-1), torch.ones(table.shape[:-1]))
    assert (maps["decoder"].triu(1) == 0).all()


def test_without_sharing_there_are_three_matrices() -> None:
    shared, apart = drawn(), drawn(replace(TINY, shared=False))
    assert apart.n_parameters() - shared.n_parameters() == 2 * 20 * 16
    apart.loss(reversal(4)).total.backward()
    assert apart.embedding.weight.grad is not None and apart.head.weight.grad is not None


@pytest.mark.parametrize(("name", "millions"), [("transformer-base", 65), ("transformer-big", 213)])
def test_parameters_as_published(name: str, millions: float) -> None:
    with torch.device("meta"):
        count = PRESETS[name].shape.build().n_parameters()
    assert count == pytest.approx(millions * 1e6, rel=0.04)  # the paper's vocabulary is "about 37000"


def test_every_matrix_is_named_for_muon() -> None:
    model = drawn()
    named = {id(matrix) for matrix, _ in model.matrix_parameters()}
    hidden = {id(p) for n, p in model.named_parameters() if p.dim() == 2 and "embedding" not in n}
    assert named == hidden
    assert all(sum(rows) == len(matrix) for matrix, rows in model.matrix_parameters())


def test_saved_and_loaded(tmp_path: Path) -> None:
    model, batch = drawn().eval(), reversal(4)
    model.save_pretrained(tmp_path / "m")
    again = load(tmp_path / "m")
    assert isinstance(again, Transformer) and again.config == TINY
    with torch.no_grad():
        assert torch.equal(again.loss(batch).total, model.loss(batch).total)


@pytest.mark.parametrize("damage", ["config", "weights", "shape", "gone"])
def test_damaged_folders(tmp_path: Path, damage: str) -> None:
    drawn().save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    match damage:
        case "config":
            (tmp_path / "config.json").write_text('{"model_type": "bottega-transformer", "n_head": 0}')
        case "weights":
            weights.write_bytes(weights.read_bytes()[:-100])
        case "shape":
            drawn(replace(TINY, n_inner=33)).save_pretrained(tmp_path / "other")
            weights.write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
        case _:
            weights.unlink()
    with pytest.raises(InputError, match=str(tmp_path)):
        load(tmp_path)


@pytest.mark.parametrize(
    "fields",
    [
        {"vocab_size": 2_000_000_000},
        {"n_encoder_layer": 10**12},
        {"n_inner": 1.5},
        {"n_inner": True},
        {"context_length": float("nan")},
        {"shared": "yes"},
        {"positions": []},
        {"dropout": None},
        {"source_language": 5},
        {"model_type": ["bottega-transformer"]},
    ],
)
def test_damaged_configurations(tmp_path: Path, fields: dict[str, object]) -> None:
    drawn().save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | fields))
    with pytest.raises(InputError, match=str(tmp_path)):
        load(tmp_path)


@pytest.mark.parametrize(
    "fields",
    [
        {"n_head": 3},
        {"n_inner": 0},
        {"positions": "rotary", "n_embd": 6},
        {"dropout": 1.0},
        {"label_smoothing": -0.1},
        {"pad": 1},
        {"eos": 20},
    ],
)
def test_senseless_shapes(fields: dict[str, object]) -> None:
    with pytest.raises(InputError, match=str(next(iter(fields)))):
        replace(TINY, **fields)


def test_beyond_the_context() -> None:
    model = drawn().eval()
    long, mask = torch.full((1, 17), 5), torch.ones(1, 17, dtype=torch.bool)
    with pytest.raises(InputError, match="17 tokens of source exceed the context of 16"):
        model.encode(long, mask)
    state = model.begin(long[:, :4], mask[:, :4])
    with torch.no_grad(), pytest.raises(InputError, match="of target"):
        for _ in range(17):
            model.next(torch.tensor([5]), state)
