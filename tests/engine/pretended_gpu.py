"""A GPU in everything but the arithmetic: tensors that say they lie on `cuda:0`, computed on the CPU.

As on a real one, operands on different devices are an error, a tensor's memory cannot be read from the host,
and what makes the host wait for results can be forbidden, as it is while a graph is captured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

aten = torch.ops.aten
COPIES = {aten._to_copy, aten.to, aten.copy_}
FACTORIES = {aten.empty, aten.zeros, aten.ones, aten.full, aten.arange, aten.scalar_tensor}
INDEXING = {aten.index, aten.index_put_}  # whose indices may lie on the host
WAITING = {aten._local_scalar_dense, aten.item, aten.nonzero, aten.masked_select}


class OnGPU(Tensor):
    """A CPU tensor that poses as one on the GPU."""

    @staticmethod
    def __new__(cls, held: Tensor) -> OnGPU:
        return torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            device="meta", requires_grad=held.requires_grad,
        )  # fmt: skip

    def __init__(self, held: Tensor) -> None:
        self.held = held

    @property
    def device(self) -> torch.device:
        """Where Python sees it; torch's own code sees a device that every build of it has."""
        return torch.device("cuda", 0)

    def __getitem__(self, index: Any) -> Tensor:
        return super().__getitem__(_moved(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_moved(index), value)

    def tolist(self) -> list[Any]:
        """Which torch's own does for no class but its own."""
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} of a tensor on the GPU, outside of `pretended_gpu`")


def _moved(index: Any) -> Any:
    """An index whose lists are tensors on the GPU, where torch would carry them over unseen."""
    if isinstance(index, tuple):
        return tuple(map(_moved, index))
    return torch.tensor(index, device="cuda:0") if isinstance(index, list) else index


class PretendedGPU(TorchDispatchMode):
    """Computes on the CPU what is asked of tensors on the GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.may_wait = True

    def capture(self, compute: Callable[[], Tensor], _pool: Any) -> tuple[Callable[[], Tensor], None]:
        """What `cuda_graphs.capture` does: it computes nothing itself, and repeats into the same memory."""
        output: list[Tensor] = []

        def replay() -> Tensor:
            self.may_wait = False
            try:
                result = compute()
            finally:
                self.may_wait = True
            output.append(result) if not output else output[0].copy_(result)
            return output[0]

        return replay, None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, packet = dict(kwargs or {}), func.overloadpacket
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        theirs = [x for x in tensors if isinstance(x, OnGPU)]
        target = kwargs.get("device")
        on_gpu = bool(theirs) if target is None else torch.device(target).type in ("cuda", "meta")
        if not theirs and not on_gpu:
            return func(*args, **kwargs)
        if target is not None:
            assert packet in FACTORIES | COPIES, f"{func} with a device"
            kwargs["device"] = "cpu"
        mixed = any(x.dim() for x in tensors if not isinstance(x, OnGPU)) if on_gpu else bool(theirs)
        if mixed and packet not in COPIES | INDEXING:
            raise RuntimeError(f"{func}: operands on the GPU and on the CPU")
        if not self.may_wait and (mixed or packet in WAITING):
            raise RuntimeError(f"{func} makes the host wait for the GPU, or it for the host")
        result = _compute(func, *tree_map_only(OnGPU, lambda x: x.held, (args, kwargs)))
        if not on_gpu:
            return result
        # In place, or an operand as it is: it stays the tensor that it was.
        known = {id(x.held): x for x in theirs}
        return tree_map_only(Tensor, lambda x: known[id(x)] if id(x) in known else OnGPU(x), result)


def _compute(func: Any, args: Any, kwargs: Any) -> Any:
    if func in (aten.item.default, aten._local_scalar_dense.default):
        return args[0].item()
    if func in (aten.mm.dtype, aten.bmm.dtype):  # which CPUs do not have
        a, b, dtype = args
        return a.to(dtype) @ b.to(dtype)
    return func(*args, **kwargs)


def _tensor(data: Any, *, device: Any = None, _tensor: Any = torch.tensor, **kwargs: Any) -> Tensor:
    """torch.tensor, whose way to a GPU no mode sees."""
    made = _tensor(data, **kwargs)
    return made if device is None else made.to(device)


@contextmanager
def pretended_gpu() -> Iterator[PretendedGPU]:
    """Within it tensors can be moved to `cuda:0`, and computed with there."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch("torch.cuda._lazy_init"))
        stack.enter_context(mock.patch("torch.tensor", _tensor))
        # Tensors of such a class cannot be made in inference mode.
        stack.enter_context(mock.patch("torch.inference_mode", torch.no_grad))
        yield stack.enter_context(PretendedGPU())
