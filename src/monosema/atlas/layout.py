"""Layout of a span of text: the passage, the run of one document and the hashes of each position.

Positions are those of batches of tokens, laid out row after row, padding included. A *passage* is a row, or a piece of
one that is longer than `passage` tokens. A *run* is a span of one passage that is of one document: the context of
a peak is cut at its ends.

The hash of any span of tokens is found in constant time from one array of prefix sums, modulo 2⁶⁴:

    hash(start, stop) = mix(B^−start · Σ_{start ≤ i < stop} mix(token_i + 1) · B^i)

so equal spans have equal hashes wherever they are. Padding counts as nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt64
from numpy.typing import NDArray

from monosema.data import TokenBatch

_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 2**64)


@dataclass(frozen=True)
class Layout:
    """Arrays of one entry a position, and of one a passage.

    Attributes:
        token: ids.
        document: document of each position; -1 where no document holds it.
        place: position in the document; -1 likewise.
        column: position in the row.
        keep: whether the position is looked at (padding and attention sinks are not).
        passage: number of the passage, counted from 0.
        start, stop: the run that the position is in, as positions.
        prefix: prefix sums for the hashes; one entry more than there are positions.
        passage_hash: hash of the tokens of each passage.
    """

    token: Int[np.ndarray, " n"]
    document: Int[np.ndarray, " n"]
    place: Int[np.ndarray, " n"]
    column: Int[np.ndarray, " n"]
    keep: Bool[np.ndarray, " n"]
    passage: Int[np.ndarray, " n"]
    start: Int[np.ndarray, " n"]
    stop: Int[np.ndarray, " n"]
    prefix: UInt64[np.ndarray, " m"]
    passage_hash: UInt64[np.ndarray, " passages"]

    def __len__(self) -> int:
        """Number of positions."""
        return len(self.token)


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scatter 64-bit values evenly (the finaliser of splitmix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def span_hash(prefix: NDArray[np.uint64], start: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Hash of the tokens of each span ``[start, stop)``."""
    return mix((prefix[stop] - prefix[start]) * _powers(_INVERSE, len(prefix))[start])


def lay_out(batches: Sequence[TokenBatch], passage: int) -> Layout:
    """Lay batches out one after the other.

    Args:
        batches: of any shapes.
        passage: tokens in a passage at most.
    """
    parts = [_flat(batch, passage) for batch in batches]
    token, document, place, column, keep, real = (np.concatenate([part[i] for part in parts]) for i in range(6))
    counts = np.array([part[7] for part in parts])
    bases = np.cumsum(counts) - counts
    numbers = np.concatenate([part[6] + base for part, base in zip(parts, bases, strict=True)])
    n = len(token)
    begins = np.ones(n, np.bool_)
    begins[1:] = (numbers[1:] != numbers[:-1]) | (document[1:] != document[:-1]) | (real[1:] != real[:-1])
    first = np.flatnonzero(begins)
    run = np.cumsum(begins) - 1
    prefix = np.zeros(n + 1, np.uint64)
    weights = mix(token.astype(np.uint64) + np.uint64(1)) * _powers(_BASE, n)
    np.cumsum(np.where(real, weights, np.uint64(0)), out=prefix[1:])
    edges = np.append(np.flatnonzero(np.diff(numbers, prepend=-1)), n)
    return Layout(
        token=token,
        document=document,
        place=place,
        column=column,
        keep=keep,
        passage=numbers.astype(np.int32),
        start=first[run].astype(np.int32),
        stop=np.append(first[1:], n)[run].astype(np.int32),
        prefix=prefix,
        passage_hash=span_hash(prefix, edges[:-1], edges[1:]),
    )


def _flat(batch: TokenBatch, passage: int) -> tuple[Any, ...]:
    rows, width = batch.tokens.shape
    column = np.tile(np.arange(width, dtype=np.int32), rows)
    pieces = -(-width // passage)
    number = np.repeat(np.arange(rows, dtype=np.int64) * pieces, width) + column // passage
    return (
        batch.tokens.numpy().reshape(-1).astype(np.int32),
        batch.document.numpy().reshape(-1).astype(np.int64),
        batch.position.numpy().reshape(-1).astype(np.int32),
        column,
        batch.keep.numpy().reshape(-1),
        batch.attention_mask.numpy().reshape(-1),
        number,
        np.int64(rows * pieces),
    )


def _powers(base: int, n: int) -> NDArray[np.uint64]:
    powers = np.full(n, base, np.uint64)
    powers[:1] = 1
    return np.cumprod(powers, dtype=np.uint64)
