"""Agreement of those who judge features: of people with people, of explainers with explainers, of both with each other.

Votes, and yes-or-no predictions of rules, are compared by Krippendorff's α for nominal data (Krippendorff 2011,
"Computing Krippendorff's alpha-reliability"): with n_uc the number of raters who gave the unit u the category c,
m_u = Σ_c n_uc, and sums over units that have at least two ratings,

    D_o = Σ_u Σ_c n_uc (m_u − n_uc) / (m_u − 1),    D_e = Σ_c N_c (N − N_c) / (N − 1),    α = 1 − D_o / D_e,

where N_c = Σ_u n_uc and N = Σ_c N_c. 1 is full agreement, 0 what chance gives, below 0 is worse than chance; raters may
leave units out. The interval is a percentile bootstrap over units. Rules predict the active ones among test passages of
a feature and as many of other features, which no explainer has seen; there the bootstrap is over features.

Texts are compared by the words they share, |A ∩ B| / |A ∪ B| of their sets of words (Jaccard), on average over
features; beside it stands the same figure for texts of different features, drawn at random. People and explainers are
also compared by scores: by one scorer, on the features that both explain, the mean of the person's score less the
explainer's. Two judges may agree and both be wrong: the scores tell.
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

from monosema.atlas import PERSON, Atlas
from monosema.core import Estimate, bootstrap_mean, numpy_generator
from monosema.interpretation.explainers.columns import METHOD as COLUMNS
from monosema.interpretation.rules import Rule, predict, rule_from_json

_RESAMPLES = 1000
_TAIL = 0.025
_FEATURES, _PASSAGES = 500, 8
"""Most features on which two methods' rules are compared, and most passages of each."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of two judges, or of several.

    Attributes:
        between: names of the judges.
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
    """Return Krippendorff's α for nominal data.

    Args:
        ratings: a number for each category; NaN where a rater left a unit out.
        groups: units of one group (the passages of one feature) are drawn together by the bootstrap; None where each
            unit stands alone.

    Returns:
        The estimate, `n` counting groups; None where no unit has two ratings, or all ratings are equal: then nothing
        tells agreement from a habit.
    """
    rated = (~np.isnan(ratings)).sum(axis=1) >= 2
    categories = np.unique(ratings[rated][~np.isnan(ratings[rated])])
    if len(categories) < 2:
        return None
    counts = (ratings[rated][:, :, None] == categories).sum(axis=1).astype(np.float64)
    total = counts.sum(axis=1, keepdims=True)
    observed = (counts * (total - counts) / (total - 1)).sum(axis=1)
    _, group = np.unique((np.arange(len(rated)) if groups is None else np.asarray(groups))[rated], return_inverse=True)
    observed = np.bincount(group, observed)
    counts = np.stack([np.bincount(group, column) for column in counts.T], axis=1)
    n = len(observed)
    draws = numpy_generator(0, "agreement").integers(0, n, (_RESAMPLES, n))
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = _alpha(observed[draws].sum(axis=1), counts[draws].sum(axis=1))
    resampled = resampled[np.isfinite(resampled)]
    value = float(_alpha(observed.sum(keepdims=True), counts.sum(axis=0, keepdims=True))[0])
    low, high = np.quantile(resampled, [_TAIL, 1 - _TAIL]) if len(resampled) else (value, value)
    return Estimate(value, float(low), float(high), n)


