"""Yes-or-no scorers: detection and fuzzing (Paulo et al. 2024, arXiv 2410.13928), and the metrics of their answers.

*Detection*: in which of these passages is the latent active? Half of them activate it: random ones and ones of each
tenth of its activations. In the other half it is inactive on every token: half of these are random passages, a quarter
are passages on which the latent that is nearest by decoder is active, a quarter passages on which a latent is active
that often fires together with it. Departure: the paper's negatives are random, and near ones a variant.

*Fuzzing*: are the marked tokens the ones that activate it? All passages activate it. In half of them the activating
tokens are marked, in the others as many inactive ones. Passages with fewer inactive tokens than active ones are left
out.

Metrics of the answers, for many latents at once:
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
from pydantic import Field

from monosema.atlas import Explanation
from monosema.atlas.layout import mix
from monosema.core import Config, Estimate, wilson_ends
from monosema.core.estimate import Z
from monosema.core.groups import ranks
from monosema.interpretation.samples import Samples
from monosema.interpretation.scores import ScoreTable
from monosema.interpretation.scoring import ACTIVE_KINDS, ScorerInfo, ScoringSession, balanced_entries, pick

DETAILS = ("F1", "precision", "recall", "AUC")
"""Metrics beside balanced accuracy."""


class DetectionConfig(Config):
    """Passages that are asked about."""

    passages: int = Field(40, ge=4)
    """Most passages per latent."""
    minimum: int = Field(5, ge=1)
    """A latent with fewer passages of either kind has no score."""
    seed: int = 0
    """Decides which passages."""


class FuzzingConfig(Config):
    """Passages that are asked about."""

    passages: int = Field(20, ge=2)
    """Most passages per latent."""
    minimum: int = Field(5, ge=1)
    """A latent with fewer passages of either kind has no score."""
    seed: int = 0
    """Decides which passages, and which tokens are marked wrongly."""


class Detection:
    """Scores explanations by detection; see the module and `Scorer`."""

    info = ScorerInfo(
        "detection",
        "in which of these passages is the feature active?",
        chance=0.5,
        unit="balanced accuracy",
        rank=20,
        asks=True,
        scores_rules=True,
    )

    def __init__(self, config: DetectionConfig | None = None) -> None:
        self.config = config or DetectionConfig()

    def score(self, explanations: Mapping[int, Explanation], session: ScoringSession) -> list[ScoreTable]:
        """Return balanced accuracy, F1, precision, recall and AUC."""
        samples = session.samples
        entries = balanced_entries(samples, self.config.passages, self.config.seed)
        latent = samples.latents[samples.row[entries]]
        asked = np.isin(latent, list(explanations))
        entries, latent = entries[asked], latent[asked]
        answers = Answers(latent, samples.active[entries], session.predictor.active(explanations, samples, entries))
        return classify(self.info, answers, np.array(sorted(explanations), np.int64), self.config.minimum)


class Fuzzing:
    """Scores explanations by fuzzing; see the module and `Scorer`."""

    info = ScorerInfo(
        "fuzzing",
        "are the marked tokens the ones that activate it?",
        chance=0.5,
        unit="balanced accuracy",
        rank=30,
        asks=True,
        scores_rules=True,
    )

    def __init__(self, config: FuzzingConfig | None = None) -> None:
        self.config = config or FuzzingConfig()

    def score(self, explanations: Mapping[int, Explanation], session: ScoringSession) -> list[ScoreTable]:
        """Return balanced accuracy, F1, precision, recall and AUC."""
        samples = session.samples
        entries, marks, truth = fuzzing_questions(samples, self.config)
        latent = samples.latents[samples.row[entries]]
        asked = np.isin(latent, list(explanations))
        sureness = session.predictor.highlighted(explanations, samples, entries[asked], marks[asked])
        answers = Answers(latent[asked], truth[asked], sureness)
        return classify(self.info, answers, np.array(sorted(explanations), np.int64), self.config.minimum)


def fuzzing_questions(
    samples: Samples, config: FuzzingConfig
) -> tuple[Int[NDArray[np.int64], " n"], Bool[NDArray[np.bool_], "n width"], Bool[NDArray[np.bool_], " n"]]:
    """Return entries, marks, and a mask of those with true marks."""
    candidates = np.flatnonzero(samples.test & np.isin(samples.kind, ACTIVE_KINDS))
    length = (samples.ids[samples.passage[candidates]] >= 0).sum(axis=1)
    possible = np.zeros(len(samples.kind), np.bool_)
    possible[candidates] = 2 * (samples.activations[candidates] > 0).sum(axis=1) <= length
    entries = pick(samples, possible, config.passages, config.seed)
    names = samples.hashes[samples.passage[entries]] ^ mix(np.array([config.seed % 2**64], np.uint64))
    order = np.lexsort((mix(names), samples.row[entries]))
    truth = np.zeros(len(entries), np.bool_)
    truth[order] = ranks(samples.row[entries][order]) % 2 == 0
    active = samples.activations[entries] > 0
    free = (samples.ids[samples.passage[entries]] >= 0) & ~active
    ticket = mix(names[:, None] + np.arange(active.shape[1], dtype=np.uint64)) >> np.uint64(1)
    ticket[~free] = np.iinfo(np.uint64).max
    place = ticket.argsort(axis=1).argsort(axis=1)
    wrong = place < active.sum(axis=1)[:, None]
    return entries, np.where(truth[:, None], active, wrong), truth


@dataclass(frozen=True)
class Answers:
    """Answers to yes-or-no questions.

    Attributes:
        latent: latent of each question.
        truth: the right answer.
        sureness: probability of a yes, in [0, 1]; NaN where there is no answer.
    """

    latent: Int[np.ndarray, " n"]
    truth: Bool[np.ndarray, " n"]
    sureness: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class _Counts:
    """Numbers of questions about each latent where yes and where no is right, and of those answered with yes."""

    positives: NDArray[np.float64]
    negatives: NDArray[np.float64]
    hits: NDArray[np.float64]
    false: NDArray[np.float64]


def classify(
    info: ScorerInfo, answers: Answers, latents: Int[np.ndarray, " latents"], minimum: int
) -> list[ScoreTable]:
    """Score each latent with at least `minimum` answered questions of each kind.

    Returns:
        Balanced accuracy, then the metrics of `DETAILS`. `n` counts passages; of precision those with a yes, of recall
        those where a yes is right.
    """
    known = ~np.isnan(answers.sureness)
    row = np.searchsorted(latents, answers.latent[known])
    truth, sureness = answers.truth[known], answers.sureness[known].astype(np.float64)
    size, names = len(latents), latents.tolist()
    sums = (truth, ~truth, truth & (sureness > 0.5), ~truth & (sureness > 0.5))
    counts = _Counts(*(np.bincount(row, which, size).astype(np.float64) for which in sums))
    enough = (counts.positives >= minimum) & (counts.negatives >= minimum)
    asked = np.isin(latents, answers.latent)
    absent = {
        names[i]: _reason(bool(asked[i]), counts.positives[i], counts.negatives[i], minimum)
        for i in np.flatnonzero(~enough)
    }
    chosen = np.flatnonzero(enough)
    tables = [info.table(_estimates(names, chosen, _balanced(counts), "Newcombe"), absent)]
    details = _shares(counts)
    # Plain answers put passages in no order.
    area = np.full(size, np.nan) if np.isin(sureness, (0.0, 1.0)).all() else _areas(row, truth, sureness, size)
    details["AUC"] = (area, *area_ends(area, counts.positives, counts.negatives), counts.positives + counts.negatives)
    reasons = {"precision": "there was no yes", "AUC": "the answers have no probabilities"}
    for name in DETAILS:
        estimates = _estimates(names, chosen, details[name], "Newcombe 2006" if name == "AUC" else "Wilson")
        lacking = {names[i]: reasons[name] for i in chosen[np.isnan(details[name][0][chosen])]}
        tables.append(ScoreTable(f"{info.name} {name}", estimates, absent | lacking, unit=name, part="detail"))
    return tables


def area_ends(
    area: Float[np.ndarray, " n"], positives: Float[np.ndarray, " n"], negatives: Float[np.ndarray, " n"]
) -> tuple[Float[NDArray[np.float64], " n"], Float[NDArray[np.float64], " n"]]:
    """Return the ends of the interval of areas under the curve, given their positives and negatives; see the module."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return _below(area, positives, negatives), 1 - _below(1 - area, positives, negatives)


