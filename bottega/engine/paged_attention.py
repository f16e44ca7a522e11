"""Attention over a KV cache in blocks, which sequences find through tables; nothing is gathered or copied.

The kernels compute it; where there are none, `torch_attention` does.

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


def store(
    k: Tensor, v: Tensor, keys: Tensor, values: Tensor, tables: Tensor, rows: Tensor, positions: Tensor
) -> None:
    """Write the keys and values of new tokens to their places.

    `k`, `v`: (token, kv_head, dim); `tables`: (row, block); `rows`, `positions`: (token,), all int32.
    """
    library = kernels.on(k.device)
    assert library is not None
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

    `q`: (token, head, dim), fp32; token t belongs to sequence `rows[t]`, standing at `positions[t]`.
    Returns (token, head, dim). Grouped queries: neighbouring heads share a key head.
    """
    library = kernels.on(q.device)
    assert library is not None
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
