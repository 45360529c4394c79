"""Windows of tokens as rows of a matrix, so that what streams vectors streams text too: shuffled, and resumed exactly.

A row is a window: ids of its tokens, then a mark for each. Ids below 2²⁴ are whole numbers in float32.
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

NONE, READ, KEPT = 0, 1, 2
"""Marks: no token; one that is read but not kept, such as BOS and other attention sinks; one that is kept."""
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


def windows_width(window: int) -> int:
    """Return the values in a row of windows of so many tokens."""
    return 2 * window


def read_windows(rows: Float[Tensor, "batch width"]) -> Windows:
    """Read the windows that rows stand for."""
    tokens, marks = rows.chunk(2, dim=1)
    return Windows(tokens.to(torch.int64), marks != NONE, marks == KEPT)


def _values(batch: TokenBatch, width: int) -> np.ndarray:
    tokens = batch.tokens
    if tokens.shape[1] > width or int(tokens.max()) >= MOST_IDS:
        raise CorpusError(
            f"The text gives windows of {tokens.shape[1]} tokens with ids up to {int(tokens.max())}; expected at most "
            f"{width} tokens, and ids below 2²⁴. Cut the text by the window that the run was made for."
        )
    marks = torch.where(batch.attention_mask, torch.where(batch.keep, KEPT, READ), NONE)
    room = (0, width - tokens.shape[1])
    parts = [torch.nn.functional.pad(part, room).to(torch.float32) for part in (tokens * batch.attention_mask, marks)]
    return torch.cat(parts, dim=1).numpy()


def _write_header(file: object, rows: int, width: int) -> None:
    """NumPy leaves room for the first dimension to grow, so that a header can be written again."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, windows_width(width))}
    np.lib.format.write_array_header_1_0(file, header)  # type: ignore[arg-type]
