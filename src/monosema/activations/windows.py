"""Windows of tokens as rows of a matrix, so that what streams vectors streams text too: shuffled, and resumed exactly.

A row is a window; a value is the id of a token that is kept, −1 − id of one that is read but not kept (BOS and other
attention sinks), and −2²⁵ where there is none. Ids below 2²⁴ are whole numbers in float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from monosema.core import CorpusError, atomic_path
from monosema.data import TokenBatch

NONE = -float(2**25)
"""Stands where a window has no token."""
MOST_IDS = 2**24
"""Whole numbers up to here are exact in float32."""


@dataclass(frozen=True)
class Windows:
    """Windows of tokens.

    Attributes:
        tokens: ids; 0 where there is none.
        present: where there is a token; padding is on the right.
        keep: whose activations are for dictionaries.
    """

    tokens: Int[Tensor, "batch pos"]
    present: Bool[Tensor, "batch pos"]
    keep: Bool[Tensor, "batch pos"]


def write_windows(path: Path, batches: Iterable[TokenBatch], width: int) -> int:
    """Write all windows of a text as a .npy matrix, which `open_vectors` opens; one batch in memory at a time.

    Args:
        width: tokens of the longest window.

    Returns:
        Tokens that are kept.

    Raises:
        CorpusError: a window is longer, or an id is 2²⁴ or more.
        DiskFullError: no room; nothing is left.
    """
    rows = kept = 0
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        _write_header(file, 0, width)
        for batch in batches:
            file.write(_values(batch, width).tobytes())
            rows += len(batch.tokens)
            kept += int(batch.keep.sum())
        file.seek(0)
        _write_header(file, rows, width)
    return kept


def read_windows(rows: Float[Tensor, "batch pos"]) -> Windows:
    """The windows that rows stand for."""
    present, keep = rows > NONE, rows >= 0
    tokens = torch.where(keep, rows, -1 - rows) * present
    return Windows(tokens.to(torch.int64), present, keep)


def _values(batch: TokenBatch, width: int) -> np.ndarray:
    tokens = batch.tokens
    if tokens.shape[1] > width or int(tokens.max()) >= MOST_IDS:
        raise CorpusError(
            f"The text gives windows of {tokens.shape[1]} tokens with ids up to {int(tokens.max())}; expected at most "
            f"{width} tokens, and ids below 2²⁴. Cut the text by the window that the run was made for."
        )
    values = torch.full((len(tokens), width), NONE)
    shown = torch.where(batch.keep, tokens, -1 - tokens).to(torch.float32)
    values[:, : tokens.shape[1]] = torch.where(batch.attention_mask, shown, NONE)
    return values.numpy()


def _write_header(file: object, rows: int, width: int) -> None:
    """NumPy leaves room for the first dimension to grow, so that a header can be written again."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
    np.lib.format.write_array_header_1_0(file, header)  # type: ignore[arg-type]
