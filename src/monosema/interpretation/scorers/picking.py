"""Which test passages of each latent a scorer looks at: drawn by a hash, for all latents at once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import NDArray

from monosema.atlas.layout import mix
from monosema.interpretation.samples import KINDS, Samples, ranks

FROM_ALL = tuple(KINDS.index(kind) for kind in ("random", *(f"q{tenth}" for tenth in range(10))))
"""Kinds of activating passages that stand for all of them: random ones, and those drawn from each tenth."""


def pick(
    samples: Samples, allowed: Bool[np.ndarray, " entries"], most: int, seed: int = 0
) -> Int[NDArray[np.int64], " n"]:
    """At most so many of the allowed test entries of each latent, ascending."""
    entries = np.flatnonzero(allowed & samples.test)
    row = samples.row[entries]
    salt = mix(np.array([seed % 2**64], np.uint64))
    ticket = mix(samples.hashes[samples.passage[entries]] ^ mix(samples.latents[row].astype(np.uint64) ^ salt))
    order = np.lexsort((ticket, row))
    return np.sort(entries[order[ranks(row[order]) < most]])
