"""Choice of the Triton kernels: at each call, by the tensors themselves."""

from __future__ import annotations

import functools
import importlib.util

import torch
from torch import Tensor

PRECISIONS = (torch.float32, torch.bfloat16, torch.float16)


def on_gpu(*tensors: Tensor) -> bool:
    """Return True if all of these lie on a GPU in a precision that the kernels know, and Triton is installed.

    Decided by where the tensors are when a function is called; what the machine has besides doesn't matter.
    """
    return all(t.device.type == "cuda" and t.dtype in PRECISIONS for t in tensors) and triton_is_installed()


@functools.cache
def triton_is_installed() -> bool:
    """Return True if the kernels can be used at all."""
    return importlib.util.find_spec("triton") is not None