def _below(
    area: NDArray[np.float64], positives: NDArray[np.float64], negatives: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Find the t ≤ area with area − t = z √V(t), by halving."""
    low, high = np.zeros_like(area), area.astype(np.float64)
    spare = (positives + negatives) / 2 - 1
    for _ in range(50):
        t = (low + high) / 2
        variance = t * (1 - t) * (1 + spare * ((1 - t) / (2 - t) + t / (1 + t))) / (positives * negatives)
        far = area - t > Z * np.sqrt(variance)
        low, high = np.where(far, t, low), np.where(far, high, t)
    return np.where(np.isnan(area), np.nan, high)


_Metric = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""Values, low ends, high ends, and sample sizes."""


def _estimates(names: Sequence[int], chosen: NDArray[np.int64], metric: _Metric, method: str) -> dict[int, Estimate]:
    value, low, high, n = metric
    return {
        names[i]: Estimate(float(value[i]), float(low[i]), float(high[i]), int(n[i]), method)
        for i in chosen
        if not np.isnan(value[i])
    }


def _balanced(counts: _Counts) -> _Metric:
    with np.errstate(divide="ignore", invalid="ignore"):
        recall, specificity = counts.hits / counts.positives, 1 - counts.false / counts.negatives
    low_recall, high_recall = wilson_ends(recall, counts.positives)
    low_specificity, high_specificity = wilson_ends(specificity, counts.negatives)
    value = (recall + specificity) / 2
    low = value - np.hypot(recall - low_recall, specificity - low_specificity) / 2
    high = value + np.hypot(high_recall - recall, high_specificity - specificity) / 2
    return value, low, high, counts.positives + counts.negatives


def _shares(counts: _Counts) -> dict[str, _Metric]:
    """Return F1, precision and recall."""
    either = counts.positives + counts.false
    shares: dict[str, _Metric] = {}
    for name, n in (("F1", either), ("precision", counts.hits + counts.false), ("recall", counts.positives)):
        with np.errstate(divide="ignore", invalid="ignore"):
            share = counts.hits / n
        low, high = wilson_ends(share, n)
        shares[name] = (share, low, high, n)
    f1, low, high = (2 * end / (1 + end) for end in shares["F1"][:3])
    return shares | {"F1": (f1, low, high, counts.positives + counts.negatives)}


def _reason(asked: bool, positives: float, negatives: float, minimum: int) -> str:
    if not asked:
        return "no passages"
    kinds = [name for name, count in (("yes", positives), ("no", negatives)) if count < minimum]
    return f"fewer than {minimum} answers where {' and where '.join(kinds)} is right"


def _areas(
    row: NDArray[np.int64], truth: NDArray[np.bool_], sureness: NDArray[np.float64], size: int
) -> NDArray[np.float64]:
    """Return Mann and Whitney's (1947) statistic of each row, from ranks within it."""
    order = np.lexsort((sureness, row))
    row, truth, sureness = row[order], truth[order], sureness[order]
    first = np.searchsorted(row, row, "left")
    tie = np.append(True, (row[1:] != row[:-1]) | (sureness[1:] != sureness[:-1]))[: len(row)].cumsum() - 1
    place = (np.arange(len(row)) - first + 1).astype(np.float64)
    mean = np.bincount(tie, place) / np.maximum(np.bincount(tie), 1) if len(row) else np.zeros(1)
    ranks = np.bincount(row, np.where(truth, mean[tie], 0.0), size) if len(row) else np.zeros(size)
    positives, negatives = np.bincount(row, truth, size), np.bincount(row, ~truth, size)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((ranks - positives * (positives + 1) / 2) / (positives * negatives))
