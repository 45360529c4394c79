"""Group-by on sorted NumPy arrays: entries of one group lie together, and equal keys mean one group."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import NDArray

Keys = NDArray[np.generic]
"""One value per entry, shape (n,); several arrays of keys are compared together."""


def begins(*keys: Keys) -> Bool[np.ndarray, " n"]:
    """Mark the first entry of each run of equal keys."""
    first = np.zeros(len(keys[0]), np.bool_)
    for key in keys:
        first[1:] |= key[1:] != key[:-1]
    first[:1] = True
    return first


def ranks(*keys: Keys) -> Int[np.ndarray, " n"]:
    """Count entries within each run of equal keys, from 0."""
    first = np.flatnonzero(begins(*keys))
    return ramps(np.diff(np.append(first, len(keys[0]))))


def ramps(lengths: NDArray[np.integer]) -> Int[np.ndarray, " total"]:
    """Concatenate 0 … length − 1 for each of the lengths."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)


def first_of_each(*keys: Keys) -> Int[np.ndarray, " groups"]:
    """Return the ascending indices of the first entry of each distinct combination of keys, in any order of entries."""
    n = len(keys[0])
    order = np.lexsort((np.arange(n), *keys))
    return np.sort(order[begins(*(key[order] for key in keys))])
