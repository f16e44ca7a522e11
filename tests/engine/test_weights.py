"""Packed linear layers against torch's; the same bits in any batch; packed models."""

from __future__ import annotations

import argparse
import copy
import gc
import inspect
import math
import weakref
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bottega.engine import kernels
from bottega.engine.paged_cache import PagedCache, Pass
from bottega.engine.quantisation import KINDS, expand, quantise
from bottega.engine.weights import ACTIVATIONS, PackedLinear, pack
from bottega.models.gpt import GPT, GPTConfig

# The norm of the error beside the norm of the result, for normally distributed weights and activations.
TOLERANCE = {"fp32": 1e-6, "bf16": 0.004, "int8": 0.012, "int4": 0.1}
needs_compiler = pytest.mark.skipif(kernels.find_compiler() is None, reason="needs a C++ compiler")


def case(n_in: int, n_out: int, rows: int = 37):
    torch.manual_seed(0)
    return torch.randn(n_out, n_in) * 0.02, torch.randn(n_out), torch.randn(rows, n_in)


def error(y: torch.Tensor, expected: torch.Tensor) -> float:
    return float((y - expected).norm() / expected.norm())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(768, 192), (64, 48), (100, 70), (33, 1)])
def test_a_packed_layer_is_a_linear_layer(kind, size):
    weight, bias, x = case(*size)
    y = PackedLinear(weight, bias, kind, exact=True)(x)
    assert y.dtype == torch.float32
    assert error(y - bias, F.linear(x, weight)) < TOLERANCE[kind]
    assert error(PackedLinear(weight, None, kind, exact=True)(x), F.linear(x, weight)) < TOLERANCE[kind]


@needs_compiler
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(768, 192), (100, 70)])
def test_a_row_gets_the_same_bits_in_any_batch(kind, size):
    weight, bias, x = case(*size)
    layer = PackedLinear(weight, bias, kind, exact=True)
    together = layer(x)
    for rows in (*range(1, 14), 32):
        assert torch.equal(layer(x[:rows]), together[:rows])
        assert torch.equal(layer(x[-rows:]), together[-rows:])


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_library_torch_computes_the_same(monkeypatch, kind):
    weight, bias, x = case(100, 70)
    packed = PackedLinear(weight, bias, kind, exact=True)(x)
    monkeypatch.setattr(kernels, "compiled", lambda: None)
    for exact in (True, False):
        layer = PackedLinear(weight, bias, kind, exact)
        assert error(layer(x), packed) < 0.008  # torch does not round the activations
    exact_layer = PackedLinear(weight, bias, kind, exact=True)
    assert torch.equal(exact_layer(x[:1]), exact_layer(x)[:1])


def rms_norm(width: int) -> nn.Module:
    norm = nn.RMSNorm(width, eps=1e-6)
    nn.init.normal_(norm.weight)
    return norm


def layer_norm(width: int) -> nn.Module:
    norm = nn.LayerNorm(width)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    return norm


@needs_compiler
@pytest.mark.parametrize("width", [96, 100, 13])
@pytest.mark.parametrize("name", ["layernorm", "rmsnorm", *ACTIVATIONS])
@torch.no_grad()
def test_norms_and_activations_before_a_layer_are_torchs(name, width):
    weight, bias, x = case(width, 48)
    x = 3 * x + 1 if name in ("layernorm", "rmsnorm") else 3 * x
    x = torch.cat([x, x.flip(0)], -1) if name == "swiglu" else x
    norms = {"layernorm": layer_norm, "rmsnorm": rms_norm}
    before = norms[name](width) if name in norms else ACTIVATIONS[name]()
    layer = PackedLinear(weight, bias, "fp32", True, before)
    torch.testing.assert_close(layer(x), F.linear(before(x), weight, bias), atol=3e-6, rtol=1e-5)
    assert torch.equal(layer(x[3:8]), layer(x)[3:8])


@pytest.mark.parametrize("kind", KINDS)
def test_leading_dimensions_and_views_are_kept(kind):
    weight, bias, x = case(64, 48, rows=12)
    layer = PackedLinear(weight, bias, kind, exact=True)
    assert torch.equal(layer(x.view(3, 4, 64)).view(12, 48), layer(x))
    assert torch.equal(layer(x.T.contiguous().T), layer(x))
    assert layer(x[:0]).shape == (0, 48)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(100, 70), (768, 130)])
def test_layers_for_other_processors_are_the_same(monkeypatch, other_kernels, kind, size):
    weight, bias, x = case(*size)
    weight[3], weight[4] = 0.02, -0.02  # the largest sums that bytes can make
    x[1:3] = 1
    expected = PackedLinear(weight, bias, kind, exact=True)(x)
    monkeypatch.setattr(kernels, "compiled", lambda: other_kernels)
    layer = PackedLinear(weight, bias, kind, exact=True)
    together = layer(x)
    assert error(together, expected) < 1e-6
    for rows in (1, 2, 5, 8):
        assert torch.equal(layer(x[:rows]), together[:rows])


def test_quantising_errs_by_half_a_step_at_most():
    weight, _, _ = case(96, 64)
    step = weight.abs().amax(1, keepdim=True) / 127
    levels, factors = expand(*quantise(weight, "int8"), "int8", 96)
    restored = levels * factors[:, None]
    assert ((restored - weight).abs() <= step * 0.501).all()
    groups = weight.view(64, 3, 32)
    step = groups.abs().amax(2, keepdim=True) / 8
    restored = expand(*quantise(weight, "int4"), "int4", 96)[0].view_as(groups)
    # Only a weight at the short end, or one that a smaller step clips, is farther off than half a step.
    assert ((restored - groups).abs() <= step * 1.25).all()
    assert ((restored - groups).abs() <= step * 0.51).float().mean() > 0.97


