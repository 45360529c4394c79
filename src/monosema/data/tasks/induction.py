"""Induction: sequences that repeat with a period, where the second time round every token can be copied.

Olsson et al. 2022, "In-context Learning and Induction Heads" (arXiv 2209.11895): a model with induction heads has a
much lower loss on the second occurrence than on the first. This is the one task on token ids, since random tokens have
no text. Every sequence is drawn afresh, so none has been seen in training.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monosema.core.errors import InputError


def repeated(
    rng: np.random.Generator,
    n: int,
    length: int,
    *,
    periods: tuple[int, int],
    vocabulary: NDArray[np.int64],
    probabilities: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """n sequences of `length` tokens, each repeating a random block; returns (tokens, period of each).

    Args:
        rng: source of randomness.
        n: number of sequences.
        length: tokens per sequence, a beginning-of-text token not included.
        periods: smallest and largest period, both included; the period is drawn uniformly.
        vocabulary: token ids to draw from.
        probabilities: one per token of `vocabulary` (natural frequencies); None draws uniformly.
    """
    low, high = periods
    if not 1 <= low <= high:
        raise InputError(f"periods must be (low, high) with 1 <= low <= high, got {periods}.")
    drawn = rng.choice(vocabulary, size=(n, high), p=probabilities)
    period = rng.integers(low, high + 1, size=n)
    index = np.arange(length)[None, :] % period[:, None]
    return np.take_along_axis(drawn, index, axis=1), period
