"""Yes-or-no answers of many latents at once: balanced accuracy, F1 and the area under the curve.

    balanced accuracy = ½ (TPR + TNR),   ½ for whoever always says no.

Its interval joins Wilson's (1927) intervals of the two rates by Newcombe's (1998) square-and-add rule. (A bootstrap
over passages would call twenty right answers of twenty certain: every resample is right.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from monosema.core import Estimate

__all__ = ["Answers", "Classified", "classify"]

_Z = 1.959963984540054


@dataclass(frozen=True)
class Answers:
    """What was asked of latents, and answered.

    Attributes:
        latent: that each question is about.
        truth: the right answer.
        said: how sure the yes is, in [0, 1]; NaN where there is no answer.
    """

    latent: Int[np.ndarray, " n"]
    truth: Bool[np.ndarray, " n"]
    said: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Classified:
    """Figures of latents; those with too few answered questions of either kind are in `absent` alone.

    Attributes:
        accuracy: balanced accuracy, with its interval; n counts passages.
        f1: harmonic mean of precision and recall.
        auc: area under the curve; ties count half.
        absent: why there is no figure.
    """

    accuracy: Mapping[int, Estimate]
    f1: Mapping[int, float]
    auc: Mapping[int, float]
    absent: Mapping[int, str]


def classify(answers: Answers, latents: Int[np.ndarray, " latents"], minimum: int) -> Classified:
    """Figures of each latent with at least `minimum` answered questions of each kind."""
    known = ~np.isnan(answers.said)
    row = np.searchsorted(latents, answers.latent[known])
    truth, said = answers.truth[known], answers.said[known].astype(np.float64)
    size = len(latents)
    sides = (np.bincount(row[truth == kind], minlength=size) for kind in (True, False))
    positives, negatives = (side.astype(np.float64) for side in sides)
    hits = np.bincount(row, truth & (said > 0.5), size)
    false = np.bincount(row, ~truth & (said > 0.5), size)
    enough = (positives >= minimum) & (negatives >= minimum)
    with np.errstate(divide="ignore", invalid="ignore"):
        recall, spared = hits / positives, 1 - false / negatives
        low_recall, high_recall = _wilson(recall, positives)
        low_spared, high_spared = _wilson(spared, negatives)
        value = (recall + spared) / 2
        low = value - np.hypot(recall - low_recall, spared - low_spared) / 2
        high = value + np.hypot(high_recall - recall, high_spared - spared) / 2
        f1 = 2 * hits / (hits + false + positives)
    area = _areas(row, truth, said, size)
    n = np.bincount(row, minlength=size)
    chosen = np.flatnonzero(enough)
    names = latents.tolist()
    asked = np.isin(latents, answers.latent).tolist()
    return Classified(
        accuracy={
            names[i]: Estimate(float(value[i]), float(low[i]), float(high[i]), int(n[i]), "Newcombe") for i in chosen
        },
        f1={names[i]: float(f1[i]) for i in chosen},
        auc={names[i]: float(area[i]) for i in chosen},
        absent={names[i]: _reason(asked[i], positives[i], negatives[i], minimum) for i in np.flatnonzero(~enough)},
    )


def _reason(asked: bool, positives: float, negatives: float, minimum: int) -> str:
    if not asked:
        return "no passages"
    kinds = [name for name, count in (("yes", positives), ("no", negatives)) if count < minimum]
    return f"fewer than {minimum} answers where {' and where '.join(kinds)} is right"


def _wilson(rate: NDArray[np.float64], n: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    centre = (rate + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * np.sqrt(rate * (1 - rate) / n + _Z**2 / (4 * n**2))
    return np.minimum(centre - half, rate), np.maximum(centre + half, rate)


def _areas(
    row: NDArray[np.int64], truth: NDArray[np.bool_], said: NDArray[np.float64], size: int
) -> NDArray[np.float64]:
    """Mann and Whitney's (1947) statistic of each row, from ranks within it."""
    order = np.lexsort((said, row))
    row, truth, said = row[order], truth[order], said[order]
    first = np.searchsorted(row, row, "left")
    tie = np.append(True, (row[1:] != row[:-1]) | (said[1:] != said[:-1]))[: len(row)].cumsum() - 1
    place = (np.arange(len(row)) - first + 1).astype(np.float64)
    mean = np.bincount(tie, place) / np.maximum(np.bincount(tie), 1) if len(row) else np.zeros(1)
    ranks = np.bincount(row, np.where(truth, mean[tie], 0.0), size) if len(row) else np.zeros(size)
    positives, negatives = np.bincount(row, truth, size), np.bincount(row, ~truth, size)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (ranks - positives * (positives + 1) / 2) / (positives * negatives)
