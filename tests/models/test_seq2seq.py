"""Recurrent translators: what they compute, what they learn, where they look, how they are searched."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.models.beam_search import BeamConfig, beam_search
from bottega.models.load import load
from bottega.models.seq2seq import Encoder, Memory, Seq2Seq, Seq2SeqConfig
from bottega.nn.loss import IGNORE
from bottega.training.config import TrainingConfig
from bottega.training.loop import train

KINDS = ["none", "additive", "dot", "general"]
PAD, BOS, EOS = 0, 1, 2


def made(attention: str = "additive", cell: str = "gru", **fields: object) -> Seq2Seq:
    torch.manual_seed(3)
    base = {"n_embd": 12, "n_hidden": 16, "dropout": 0.0, "label_smoothing": 0.0}
    return Seq2Seq(Seq2SeqConfig(20, 32, cell, attention=attention, **base | fields))


def padded(rows: list[list[int]], fill: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])


def batch_of(sources: list[list[int]], targets: list[list[int]]) -> dict[str, Tensor]:
    source = padded([[*row, EOS] for row in sources], PAD)
    return {
        "source": source,
        "source_mask": source != PAD,
        "target": padded([[BOS, *row] for row in targets], PAD),
        "targets": padded([[*row, EOS] for row in targets], IGNORE),
    }


class Reversals:
    """Rows of 1 to 6 tokens and the same from the end: other ones at each step."""

    def __init__(self) -> None:
        self.position = 0

    def next_batch(self) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(self.position)
        self.position += 1
        lengths = torch.randint(1, 7, (32,), generator=generator).tolist()
        rows = [torch.randint(3, 9, (length,), generator=generator).tolist() for length in lengths]
        return batch_of(rows, [row[::-1] for row in rows])

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_encoder_is_torchs_bidirectional_one_on_packed_rows(cell: str) -> None:
    config = Seq2SeqConfig(20, cell=cell, n_layer=2, n_embd=6, n_hidden=10, dropout=0.0)
    torch.manual_seed(1)
    encoder = Encoder(config)
    theirs = {"lstm": nn.LSTM, "gru": nn.GRU}[cell](6, 5, 2, bidirectional=True)
    for layer in range(2):
        for network, suffix in ((encoder.forth[layer], ""), (encoder.back[layer], "_reverse")):
            (one,) = network.cells
            for name, map in (("ih", one.input), ("hh", one.recurrent)):
                getattr(theirs, f"weight_{name}_l{layer}{suffix}").data.copy_(map.weight)
                bias = torch.zeros(len(map.weight)) if map.bias is None else map.bias
                getattr(theirs, f"bias_{name}_l{layer}{suffix}").data.copy_(bias)
    x, lengths = torch.randn(7, 3, 6), torch.tensor([7, 2, 4])
    states, read = encoder(x, torch.arange(7) < lengths[:, None])
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    out, end = theirs(packed)
    expected, _ = nn.utils.rnn.pad_packed_sequence(out)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(states[:length, row], expected[:length, row], atol=1e-6, rtol=0)
    last = end[0] if cell == "lstm" else end
    torch.testing.assert_close(read, torch.cat([last[-2], last[-1]], -1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["additive", "dot", "general"])
def test_a_look_is_the_papers_formula(kind: str) -> None:
    model = made(kind)
    states, q = torch.randn(2, 5, 16), torch.randn(2, 1, 16)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    context, weights = model._look(q, Memory(states, model.attend.key(states), mask))
    for row in range(2):
        scores = []
        for h in states[row, : int(mask[row].sum())]:
            match kind:
                case "dot":
                    scores.append(q[row, 0] @ h)
                case "general":
                    scores.append(q[row, 0] @ model.attend.key.weight @ h)
                case _:
                    inner = model.attend.query.weight @ q[row, 0] + model.attend.key(h)
                    scores.append(model.attend.score.weight[0] @ torch.tanh(inner))
        expected, n = torch.stack(scores).softmax(0), len(scores)
        torch.testing.assert_close(weights[row, 0, :n], expected, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(context[row, 0], expected @ states[row, :n], atol=1e-5, rtol=1e-5)
    assert (weights[1, 0, 3:] == 0).all()


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind: str, cell: str) -> None:
    model = made(kind, cell, n_layer=2).eval()
    sources, targets = [[3, 4, 5, 6, 7], [8, 9]], [[5, 4], [9, 8, 7, 6]]
    together = batch_of(sources, targets)
    logits = model(together["source"], together["source_mask"], together["target"])
    total = 0.0
    for row, pair in enumerate(zip(sources, targets, strict=True)):
        alone = batch_of([pair[0]], [pair[1]])
        expected = model(alone["source"], alone["source_mask"], alone["target"])[0]
        torch.testing.assert_close(logits[row, : len(expected)], expected, atol=1e-5, rtol=1e-5)
        total += model.loss(alone).total.item()
        if kind != "none":
            weights = model.attention(alone["source"][0], alone["target"][0])["cross"]
            assert weights.shape == (1, 1, len(pair[1]) + 1, len(pair[0]) + 1)
            torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert model.loss(together).total.item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("kind", KINDS)
def test_written_token_by_token_it_is_the_same(kind: str, cell: str) -> None:
    model, batch = made(kind, cell, n_layer=2).eval(), batch_of([[3, 4, 5], [6]], [[7, 8, 9], [3, 4, 5]])
    whole = model(batch["source"], batch["source_mask"], batch["target"])
    with torch.no_grad():
        state = model.begin(batch["source"], batch["source_mask"])
        for t in range(4):
            logits = model.next(batch["target"][:, t], state)
            torch.testing.assert_close(logits, whole[:, t], atol=1e-5, rtol=1e-5)
        # Rows that are repeated and reordered within their sentence, or left out, stay what they were.
        state.select(torch.tensor([0, 0, 1, 1]))
        doubled = model.next(torch.tensor([3, 4, 3, 4]), state)
        state.select(torch.tensor([3, 2]))
        again = model.next(torch.tensor([5, 5]), state)
        assert not torch.allclose(doubled[0], doubled[1]) and again.shape == (2, 20)


@pytest.mark.parametrize(("kind", "cell"), [("additive", "gru"), ("general", "lstm"), ("dot", "gru")])
def test_it_learns_to_turn_round_what_it_reads_and_looks_where_it_should(
    kind: str, cell: str, tmp_path: Path
) -> None:
    model = made(kind, cell, n_hidden=64, n_embd=32)
    config = TrainingConfig(steps=400, batch_size=32, precision="fp32", learning_rate=1e-2, weight_decay=0.0)
    train(model, Reversals(), tmp_path, config)
    model = load(tmp_path)
    rows = [[3, 5, 7, 4, 8], [6, 3], [8, 7, 4, 3, 5, 6]]
    batch = batch_of(rows, rows)
    best = beam_search(model, batch["source"], batch["source_mask"], BeamConfig(3), BOS, EOS, PAD)
    assert [found[0].ids for found in best] == [row[::-1] for row in rows]
    looks = model.attention(torch.tensor([*rows[2], EOS]), torch.tensor([BOS, *rows[2][::-1]]))["cross"][0, 0]
    # The states near a token tell of it too, since they have read it.
    where = looks[:6, :].argmax(-1) - torch.arange(5, -1, -1)
    assert where.abs().float().mean() <= 1.5


def test_without_attention_it_learns_too_and_shows_nothing(tmp_path: Path) -> None:
    model = made("none", n_hidden=64, n_embd=32)
    config = TrainingConfig(steps=400, batch_size=32, precision="fp32", learning_rate=1e-2, weight_decay=0.0)
    train(model, Reversals(), tmp_path, config)
    batch = Reversals().next_batch()
    assert model.eval().loss(batch).mean.item() < 0.5
    with pytest.raises(InputError, match="no attention"):
        model.attention(batch["source"][0], batch["target"][0])


def test_senseless_shapes_and_damaged_folders_are_refused(tmp_path: Path) -> None:
    for fields in ({"n_hidden": 5}, {"dropout": 1.0}, {"bos": 0}, {"n_layer": 0}):
        with pytest.raises(InputError):
            Seq2SeqConfig(20, **fields)
    made().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="damaged"):
        Seq2Seq.from_pretrained(tmp_path)
