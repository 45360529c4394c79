"""Simulation (Bills et al. 2023, as arXiv 2309.08600 used it): Pearson's correlation of predicted and true activations
over all tokens of all scored passages together.

    ρ = cov(p, a) / √(var p · var a),   sums over the tokens of a latent's passages

The passages are 5 of the strongest and 5 random activating ones of the test split; each of the two kinds is also scored
alone. Latents with fewer than 20 activating passages are skipped. Departures: passages are as long as
the atlas's (the paper's have 64 tokens); where the pool has fewer than 5 random activating passages of a latent, the
atlas's, drawn from each tenth of its activating passages, stand in. The interval is a percentile bootstrap over
passages. A prediction that is the same on all tokens has no correlation: it is absent, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from pydantic import Field

from monosema.atlas import Explanation
from monosema.core import Config, Estimate, numpy_generator
from monosema.core.groups import ranks
from monosema.interpretation.samples import KINDS, Samples
from monosema.interpretation.sampling import too_few
from monosema.interpretation.scores import ScoreTable
from monosema.interpretation.scoring import ACTIVE_KINDS, ScorerInfo, ScoringSession, pick

_BLOCK = 256


class SimulationConfig(Config):
    """Passages that are simulated."""

    top: int = Field(5, ge=0)
    """Passages of the strongest ones."""
    random: int = Field(5, ge=0)
    """Random activating passages."""
    minimum: int = Field(20, ge=1)
    """Latents with fewer activating passages, of both splits together, are skipped."""
    resamples: int = Field(400, ge=0)
    """Resamples of the bootstrap; with 0 both ends of the interval are the value."""
    seed: int = 0
    """Decides the passages and the resamples."""


class Simulation:
    """Scores explanations by simulation; see the module and `Scorer`."""

    info = ScorerInfo(
        "simulation",
        "how active is the feature on each token?",
        chance=0.0,
        unit="Pearson's ρ",
        rank=10,
        asks=True,
        scores_rules=True,
    )

    def __init__(self, config: SimulationConfig | None = None) -> None:
        self.config = config or SimulationConfig()

    def score(self, explanations: Mapping[int, Explanation], session: ScoringSession) -> list[ScoreTable]:
        """Return scores on all passages, on the strongest, and on random ones."""
        config, samples = self.config, session.samples
        skipped = too_few(samples, config.minimum)
        latents = np.array(sorted(explanations), np.int64)
        top = pick(samples, samples.kind == KINDS.index("top"), config.top, config.seed)
        entries = np.concatenate([top, _random(samples, config)])
        owner = samples.latents[samples.row[entries]]
        asked = np.isin(owner, latents) & ~np.isin(owner, skipped)
        entries, is_top = entries[asked], np.arange(len(entries))[asked] < len(top)
        predicted = session.predictor.activations(explanations, samples, entries)
        sums, answered = _sums(predicted, samples, entries)
        row = np.searchsorted(latents, samples.latents[samples.row[entries]])
        reason = f"fewer than {config.minimum} activating passages"
        absent = {latent: reason for latent in skipped.tolist() if latent in explanations}
        resamples = config.resamples if session.intervals else 0

        def correlations(name: str, used: NDArray[np.bool_]) -> ScoreTable:
            draws = numpy_generator(config.seed, name)
            return self.info.table(*_correlations(sums[used], row[used], latents, absent, resamples, draws))

        # An explanation may be right about the strongest passages alone, so both kinds are also scored apart.
        apart = (
            (f"simulation ({name})", rank, used) for name, rank, used in (("top", 90, is_top), ("random", 80, ~is_top))
        )
        return [
            correlations("simulation", answered),
            *(
                replace(correlations(name, answered & used), scorer=name, rank=rank, part="subset")
                for name, rank, used in apart
            ),
        ]


def _random(samples: Samples, config: SimulationConfig) -> NDArray[np.int64]:
    """Return random activating passages: those of the pool first."""
    entries = pick(samples, np.isin(samples.kind, ACTIVE_KINDS), len(samples.kind), config.seed)
    order = np.lexsort((samples.kind[entries] != KINDS.index("random"), samples.row[entries]))
    return np.sort(entries[order[ranks(samples.row[entries[order]]) < config.random]])


def _sums(
    predicted: NDArray[np.float32], samples: Samples, entries: Int[np.ndarray, " n"]
) -> tuple[Float[NDArray[np.float64], "n 8"], NDArray[np.bool_]]:
    """Return n, Σp, Σa, Σp², Σa², Σpa and the smallest and largest p of each passage, and a mask of those that were
    answered throughout."""
    shown = samples.ids[samples.passage[entries]] >= 0
    p = np.where(shown, predicted, 0).astype(np.float64)
    a = np.where(shown, samples.activations[entries], 0).astype(np.float64)
    ends = np.where(shown, predicted, np.inf).min(axis=1), np.where(shown, predicted, -np.inf).max(axis=1)
    columns = (shown.sum(axis=1), p.sum(1), a.sum(1), (p * p).sum(1), (a * a).sum(1), (p * a).sum(1), *ends)
    return np.stack([column.astype(np.float64) for column in columns], axis=1), np.asarray(np.isfinite(p).all(axis=1))


def _correlations(
    sums: NDArray[np.float64],
    row: NDArray[np.int64],
    latents: NDArray[np.int64],
    absent: Mapping[int, str],
    resamples: int,
    draws: np.random.Generator,
) -> tuple[dict[int, Estimate], dict[int, str]]:
    """Return the correlation of each latent, or the reason for its absence."""
    order = np.argsort(row, kind="stable")
    sums, row = sums[order], row[order]
    first = np.searchsorted(row, np.arange(len(latents) + 1))
    estimates: dict[int, Estimate] = {}
    reasons = dict(absent)
    for low in range(0, len(latents), _BLOCK):
        block = np.arange(low, min(low + _BLOCK, len(latents)))
        count = first[block + 1] - first[block]
        total = np.stack([sums[first[i] : first[i + 1], :6].sum(axis=0) for i in block])
        value = _correlation(total)
        ends = _bootstrap(sums, first[block], count, resamples, draws)
        for column, index in enumerate(block.tolist()):
            latent = int(latents[index])
            own = sums[first[index] : first[index + 1]]
            if latent in reasons:
                continue
            if not len(own):
                reasons[latent] = "no passage was predicted"
            elif own[:, 6].min() == own[:, 7].max():
                reasons[latent] = "the prediction is the same on all tokens"
            elif np.isnan(value[column]):
                reasons[latent] = "the activation is the same on all tokens"
            else:
                low_end, high_end = ends[:, column] if resamples else (value[column], value[column])
                estimates[latent] = Estimate(float(value[column]), float(low_end), float(high_end), int(count[column]))
    return estimates, reasons


def _correlation(total: Float[np.ndarray, "*shape 6"]) -> Float[NDArray[np.float64], "*shape"]:
    """Return Pearson's correlation from sums; NaN where predictions or activations are constant."""
    n, p, a, pp, aa, pa = np.moveaxis(total, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = (pp - p * p / n) * (aa - a * a / n)
        value = (pa - p * a / n) / np.sqrt(spread)
    return np.where(spread > 0, np.clip(value, -1, 1), np.nan)


def _bootstrap(
    sums: NDArray[np.float64],
    first: NDArray[np.int64],
    count: NDArray[np.int64],
    resamples: int,
    draws: np.random.Generator,
) -> NDArray[np.float64]:
    """Return the ends of the interval of each latent, from resampled passages; resamples without a correlation are
    left out."""
    if not resamples or not len(sums):
        return np.full((2, len(first)), np.nan)
    most = max(int(count.max()), 1)
    drawn = (draws.random((len(first), resamples, most)) * count[:, None, None]).astype(np.int64) + first[:, None, None]
    inside = np.arange(most) < count[:, None, None]
    total = np.where(inside[..., None], sums[np.minimum(drawn, len(sums) - 1), :6], 0).sum(axis=2)
    value = np.sort(_correlation(total), axis=1)
    known = (~np.isnan(value)).sum(axis=1)
    ends = [np.floor(level * np.maximum(known - 1, 0)).astype(np.int64) for level in (0.025, 0.975)]
    return np.stack([np.take_along_axis(value, end[:, None], axis=1)[:, 0] for end in ends])
