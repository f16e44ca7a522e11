"""Hugging Face checkpoints of GPTs, both ways: configurations (`configs.py`) and tensors (`tensors.py`)."""

from bottega.interop.configs import checkpoint_config, config_from_huggingface, config_to_huggingface
from bottega.interop.tensors import state_from_huggingface, state_to_huggingface

__all__ = [
    "checkpoint_config",
    "config_from_huggingface",
    "config_to_huggingface",
    "state_from_huggingface",
    "state_to_huggingface",
]