def _alpha(observed: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    total = counts.sum(axis=-1, keepdims=True)
    return 1 - observed / (counts * (total - counts) / (total - 1)).sum(axis=-1)


def agreement(atlas: Atlas) -> dict[str, list[Agreement]]:
    """Compare people by their votes, and each two judges by their words: people, and methods of explaining; a person
    and a method by their scores, too, and two methods with rules by what these predict.

    Returns:
        Agreements by "people", "people_and_explainers" and "explainers".
    """
    texts: dict[tuple[bool, str], dict[int, str]] = {}
    rules: dict[str, dict[int, Rule]] = {}
    for row in atlas.sql("select latent, author, method, text, program from explanations order by author, method"):
        judge = (False, row["author"]) if row["method"] == PERSON else (True, row["method"])
        texts.setdefault(judge, {})[row["latent"]] = row["text"]
        if row["program"] is not None and row["method"] != COLUMNS:
            rules.setdefault(row["method"], {})[row["latent"]] = rule_from_json(row["program"])
    predicted = [_same_passages(atlas, one, other) for one, other in itertools.combinations(sorted(rules.items()), 2)]
    found = {"people": [_votes(atlas)], "people_and_explainers": list[Agreement](), "explainers": predicted}
    for one, other in itertools.combinations(sorted(texts), 2):
        group = list(found)[one[0] + other[0]]
        found[group].append(shared_words((one[1], texts[one]), (other[1], texts[other])))
    found["people_and_explainers"] += _differences(atlas)
    return found


def _votes(atlas: Atlas) -> Agreement:
    rows = atlas.sql("select latent, author, method, text, voter, vote from votes")
    voters = sorted({row["voter"] for row in rows})
    votes: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        unit = votes.setdefault((*list(row.values())[:4],), [np.nan] * len(voters))
        unit[voters.index(row["voter"])] = row["vote"]
    ratings = np.array(list(votes.values()), np.float64).reshape(len(votes), len(voters))
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
    # Shares such as "(61 %)" and signs are no words.
    words = [
        {latent: set(re.findall(r"[^\W\d_]+", text.lower())) for latent, text in texts.items()}
        for _, texts in (first, second)
    ]
    latents = sorted(latent for latent in words[0] if words[0][latent] and words[1].get(latent))
    if not latents:
        return Agreement(names, "words", None, absent="no feature has words of both")
    mine, theirs = ([one[latent] for latent in latents] for one in words)
    order = numpy_generator(0, "agreement").permutation(len(latents))
    others = [_jaccard(mine[a], theirs[b]) for a, b in zip(order, np.roll(order, 1), strict=True)]
    estimate = bootstrap_mean([_jaccard(a, b) for a, b in zip(mine, theirs, strict=True)])
    return Agreement(names, "words", estimate, float(np.mean(others)) if len(latents) > 1 else None)


def _jaccard(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b)


def _same_passages(atlas: Atlas, first: tuple[str, dict[int, Rule]], second: tuple[str, dict[int, Rule]]) -> Agreement:
    """Compare two methods by the passages in which their rules predict a feature to be active."""
    names = (first[0], second[0])
    draw = numpy_generator(0, "agreement", *names)
    latents = np.sort(draw.permutation(np.array(sorted(first[1].keys() & second[1].keys()), np.int64))[:_FEATURES])
    found = atlas.sql(
        "select latent, token_ids from examples where test and list_contains(?, latent) "
        "qualify row_number() over (partition by latent order by passage_hash, kind) <= ? order by latent",
        [latents.tolist(), _PASSAGES],
    )
    if not found:
        return Agreement(names, "passages", None, absent="no feature has rules of both and test passages")
    row = np.searchsorted(latents, [one["latent"] for one in found])
    ids = np.full((len(row), max(len(one["token_ids"]) for one in found)), -1, np.int32)
    for number, one in enumerate(found):
        ids[number, : len(one["token_ids"])] = one["token_ids"]
    other = draw.permutation(len(row))
    for _ in range(20):
        same = np.flatnonzero(row[other] == row)
        other[same] = draw.integers(0, len(row), len(same))
    groups, asked = np.concatenate([row, row]), ids[np.concatenate([np.arange(len(row)), other])]
    answers = []
    for _, rules in (first, second):
        made = [rules[latent] for latent in latents.tolist()]
        strongest = predict(made, groups, asked).max(axis=1, initial=0)
        answers.append(strongest > np.array([rule.threshold for rule in made])[groups])
    estimate = krippendorff(np.stack(answers, axis=1).astype(np.float64), groups.tolist())
    return Agreement(names, "passages", estimate, absent=None if estimate else "all answers are alike")
