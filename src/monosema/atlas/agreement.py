"""Agreement of those who judge features: of people with people, of explainers with explainers.

Votes and yes-or-no predictions are compared by Krippendorff's α for nominal data (Krippendorff 2011, "Computing
Krippendorff's alpha-reliability"): with n_uc the number of raters who gave the unit u the category c, m_u = Σ_c n_uc,
and sums over units that have at least two ratings,

    D_o = Σ_u Σ_c n_uc (m_u − n_uc) / (m_u − 1),    D_e = Σ_c N_c (N − N_c) / (N − 1),    α = 1 − D_o / D_e,

where N_c = Σ_u n_uc and N = Σ_c N_c. 1 is full agreement, 0 what chance gives, below 0 is worse than chance; raters may
leave units out. The interval is a percentile bootstrap over units.

Texts are compared by the words they share, |A ∩ B| / |A ∪ B| of their sets of words (Jaccard), on average over
features; beside it stands the same figure for texts of different features, drawn at random.

How far people and explainers agree is also told by scores: by one scorer, on the features that both explain, the mean
of the person's score less the explainer's. Near 0, with a narrow interval, what they say predicts alike.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from monosema.atlas.feature import PERSON
from monosema.atlas.query import Atlas
from monosema.core import Estimate, bootstrap_mean, numpy_generator

_RESAMPLES = 1000
_TAIL = 0.025


@dataclass(frozen=True)
class Agreement:
    """Agreement of two judges, or of several.

    Attributes:
        between: who.
        measure: "votes" or "passages" (Krippendorff's α), "words" (Jaccard), or "SCORER, difference" (of scores, the
            first's less the second's).
        estimate: the figure; `n` counts explanations voted on, or features. None where it can't be computed.
        control: what texts of different features come to; None for α, which counts chance in.
        absent: why there is no figure.
    """

    between: tuple[str, ...]
    measure: str
    estimate: Estimate | None
    control: float | None = None
    absent: str | None = None


def krippendorff(ratings: Float[np.ndarray, "units raters"], groups: Sequence[int] | None = None) -> Estimate | None:
    """Krippendorff's α for nominal data.

    Args:
        ratings: a number for each category; NaN where a rater left a unit out.
        groups: units of one group (the passages of one feature) are drawn together by the bootstrap; None where each
            unit stands alone.

    Returns:
        The estimate, `n` counting groups; None where no unit has two ratings, or all ratings are equal: then nothing
        tells agreement from a habit.
    """
    known = ~np.isnan(ratings)
    rated = known.sum(axis=1) >= 2
    ratings, known = ratings[rated], known[rated]
    categories = np.unique(ratings[known])
    if len(categories) < 2:
        return None
    counts = (ratings[:, :, None] == categories).sum(axis=1).astype(np.float64)
    total = counts.sum(axis=1, keepdims=True)
    observed = (counts * (total - counts) / (total - 1)).sum(axis=1)
    group = np.arange(len(rated)) if groups is None else np.asarray(groups)
    _, group = np.unique(group[rated], return_inverse=True)
    n = int(group.max()) + 1
    observed = np.bincount(group, observed, n)
    counts = np.stack([np.bincount(group, column, n) for column in counts.T], axis=1)
    draws = numpy_generator(0, "agreement").integers(0, n, (_RESAMPLES, n))
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = _alpha(observed[draws].sum(axis=1), counts[draws].sum(axis=1))
    resampled = resampled[np.isfinite(resampled)]
    value = float(_alpha(observed.sum(keepdims=True), counts.sum(axis=0, keepdims=True))[0])
    low, high = np.quantile(resampled, [_TAIL, 1 - _TAIL]) if len(resampled) else (value, value)
    return Estimate(value, float(low), float(high), n)


def _alpha(observed: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    total = counts.sum(axis=-1, keepdims=True)
    expected = (counts * (total - counts) / (total - 1)).sum(axis=-1)
    return 1 - observed / expected


def agreement(atlas: Atlas) -> dict[str, list[Agreement]]:
    """Compare people by their votes, and each two judges by their words: people, and methods of explaining; a person
    and a method by their scores, too.

    Returns:
        Agreements by "people", "people_and_explainers" and "explainers".
    """
    texts: dict[tuple[bool, str], dict[int, str]] = {}
    for row in atlas.sql("select latent, author, method, text from explanations order by author, method"):
        judge = (False, row["author"]) if row["method"] == PERSON else (True, row["method"])
        texts.setdefault(judge, {})[row["latent"]] = row["text"]
    found: dict[str, list[Agreement]] = {"people": [_votes(atlas)], "people_and_explainers": [], "explainers": []}
    for one, other in itertools.combinations(sorted(texts), 2):
        group = list(found)[one[0] + other[0]]
        found[group].append(shared_words((one[1], texts[one]), (other[1], texts[other])))
    found["people_and_explainers"] += _differences(atlas)
    return found


def _votes(atlas: Atlas) -> Agreement:
    rows = atlas.sql("select latent, author, method, text, voter, vote from votes")
    voters = sorted({row["voter"] for row in rows})
    place: dict[tuple[Any, ...], int] = {}
    units = [place.setdefault((*list(row.values())[:4],), len(place)) for row in rows]
    ratings = np.full((len(place), len(voters)), np.nan)
    for unit, row in zip(units, rows, strict=True):
        ratings[unit, voters.index(row["voter"])] = row["vote"]
    if not ((~np.isnan(ratings)).sum(axis=1) >= 2).any():
        return Agreement(tuple(voters), "votes", None, absent="no explanation has votes of two people")
    estimate = krippendorff(ratings)
    return Agreement(tuple(voters), "votes", estimate, absent=None if estimate else "all votes are alike")


def _differences(atlas: Atlas) -> list[Agreement]:
    rows = atlas.sql(
        """
        select one.author as person, other.method as method, one.scorer as scorer,
            list(one.value - other.value order by one.latent) as differences
        from scores as one join scores as other on one.latent = other.latent and one.scorer = other.scorer
        where one.method = ? and other.method <> ? group by all order by all
        """,
        [PERSON, PERSON],
    )
    return [
        Agreement((row["person"], row["method"]), f"{row['scorer']}, difference", bootstrap_mean(row["differences"]))
        for row in rows
    ]


def shared_words(first: tuple[str, Mapping[int, str]], second: tuple[str, Mapping[int, str]]) -> Agreement:
    """Compare two judges' texts for the same features by the words they share.

    Args:
        first, second: a name, and texts by feature; features that one of them has no words for are left out.
    """
    names = (first[0], second[0])
    words = [{latent: _words(text) for latent, text in texts.items()} for _, texts in (first, second)]
    latents = sorted(latent for latent in words[0] if words[0][latent] and words[1].get(latent))
    if not latents:
        return Agreement(names, "words", None, absent="no feature has words of both")
    mine, theirs = ([one[latent] for latent in latents] for one in words)
    estimate = bootstrap_mean([_jaccard(a, b) for a, b in zip(mine, theirs, strict=True)])
    control = None
    if len(latents) > 1:
        order = numpy_generator(0, "agreement").permutation(len(latents))
        control = float(np.mean([_jaccard(mine[a], theirs[b]) for a, b in zip(order, np.roll(order, 1), strict=True)]))
    return Agreement(names, "words", estimate, control)


def _words(text: str) -> set[str]:
    """Words of letters, in lower case; shares such as "(61 %)" and signs are none."""
    return set(re.findall(r"[^\W\d_]+", text.lower()))


def _jaccard(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b)