@pytest.mark.parametrize("kind", ["int8", "int4"])
@pytest.mark.parametrize("shape", [(70, 40), (3, 256), (1, 7)])
def test_kernel_and_torch_quantise_alike(monkeypatch, kind, shape):
    weight = case(shape[1], shape[0])[0]
    weight[0, :7] = 0
    words, scales = quantise(weight, kind)
    monkeypatch.setattr(kernels, "compiled", lambda: None)
    expected, expected_scales = quantise(weight, kind)
    assert words.shape == expected.shape
    torch.testing.assert_close(scales, expected_scales)
    assert (words == expected).float().mean() > 0.999


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_zeros_stay_zeros(kind):
    layer = PackedLinear(torch.zeros(3, 40), None, kind, exact=True)
    assert torch.equal(layer(torch.randn(2, 40)), torch.zeros(2, 3))
    weight, _, _ = case(40, 3)
    assert torch.equal(PackedLinear(weight, None, kind, exact=True)(torch.zeros(2, 40)), torch.zeros(2, 3))


MODELS = {
    "gpt2": GPTConfig(300, 32, 2, 4, 64),
    "gpt1": GPTConfig(300, 32, 2, 4, 64, norm_position="post", mlp="gelu"),
    "modern": GPTConfig(
        300, 32, 2, 4, 64, n_kv_head=2, norm="rmsnorm", positions="rotary", mlp="swiglu", qk_norm=True,
        attention_bias=False, mlp_bias=False, tied=False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
@pytest.mark.parametrize("compiled", [True, False])
def test_a_packed_model_gives_nearly_the_same_logits(monkeypatch, kind, name, compiled):
    if not compiled:
        monkeypatch.setattr(kernels, "compiled", lambda: None)
    torch.manual_seed(0)
    model = GPT(MODELS[name]).eval()
    ids = torch.randint(300, (2, 20))
    expected = model(ids)
    head = pack(model, kind, exact=True)
    logits = head(model.hidden(ids))
    assert logits.shape == expected.shape
    assert error(logits, expected) < 2 * TOLERANCE[kind]


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
@pytest.mark.parametrize("compiled", [True, False])
@torch.no_grad()
def test_a_tied_matrix_is_held_once(monkeypatch, kind, compiled):
    if not compiled:
        monkeypatch.setattr(kernels, "compiled", lambda: None)
    model = GPT(GPTConfig(300, 32, 1, 3, 33)).eval()
    table = model.tok_emb.weight.to(torch.bfloat16 if kind == "bf16" else torch.float32).float()
    head, ids = pack(model, kind, exact=True), torch.randint(300, (2, 7))
    assert torch.equal(model.tok_emb(ids), table[ids])
    assert model.tok_emb.weight.data_ptr() == head.words.data_ptr()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("band", [None, 5])
@torch.no_grad()
def test_a_block_in_one_call_computes_what_its_parts_do(kind, name, band):
    torch.manual_seed(0)
    model = GPT(replace(MODELS[name], band=band)).eval()
    for norm in model.modules():
        if isinstance(norm, nn.LayerNorm | nn.RMSNorm):
            norm.weight.normal_(1, 0.3)
    pack(model, kind, exact=True)
    ids = torch.randint(300, (1, 20))
    cache = PagedCache(model.config, 3, torch.float32, torch.device("cpu"))
    places = torch.tensor([[2]]).int(), torch.zeros(20).int(), torch.arange(20).int()
    hidden = model.hidden(ids, Pass(cache, *places))
    assert error(hidden, model.hidden(ids)) < (1e-5 if kind == "fp32" else TOLERANCE[kind])


def test_the_old_weights_are_freed():
    model = GPT(MODELS["modern"])
    old = [weakref.ref(p) for p in model.parameters() if p.dim() == 2]
    head = pack(model, "int8", exact=True)
    gc.collect()
    assert head is not None
    assert not any(reference() is not None for reference in old)


@pytest.fixture(scope="module")
def trained() -> tuple[GPT, torch.Tensor]:
    """A small model that has learnt something of the Python that runs it, and text that it has not seen."""
    text = torch.tensor(list(inspect.getsource(argparse).encode()))
    seen, held = text[:-8192], text[-8192:].view(-1, 64)
    torch.manual_seed(0)
    model = GPT(GPTConfig(256, 64, 2, 4, 128))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(120):
        starts = torch.randint(len(seen) - 65, (16, 1))
        rows = seen[starts + torch.arange(65)]
        loss = model.loss({"ids": rows[:, :-1], "targets": rows[:, 1:].contiguous()})
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
    return model.eval(), held


@pytest.mark.parametrize(("kind", "bar"), [("bf16", 0.005), ("int8", 0.005), ("int4", 0.05)])
@torch.no_grad()
def test_a_trained_model_loses_little_perplexity(trained, kind, bar):
    model, held = copy.deepcopy(trained[0]), trained[1]
    targets = held[:, 1:].flatten()
    plain = F.cross_entropy(model(held)[:, :-1].flatten(0, 1), targets)
    assert plain < 3.0, "the model has learnt nothing"
    head = pack(model, kind, exact=True)
    nats = F.cross_entropy(head(model.hidden(held))[:, :-1].flatten(0, 1), targets)
    assert math.expm1(nats - plain) < bar
