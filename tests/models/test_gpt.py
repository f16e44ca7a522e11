from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from bottega.errors import InputError
from bottega.models.gpt import GPT, GPTConfig
from bottega.nn.loss import IGNORE

GPT2 = GPTConfig(61, 32, 3, 4, 24)
MODERN = GPTConfig(
    61,
    32,
    3,
    4,
    24,
    n_kv_head=2,
    head_dim=10,
    n_inner=40,
    norm="rmsnorm",
    positions="rotary",
    mlp="swiglu",
    qk_norm=True,
    attention_bias=False,
    mlp_bias=False,
)
SHAPES = {
    "gpt1": replace(GPT2, norm_position="post"),
    "gpt2": GPT2,
    "gpt3": replace(GPT2, band=5),
    "modern": MODERN,
    "untied": replace(MODERN, tied=False, qk_norm=False),
}


@pytest.fixture(params=SHAPES)
def gpt(request: pytest.FixtureRequest) -> GPT:
    torch.manual_seed(0)
    model = GPT(SHAPES[request.param]).eval()
    for parameter in model.parameters():  # no zero bias, no norm of one: whatever is left out shows
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def test_no_position_sees_what_comes_after(gpt: GPT) -> None:
    ids = torch.randint(61, (2, 20))
    changed = ids.clone()
    changed[:, 12:] = (changed[:, 12:] + 1) % 61
    before, after = gpt(ids), gpt(changed)
    torch.testing.assert_close(before[:, :12], after[:, :12])
    assert not torch.allclose(before[:, 12], after[:, 12])


def test_the_cache_gives_the_logits_of_the_whole(gpt: GPT) -> None:
    ids = torch.randint(61, (2, 20))
    cache, pieces = gpt.new_cache(2), []
    for piece in ids.split([7, 1, 12], 1):
        pieces.append(gpt(piece, cache))
        cache.advance(piece.shape[1])
    torch.testing.assert_close(torch.cat(pieces, 1), gpt(ids), rtol=1e-4, atol=1e-4)


def test_loss_is_the_cross_entropy_of_the_logits(gpt: GPT) -> None:
    ids = torch.randint(61, (2, 20))
    targets = torch.randint(61, (2, 20))
    targets[0, :5] = IGNORE
    result = gpt.loss({"ids": ids, "targets": targets})
    expected = F.cross_entropy(gpt(ids).flatten(0, 1), targets.flatten(), reduction="sum")
    torch.testing.assert_close(result.total, expected)
    assert result.count == 35


def test_every_parameter_learns(gpt: GPT) -> None:
    ids = torch.randint(61, (2, 32))
    gpt.loss({"ids": ids, "targets": ids}).total.backward()
    still = [name for name, p in gpt.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def test_saved_and_loaded_is_the_same(gpt: GPT, tmp_path: Path) -> None:
    gpt.save_pretrained(tmp_path / "gpt")
    loaded = GPT.from_pretrained(tmp_path / "gpt").eval()
    config = gpt.config
    sizes = {"n_kv_head": config.kv_heads, "head_dim": config.head_size, "n_inner": config.inner}
    assert loaded.config == replace(config, **sizes)
    ids = torch.randint(61, (2, 20))
    assert torch.equal(loaded(ids), gpt(ids))


def test_the_band_hides_keys_in_odd_layers_only() -> None:
    torch.manual_seed(0)
    model = GPT(replace(GPT2, n_layer=2, band=4)).eval()
    dense = GPT(replace(GPT2, n_layer=2)).eval()
    dense.load_state_dict(model.state_dict())
    ids = torch.randint(61, (1, 20))
    torch.testing.assert_close(model(ids)[:, :4], dense(ids)[:, :4])
    assert not torch.allclose(model(ids)[:, 6:], dense(ids)[:, 6:])
    assert [block.attn.band for block in model.blocks] == [None, 4]


def test_the_residual_branches_start_smaller_by_the_root_of_their_number() -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(500, 64, 8, 4, 128))
    block = model.blocks[3]
    assert block.attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert block.mlp.down.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
    assert not block.mlp.up.bias.any() and (block.norm1.weight == 1).all()


def test_matrix_parameters_say_how_they_are_stacked() -> None:
    rows = [sum(parts) for _, parts in GPT(MODERN).matrix_parameters()]
    assert rows == [matrix.shape[0] for matrix, _ in GPT(MODERN).matrix_parameters()]
    qkv = next(iter(GPT(MODERN).matrix_parameters()))
    assert qkv[1] == (40, 20, 20)


def test_flops_of_gpt2_by_hand() -> None:
    """GPT-2 124M: 12 · 12 · 768² in the blocks, 50257 · 768 in the head, 12 · 768 · 1024 for attention."""
    with torch.device("meta"):
        model = GPT(GPTConfig(50257, 1024, 12, 12, 768))
    expected = 6 * (12 * 12 * 768**2 + 50257 * 768) + 6 * 12 * 768 * 1024
    assert model.flops_per_token() == expected


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    model = GPT(replace(GPT2, dropout=0.5))
    ids = torch.randint(61, (1, 10))
    assert not torch.equal(model(ids), model(ids))
    model.eval()
    assert torch.equal(model(ids), model(ids))


def test_more_tokens_than_the_context_are_refused(gpt: GPT) -> None:
    with pytest.raises(InputError, match="33 tokens exceed the context of 32"):
        gpt(torch.zeros(1, 33, dtype=torch.long))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layer": 0}, "n_layer of at least 1"),
        ({"n_embd": 25}, "not a multiple of n_head"),
        ({"n_kv_head": 3}, "not a multiple of n_kv_head"),
        ({"band": 0}, "band of at least 1"),
        ({"positions": "rotary", "head_dim": 5}, "must be even"),
    ],
)
def test_impossible_shapes_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(GPT2, **change)
