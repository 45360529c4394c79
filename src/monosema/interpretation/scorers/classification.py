"""Yes-or-no answers of many latents at once: balanced accuracy, F1, precision, recall and the area under the curve.

    balanced accuracy = ½ (TPR + TNR),   ½ for whoever always says no
    F1 = 2 TP / (2 TP + FP + FN),   precision = TP / (TP + FP),   recall = TP / (TP + FN)
    AUC = P(yes is surer on a passage where it is right than on one where it is wrong), ties counting half

A bootstrap over passages would call twenty right answers of twenty certain: every resample is right. So the intervals
are of forms that hold at the ends:

* balanced accuracy: Wilson's (1927) intervals of the two rates, joined by Newcombe's (1998) square-and-add rule;
* precision and recall: Wilson's;
* F1: Wilson's interval of F* = TP / (TP + FP + FN), put through F1 = 2 F* / (1 + F*), which grows with it (Lam 2023,
  arXiv 2309.14621, "indirect Wilson");
* AUC: the method that Newcombe (2006, Statistics in Medicine 25, 559–573) recommends, his fifth: the ends are the t
  with |AUC − t| = z √V(t), V(t) = t (1 − t) (1 + N ((1 − t) / (2 − t) + t / (1 + t))) / (m n), N = (m + n) / 2 − 1.

There is no AUC where all answers are plain: only probabilities order passages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from monosema.core import Estimate, wilson_ends
from monosema.core.estimate import Z
from monosema.interpretation.scorers.scored import Scored

DETAILS = ("F1", "precision", "recall", "AUC")
"""Figures beside balanced accuracy."""


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
        details: likewise, by a name of `DETAILS`; n of precision counts passages with a yes, of recall those where a
            yes is right.
        absent: why there is no figure.
        lacking: by a name of `DETAILS`, why there is not that one.
    """

    accuracy: Mapping[int, Estimate]
    details: Mapping[str, Mapping[int, Estimate]]
    absent: Mapping[int, str]
    lacking: Mapping[str, Mapping[int, str]]

    def scored(self, name: str) -> list[Scored]:
        """All figures as those of the scorers `name`, `name F1`, `name precision`, … without controls."""
        found = [Scored(name, self.accuracy, {}, self.absent)]
        for detail, estimates in self.details.items():
            found.append(Scored(f"{name} {detail}", estimates, {}, {**self.absent, **self.lacking[detail]}))
        return found


@dataclass(frozen=True)
class _Counts:
    """How often each latent was asked about where yes and where no is right, and got a yes."""

    positives: NDArray[np.float64]
    negatives: NDArray[np.float64]
    hits: NDArray[np.float64]
    false: NDArray[np.float64]


def classify(answers: Answers, latents: Int[np.ndarray, " latents"], minimum: int) -> Classified:
    """Figures of each latent with at least `minimum` answered questions of each kind."""
    known = ~np.isnan(answers.said)
    row = np.searchsorted(latents, answers.latent[known])
    truth, said = answers.truth[known], answers.said[known].astype(np.float64)
    size = len(latents)
    sums = (truth, ~truth, truth & (said > 0.5), ~truth & (said > 0.5))
    counts = _Counts(*(np.bincount(row, which, size).astype(np.float64) for which in sums))
    chosen = np.flatnonzero((counts.positives >= minimum) & (counts.negatives >= minimum))
    names, asked = latents.tolist(), np.isin(latents, answers.latent).tolist()
    plain = bool(np.isin(said, (0.0, 1.0)).all())
    details = _shares(counts)
    area = np.full(size, np.nan) if plain else _areas(row, truth, said, size)
    details["AUC"] = (area, *area_ends(area, counts.positives, counts.negatives), counts.positives + counts.negatives)
    reasons = {"precision": "there was no yes", "AUC": "the answers have no probabilities"}
    return Classified(
        accuracy=_estimates(names, chosen, _balanced(counts), "Newcombe"),
        details={
            name: _estimates(names, chosen, details[name], "Newcombe 2006" if name == "AUC" else "Wilson")
            for name in DETAILS
        },
        absent={
            names[i]: _reason(asked[i], counts.positives[i], counts.negatives[i], minimum)
            for i in sorted(set(range(size)) - set(chosen.tolist()))
        },
        lacking={
            name: {names[i]: reasons[name] for i in chosen[np.isnan(details[name][0][chosen])]} for name in DETAILS
        },
    )


def area_ends(
    area: Float[np.ndarray, " n"], positives: Float[np.ndarray, " n"], negatives: Float[np.ndarray, " n"]
) -> tuple[Float[NDArray[np.float64], " n"], Float[NDArray[np.float64], " n"]]:
    """Ends of the interval of areas under the curve, each of so many positives and negatives; see the module."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return _below(area, positives, negatives), 1 - _below(1 - area, positives, negatives)


def _below(
    area: NDArray[np.float64], positives: NDArray[np.float64], negatives: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The t ≤ area with area − t = z √V(t), by halving."""
    low, high = np.zeros_like(area), area.astype(np.float64)
    spare = (positives + negatives) / 2 - 1
    for _ in range(50):
        t = (low + high) / 2
        variance = t * (1 - t) * (1 + spare * ((1 - t) / (2 - t) + t / (1 + t))) / (positives * negatives)
        far = area - t > Z * np.sqrt(variance)
        low, high = np.where(far, t, low), np.where(far, high, t)
    return np.where(np.isnan(area), np.nan, high)


_Figures = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""Values, low ends, high ends, and what they count."""


def _estimates(names: Sequence[int], chosen: NDArray[np.int64], figures: _Figures, method: str) -> dict[int, Estimate]:
    value, low, high, n = figures
    return {
        names[i]: Estimate(float(value[i]), float(low[i]), float(high[i]), int(n[i]), method)
        for i in chosen
        if not np.isnan(value[i])
    }


def _balanced(counts: _Counts) -> _Figures:
    with np.errstate(divide="ignore", invalid="ignore"):
        recall, spared = counts.hits / counts.positives, 1 - counts.false / counts.negatives
    low_recall, high_recall = wilson_ends(recall, counts.positives)
    low_spared, high_spared = wilson_ends(spared, counts.negatives)
    value = (recall + spared) / 2
    low = value - np.hypot(recall - low_recall, spared - low_spared) / 2
    high = value + np.hypot(high_recall - recall, high_spared - spared) / 2
    return value, low, high, counts.positives + counts.negatives


def _shares(counts: _Counts) -> dict[str, _Figures]:
    """F1, precision and recall."""
    either = counts.positives + counts.false
    found: dict[str, _Figures] = {}
    for name, n in (("F1", either), ("precision", counts.hits + counts.false), ("recall", counts.positives)):
        with np.errstate(divide="ignore", invalid="ignore"):
            share = counts.hits / n
        low, high = wilson_ends(share, n)
        found[name] = (share, low, high, n)
    f1, low, high = (2 * end / (1 + end) for end in found["F1"][:3])
    return found | {"F1": (f1, low, high, counts.positives + counts.negatives)}


def _reason(asked: bool, positives: float, negatives: float, minimum: int) -> str:
    if not asked:
        return "no passages"
    kinds = [name for name, count in (("yes", positives), ("no", negatives)) if count < minimum]
    return f"fewer than {minimum} answers where {' and where '.join(kinds)} is right"


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
        return np.asarray((ranks - positives * (positives + 1) / 2) / (positives * negatives))
