"""Attention over a KV cache in blocks, which sequences find through tables; nothing is gathered or copied.

One layer's `keys` are (block, kv_head, dim, BLOCK), its `values` (block, kv_head, BLOCK, dim), fp32 or bf16.
Position p of sequence r lies in block `tables[r, p // BLOCK]` at p % BLOCK. A call's tokens come flat, of any
number of sequences: one for each that decodes, many for a prompt. What a token gets does not depend, to the
last bit, on the tokens beside it. Beside keys and values in bf16 queries and weights are rounded to bf16 too,
as processors multiply pairs of them at once; sums are in fp32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bottega.engine import kernels

BLOCK = 64
_TOKENS_AT_ONCE = 256  # of torch's own arithmetic, which copies a block for each token


def store(
    k: Tensor, v: Tensor, keys: Tensor, values: Tensor, tables: Tensor, rows: Tensor, positions: Tensor
) -> None:
    """Write the keys and values of new tokens to their places.

    `k`, `v`: (token, kv_head, dim); `tables`: (row, block); `rows`, `positions`: (token,), all int32.
    """
    library = kernels.compiled() if k.device.type == "cpu" else None
    if library is None:
        blocks, at = tables[rows, positions // BLOCK], positions % BLOCK
        keys[blocks, :, :, at] = k.to(keys.dtype)
        values[blocks, :, at] = v.to(values.dtype)
        return
    if k.stride(-1) != 1 or v.stride() != k.stride():
        k, v = k.contiguous(), v.contiguous()
    library.store_kv(
        k.data_ptr(), v.data_ptr(), keys.data_ptr(), values.data_ptr(),
        tables.data_ptr(), rows.data_ptr(), positions.data_ptr(),
        *k.shape, k.stride(0), k.stride(1), keys.stride(0), tables.stride(0),
        keys.dtype == torch.bfloat16, torch.get_num_threads(),
    )  # fmt: skip


def attend(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    tables: Tensor,
    rows: Tensor,
    positions: Tensor,
    band: int | None = None,
) -> Tensor:
    """Attend from each token to the positions of its sequence up to its own, or to the last `band` of them.

    `q`: (token, head, dim), fp32 on a CPU; token t belongs to sequence `rows[t]`, standing at `positions[t]`.
    Returns (token, head, dim). Grouped queries: neighbouring heads share a key head.
    """
    library = kernels.compiled() if q.device.type == "cpu" else None
    if library is None:
        outputs = []
        for start in range(0, len(q), _TOKENS_AT_ONCE):
            part = slice(start, start + _TOKENS_AT_ONCE)
            outputs.append(_attend(q[part], keys, values, tables[rows[part]], positions[part], band))
        return torch.cat(outputs)
    if q.stride(-1) != 1:
        q = q.contiguous()
    tokens, heads, dim = q.shape
    out = torch.empty(tokens, heads, dim)
    library.attend(
        q.data_ptr(), keys.data_ptr(), values.data_ptr(),
        tables.data_ptr(), rows.data_ptr(), positions.data_ptr(), out.data_ptr(),
        tokens, heads, keys.shape[1], dim, q.stride(0), q.stride(1), keys.stride(0), tables.stride(0),
        band or 0, keys.dtype == torch.bfloat16, torch.get_num_threads(),
    )  # fmt: skip
    return out


def _attend(
    q: Tensor, keys: Tensor, values: Tensor, tables: Tensor, positions: Tensor, band: int | None
) -> Tensor:
    """The same block by block in torch, with the online softmax (Milakov & Gimelshein 2018)."""
    tokens, heads, dim = q.shape
    kv_heads = keys.shape[1]
    queries = q.float().view(tokens, kv_heads, heads // kv_heads, dim) * dim**-0.5
    queries = queries.to(keys.dtype).float()
    top = queries.new_full((*queries.shape[:-1], 1), -1e30)
    total, sums = torch.zeros_like(top), torch.zeros_like(queries)
    lane = torch.arange(BLOCK, device=q.device)
    first = 0 if band is None else max(0, int(positions.min()) - band + 1) // BLOCK
    for block in range(first, int(positions.max()) // BLOCK + 1):
        distance = positions[:, None] - (lane + block * BLOCK)
        seen = (distance >= 0) if band is None else (distance >= 0) & (distance < band)
        # A sequence that ends before this block may have no entry here; all its places are masked.
        at = torch.where(seen.any(1), tables[:, block], tables[:, 0])
        mask = seen[:, None, None]
        scores = (queries @ keys[at].float()).masked_fill(~mask, -1e30)
        highest = torch.maximum(top, scores.amax(-1, keepdim=True))
        weights = torch.exp(scores - highest) * mask
        keep = torch.exp(top - highest)
        held = torch.where(seen[:, None, :, None], values[at].float(), 0.0)  # unwritten places may hold a NaN
        total, top = total * keep + weights.sum(-1, keepdim=True), highest
        sums = sums * keep + weights.to(values.dtype).float() @ held
    return (sums / total).view(tokens, heads, dim).to(q.dtype)
