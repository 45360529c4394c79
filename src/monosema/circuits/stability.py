"""Stability: whether other prompts of the task would have given the same circuit.

    Jaccard(A, B) = |A ∩ B| / |A ∪ B|

of circuits of equal size, from scores averaged over resampled prompts, and from the prompts of each form alone; beside
what random circuits of that size share. Published for circuits of f ≥ 0.9: 0.67 for GPT-2, 0.39 for Llama-3.2-1B
(Méloux et al. 2025, arXiv:2510.00845).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from monosema.circuits.circuit import Circuit, Ranking
from monosema.circuits.scores import EdgeScores
from monosema.core import Estimate, InputError, numpy_generator

_RESAMPLES = 20


@dataclass(frozen=True, kw_only=True)
class Stability:
    """Overlap of circuits of one size.

    Attributes:
        size: edges of each circuit.
        edges, nodes: mean Jaccard index over pairs of resamples; the interval holds 95 % of the pairs.
        chance: Jaccard index of random circuits of that size, expected.
        forms: mean Jaccard index over pairs of forms; None where prompts are of one form.
        n_forms: number of forms.
    """

    size: int
    edges: Estimate
    nodes: Estimate
    chance: float
    forms: Estimate | None
    n_forms: int


def stability(
    scores: EdgeScores,
    size: int,
    forms: Sequence[str] = (),
    ranking: Ranking = "size",
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> Stability:
    """Measure how much circuits from other prompts have in common.

    Args:
        forms: form of each prompt, in the order of the scores.
    """
    n = len(scores.by_prompt)
    if n < 2:
        raise InputError("Stability draws prompts anew: scores of 2 or more prompts are needed, got 1.")
    draws = numpy_generator(seed, "stability").integers(0, n, size=(resamples, n))
    drawn = [_circuit(scores, torch.from_numpy(rows), size, ranking) for rows in draws]
    names = list(dict.fromkeys(forms))
    by_form = [
        _circuit(scores, torch.tensor([index for index, form in enumerate(forms) if form == name]), size, ranking)
        for name in names
    ]
    total = scores.graph.n_edges
    return Stability(
        size=size,
        edges=_overlap([circuit.keep for circuit in drawn]),
        nodes=_overlap([circuit.keep.any(1) for circuit in drawn]),
        chance=size / (2 * total - size),
        forms=_overlap([circuit.keep for circuit in by_form]) if len(names) > 1 else None,
        n_forms=len(names),
    )


def jaccard(one: Bool[Tensor, "*shape"], other: Bool[Tensor, "*shape"]) -> float:
    """Return the share of what is in both of what is in either; 1 for two empty sets."""
    either = int((one | other).sum())
    return int((one & other).sum()) / either if either else 1.0


def _circuit(scores: EdgeScores, rows: Tensor, size: int, ranking: Ranking) -> Circuit:
    part = EdgeScores(graph=scores.graph, by_prompt=scores.by_prompt[rows], about=scores.about)
    return Circuit.top(part, size, ranking)


def _overlap(sets: Sequence[Tensor]) -> Estimate:
    found = [jaccard(one, other) for one, other in itertools.combinations(sets, 2)]
    low, high = np.quantile(found, [0.025, 0.975])
    return Estimate(float(np.mean(found)), float(low), float(high), len(sets), "pairs")
