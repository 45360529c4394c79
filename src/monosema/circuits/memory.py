"""Memory of passes: how many rows or versions run as one batch, wherever parts are exchanged or gradients taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from monosema.core import InputError
from monosema.models import LanguageModel, Transformer

MEMORY_MB = 512
"""Megabytes that a pass takes for what it computes, where nothing else is said."""
_MEMORY = ContextVar("megabytes of a pass", default=float(MEMORY_MB))


@contextmanager
def pass_memory(megabytes: int | float) -> Iterator[None]:
    """Let a pass in the block take so many megabytes for what it computes, beside the weights.

    Raises:
        InputError: none, or less.
    """
    if megabytes <= 0:
        raise InputError(f"{megabytes:g} megabytes of memory are not valid: give more than 0, as in {MEMORY_MB}.")
    token = _MEMORY.set(megabytes)
    try:
        yield
    finally:
        _MEMORY.reset(token)


def megabytes() -> float:
    """Return the megabytes that a pass may take here."""
    return _MEMORY.get()


def rows_within(row_bytes: int) -> int:
    """Return the number of rows, of so many bytes each, that a pass may hold; one is always tried."""
    return max(int(_MEMORY.get() * 2**20 // row_bytes), 1)


def contribution_bytes(model: Transformer, length: int) -> int:
    """Return the bytes of what all writers add on one prompt of so many tokens."""
    return (1 + model.n_layers * (model.n_heads + 1)) * length * model.d_model * model.dtype.itemsize


def forward_bytes(model: Transformer, length: int, *, kept: bool = False) -> int:
    """Return the bytes that a forward pass computes on one prompt: at its widest place, or all, kept to go back."""
    config = model.config
    attention = 4 * config.n_heads * config.d_head + 2 * config.n_heads * length
    widest = length * (4 * config.d_model + max(3 * config.d_mlp, attention))
    whole = length * (10 * config.d_model + 4 * config.d_mlp + attention) * config.n_layers
    return (whole if kept else widest) * model.dtype.itemsize + 3 * 4 * config.vocab


def text_bytes(model: LanguageModel, length: int, *, logits: int = 1, kept: bool = False) -> int:
    """Return the bytes that a pass of any model computes on one text of so many tokens.

    Args:
        logits: positions whose logits are made.
        kept: all is kept to go back.
    """
    if isinstance(model, Transformer):
        own = forward_bytes(model, length, kept=kept)
    else:
        own = 40 * length * model.d_model * (model.n_layers if kept else 1)
    return own + 3 * 4 * model.vocab * max(logits - 1, 0)
