"""Paged attention against torch's; the same bits however it is batched; the library's life in the cache."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from bottega.engine import kernels, paged_attention, torch_attention
from bottega.engine.paged_attention import BLOCK, attend, store
from bottega.engine.torch_attention import Tiles
from bottega.engine.weights import PackedLinear

needs_compiler = pytest.mark.skipif(kernels.find_compiler() is None, reason="needs a C++ compiler")


class Case:
    """Sequences of the given lengths, whole in a cache whose other places hold NaN."""

    def __init__(self, lengths=(1, 63, 64, 65, 200), heads=4, kv_heads=4, dim=64, dtype=torch.float32):
        torch.manual_seed(0)
        width = max(lengths) // BLOCK + 1
        total = width * len(lengths) + 3
        self.keys = torch.full((total, kv_heads, dim, BLOCK), float("nan"), dtype=dtype)
        self.values = torch.full((total, kv_heads, BLOCK, dim), float("nan"), dtype=dtype)
        self.tables = torch.randperm(total)[: width * len(lengths)].view(len(lengths), width).int()
        self.rows = torch.cat([torch.full((n,), i) for i, n in enumerate(lengths)]).int()
        self.positions = torch.cat([torch.arange(n) for n in lengths]).int()
        self.q = torch.randn(sum(lengths), heads, dim)
        self.k, self.v = torch.randn(2, sum(lengths), kv_heads, dim)
        self.lengths = lengths

    def store(self, module=paged_attention):
        module.store(self.k, self.v, self.keys, self.values, self.tables, self.rows, self.positions)
        return self

    def attend(self, which=slice(None), band=None):
        rows, positions = self.rows[which], self.positions[which]
        return attend(self.q[which], self.keys, self.values, self.tables, rows, positions, band)

    def attend_by_torch(self, which=slice(None), band=None):
        q, rows, positions = self.q[which], self.rows[which], self.positions[which]
        counts = rows.unique_consecutive(return_counts=True)[1]
        tiles = Tiles.of(counts.tolist(), positions.numpy(), q.device)
        return torch_attention.attend(q, self.keys, self.values, self.tables, rows, positions, tiles, band)

    def reference(self, band=None):
        results = []
        for q, k, v in zip(*(x.split(self.lengths) for x in (self.q, self.k, self.v)), strict=True):
            distance = torch.arange(len(q))[:, None] - torch.arange(len(q))
            mask = (distance >= 0) & (distance < (band or len(q)))
            q, k, v = (x.transpose(0, 1)[None] for x in (q, *(x.to(self.keys.dtype).float() for x in (k, v))))
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
            results.append(y[0].transpose(0, 1))
        return torch.cat(results)


SHAPES = [(4, 4, 64), (6, 2, 32), (12, 1, 128), (3, 1, 20), (2, 2, 8), (2, 2, 33)]
# How far from torch, which does not round queries and weights.
NEAR = {torch.float32: {"atol": 1e-5, "rtol": 1e-5}, torch.bfloat16: {"atol": 1e-2, "rtol": 5e-3}}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("band", [None, 5, 70])
def test_attention_equals_torch(shape, dtype, band):
    case = Case((1, 63, 64, 65, 200), *shape, dtype).store()
    torch.testing.assert_close(case.attend(band=band), case.reference(band), **NEAR[dtype])


@needs_compiler
@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_rounds_to_bf16_where_torch_does(shape):
    case = Case((1, 63, 64, 65, 200), *shape, torch.bfloat16).store()
    ours, theirs = case.attend(), case.attend_by_torch()
    # Weights are rounded beside the greatest score of so many blocks; without rounding it would be 3e-4.
    assert (ours - theirs).abs().mean() < 5e-5
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("band", [None, 5, 70, 300])
def test_without_kernels_torch_computes_the_same(shape, dtype, band):
    case = Case((1, 63, 64, 65, 400), *shape, dtype).store(torch_attention)
    torch.testing.assert_close(case.attend_by_torch(band=band), case.reference(band), **NEAR[dtype])


def test_torch_takes_tokens_in_any_portions():
    case = Case((1, 63, 64, 65, 400)).store(torch_attention)
    together = case.attend_by_torch()
    for portion in (torch.tensor([0, 40, 100, 180, 592]), torch.arange(150, 200), torch.arange(5, 60)):
        torch.testing.assert_close(case.attend_by_torch(portion), together[portion])


@needs_compiler
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("band", [None, 70])
def test_a_token_gets_the_same_bits_alone_and_among_any_others(shape, band):
    case = Case((1, 63, 64, 65, 200), *shape).store()
    together = case.attend(band=band)
    for token in range(0, len(together), 5):
        assert torch.equal(case.attend(slice(token, token + 1), band)[0], together[token])
    for chunk in torch.arange(len(together)).split(23):
        assert torch.equal(case.attend(chunk, band), together[chunk])
    mixed = torch.randperm(len(together))
    assert torch.equal(case.attend(mixed, band), together[mixed])


@needs_compiler
def test_bits_do_not_depend_on_the_number_of_threads():
    case, threads = Case().store(), torch.get_num_threads()
    try:
        results = []
        for n in (1, 3):
            torch.set_num_threads(n)
            results.append(case.attend())
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


def test_storing_leaves_all_other_places_alone():
    case = Case((70,), heads=2, kv_heads=2, dim=16)
    case.store()
    block, other = case.tables[0]
    assert torch.equal(case.keys[block], case.k[:BLOCK].permute(1, 2, 0))
    assert torch.equal(case.values[block], case.v[:BLOCK].transpose(0, 1))
    assert case.values[other, :, 6:].isnan().all()
    assert case.keys[other, :, :, 6:].isnan().all()


def test_views_of_one_projection_need_no_copy():
    case = Case((80,), heads=4, kv_heads=2, dim=16)
    joined = torch.cat([case.q.flatten(1), case.k.flatten(1), case.v.flatten(1)], -1)
    q, k, v = (part.unflatten(-1, (-1, 16)) for part in joined.split((64, 32, 32), -1))
    expected = case.store().attend()
    store(k, v, case.keys.fill_(0), case.values.fill_(0), case.tables, case.rows, case.positions)
    result = attend(q, case.keys, case.values, case.tables, case.rows, case.positions)
    assert torch.equal(result, expected)


def test_without_a_compiler_the_engine_warns_and_uses_torch(monkeypatch, caplog):
    monkeypatch.setenv("CXX", "no-such-compiler")
    kernels.compiled.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            assert kernels.compiled() is None
        assert "no C++ compiler" in caplog.text
        layer = PackedLinear(torch.eye(40), None, "fp32", exact=True)
        assert layer.compiled is None
        assert torch.equal(layer(torch.ones(3, 40)), torch.ones(3, 40))
    finally:
        kernels.compiled.cache_clear()


def test_a_compiler_that_fails_is_reported_in_its_words(monkeypatch, caplog, tmp_path):
    broken = tmp_path / "c++"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] || { echo "no vectors today" >&2; exit 1; }\n')
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kernels.compiled.cache_clear()
    try:
        assert kernels.compiled() is None
        assert "no vectors today" in caplog.text
    finally:
        kernels.compiled.cache_clear()


@needs_compiler
def test_a_damaged_library_is_built_again(tmp_path):
    compiler = kernels.find_compiler()
    assert compiler is not None
    path = kernels.build(compiler, tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert kernels.build(compiler, tmp_path) == path
    assert path.stat().st_size == len(whole)
    assert kernels.load(path).attend
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_for_other_processors_is_the_same(monkeypatch, other_kernels, dtype):
    expected = Case(dtype=dtype).store().attend()
    monkeypatch.setattr(kernels, "compiled", lambda: other_kernels)
    case = Case(dtype=dtype).store()
    together = case.attend()
    error = (together - expected).abs()
    assert error.max() < (1e-5 if dtype == torch.float32 else 2e-3)
    assert error.mean() < 2e-5
    for token in range(0, len(together), 29):
        assert torch.equal(case.attend(slice(token, token + 1))[0], together[token])


def test_sources_are_part_of_the_package():
    folder = Path(paged_attention.__file__).parent
    assert all((folder / name).exists() for name in (*kernels.SOURCES, *kernels.HEADERS))
