"""Simulation (Bills et al. 2023, as arXiv 2309.08600 used it): Pearson's correlation of predicted and true activations
over all tokens of all scored passages together.

    ρ = cov(p, a) / √(var p · var a),   sums over the tokens of a latent's passages

The passages are 5 of the strongest and 5 random activating ones of the test side, and the figure is also given for
each of the two alone. Latents with fewer than 20 activating passages are skipped. Departures: passages are as long as
the atlas's (the paper's have 64 tokens); where the pool has fewer than 5 random activating passages of a latent, the
atlas's, drawn from each tenth of its activating passages, stand in. The interval is a percentile bootstrap over
passages. A prediction that is the same on all tokens has no correlation: it is absent, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from pydantic import Field

from monosema.core import Config, Estimate, numpy_generator
from monosema.interpretation.protocol import Explained, Reader
from monosema.interpretation.samples import KINDS, Samples, ranks
from monosema.interpretation.sampling import too_few
from monosema.interpretation.scorers.picking import FROM_ALL, pick
from monosema.interpretation.scorers.scored import Scored

_BLOCK = 256


class SimulationConfig(Config):
    """Which passages are simulated."""

    top: int = Field(5, ge=0)
    """Passages of the strongest ones."""
    random: int = Field(5, ge=0)
    """Random activating passages."""
    minimum: int = Field(20, ge=1)
    """Latents with fewer activating passages, on both sides together, are skipped."""
    resamples: int = Field(400, ge=0)
    """Resamples of the bootstrap; with 0 both ends of the interval are the figure."""
    seed: int = 0
    """Decides which passages, and the resamples."""


def score_simulation(
    reader: Reader, explained: Mapping[int, Explained], samples: Samples, config: SimulationConfig | None = None
) -> tuple[Scored, Scored, Scored]:
    """Score explanations by simulation: on all passages, on the strongest, and on random ones. Controls are empty."""
    config = config or SimulationConfig()
    skipped = too_few(samples, config.minimum)
    latents = np.array(sorted(explained), np.int64)
    top = pick(samples, samples.kind == KINDS.index("top"), config.top, config.seed)
    random = _random(samples, config)
    entries = np.concatenate([top, random])
    owner = samples.latents[samples.row[entries]]
    wanted = np.isin(owner, latents) & ~np.isin(owner, skipped)
    entries, is_top = entries[wanted], np.arange(len(entries))[wanted] < len(top)
    predicted = reader.activations(explained, samples, entries)
    sums, answered = _sums(predicted, samples, entries)
    row = np.searchsorted(latents, samples.latents[samples.row[entries]])
    absent = {
        latent: f"fewer than {config.minimum} activating passages" for latent in skipped.tolist() if latent in explained
    }
    parts = (
        ("simulation", answered),
        ("simulation (top)", answered & is_top),
        ("simulation (random)", answered & ~is_top),
    )
    return tuple(  # type: ignore[return-value]
        _figures(name, sums[used], row[used], latents, absent, config) for name, used in parts
    )


def _random(samples: Samples, config: SimulationConfig) -> NDArray[np.int64]:
    """Random activating passages: those of the pool first."""
    entries = pick(samples, np.isin(samples.kind, FROM_ALL), len(samples.kind), config.seed)
    order = np.lexsort((samples.kind[entries] != KINDS.index("random"), samples.row[entries]))
    return np.sort(entries[order[ranks(samples.row[entries[order]]) < config.random]])


def _sums(
    predicted: NDArray[np.float32], samples: Samples, entries: Int[np.ndarray, " n"]
) -> tuple[Float[NDArray[np.float64], "n 8"], Any]:
    """Of each passage n, Σp, Σa, Σp², Σa², Σpa and the smallest and largest p; and whether all of it was answered."""
    shown = samples.ids[samples.passage[entries]] >= 0
    p = np.where(shown, predicted, 0).astype(np.float64)
    a = np.where(shown, samples.activations[entries], 0).astype(np.float64)
    ends = np.where(shown, predicted, np.inf).min(axis=1), np.where(shown, predicted, -np.inf).max(axis=1)
    columns = (shown.sum(axis=1), p.sum(1), a.sum(1), (p * p).sum(1), (a * a).sum(1), (p * a).sum(1), *ends)
    return np.stack([column.astype(np.float64) for column in columns], axis=1), np.isfinite(p).all(axis=1)


def _figures(
    name: str,
    sums: NDArray[np.float64],
    row: NDArray[np.int64],
    latents: NDArray[np.int64],
    absent: Mapping[int, str],
    config: SimulationConfig,
) -> Scored:
    order = np.argsort(row, kind="stable")
    sums, row = sums[order], row[order]
    first = np.searchsorted(row, np.arange(len(latents) + 1))
    estimates: dict[int, Estimate] = {}
    reasons = dict(absent)
    draws = numpy_generator(config.seed, name)
    for low in range(0, len(latents), _BLOCK):
        block = np.arange(low, min(low + _BLOCK, len(latents)))
        count = first[block + 1] - first[block]
        total = np.stack([sums[first[i] : first[i + 1], :6].sum(axis=0) for i in block])
        value = _correlation(total)
        ends = _bootstrap(sums, first[block], count, config.resamples, draws)
        for place, index in enumerate(block.tolist()):
            latent = int(latents[index])
            mine = sums[first[index] : first[index + 1]]
            if latent in reasons:
                continue
            if not len(mine):
                reasons[latent] = "no passage was predicted"
            elif mine[:, 6].min() == mine[:, 7].max():
                reasons[latent] = "the prediction is the same on all tokens"
            elif np.isnan(value[place]):
                reasons[latent] = "the activation is the same on all tokens"
            else:
                low_end, high_end = ends[:, place] if config.resamples else (value[place], value[place])
                estimates[latent] = Estimate(float(value[place]), float(low_end), float(high_end), int(count[place]))
    return Scored(name, estimates, {}, reasons)


def _correlation(total: Float[np.ndarray, "*shape 6"]) -> Float[NDArray[np.float64], "*shape"]:
    """Pearson's correlation from sums; NaN where one side is constant."""
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
    """Ends of the interval of each latent, from passages drawn again; resamples without a correlation are left out."""
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
