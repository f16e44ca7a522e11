"""Bottega: raw text goes in at one door, an assistant behind the OpenAI API comes out of the other.

`bottega.load(MODEL)` gives the model in a checkpoint folder, of the right class. Nothing heavy is imported
until it is used: `import bottega` does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bottega.models.load import load as load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from bottega.models.load import load

        return load
    raise AttributeError(f"module 'bottega' has no attribute {name!r}")
