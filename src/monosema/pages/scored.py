"""Scores of labels and other explanations by each scorer, beside the controls that they must stand above.

An atlas keeps beside each score what chance, another feature's explanation (shuffled) and random directions get. A
score stands above them where the low end of its interval is above all three.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monosema.atlas import Atlas
from monosema.core import Estimate, bootstrap_mean, wilson

LABELS = ""
"""In the place of a method: the labels, each found by whichever method did best."""


@dataclass(frozen=True)
class Scored:
    """Scores of many features' explanations by one scorer.

    Attributes:
        scorer, method: what scored them, and how they were found; `LABELS` for the labels.
        mean: over features.
        chance: score of an explanation without content; None where there is no such number.
        shuffled: mean score of other features' explanations; None where there are none.
        random: median of random directions that were explained and scored alike, and the ends of the middle 95 % of
            them; None where there are none.
        above_shuffled: share that stands above chance and shuffled explanations.
        above: share that stands above random directions, too.
        own: whether the scorer is one of its own, not another one on some of the passages.
    """

    scorer: str
    method: str
    mean: Estimate
    chance: float | None
    shuffled: Estimate | None
    random: Estimate | None
    above_shuffled: Estimate | None
    above: Estimate | None
    own: bool

    @property
    def above_controls(self) -> Estimate | None:
        """Share that stands above all controls that there are."""
        return self.above or self.above_shuffled


_GROUPS = """
    select {groups}, any_value(one.chance) as chance, list(one.value order by one.latent) as value,
        list(one.control order by one.latent) filter (one.control is not null) as control,
        max(one.random) as random, arg_max(one.random_low, one.random) as low,
        arg_max(one.random_high, one.random) as high, arg_max(one.random_n, one.random) as n,
        count(*) filter (one.above_shuffled) as shuffled_n, count(one.above_shuffled) as shuffled_of,
        count(*) filter (one.margin > 0) as above_n, count(one.margin) as above_of
    from scores as one {labels}
    group by all order by {order}
"""
_LABELS = """
    join explanations as other on one.latent = other.latent and one.author = other.author and one.method = other.method
        and one.model is not distinct from other.model and one.prompt_version is not distinct from other.prompt_version
    join features on features.latent = other.latent and label = other.text and label_method = other.method
        and label_author = other.author
"""


def scored(atlas: Atlas, first: str) -> list[Scored]:
    """Return how labels, and explanations by method, do by each scorer.

    The scorer named `first` comes first, then those with most scores, and of each the labels first, then the best
    method. A method that used a language model is named with it.
    """
    method = "scorer, if(one.model is null, one.method, one.method || ', ' || one.model) as method"
    by_method = atlas.sql(_GROUPS.format(groups=method, labels="", order="avg(one.value) desc, method"))
    of_labels = atlas.sql(_GROUPS.format(groups=f"scorer, '{LABELS}' as method", labels=_LABELS, order="scorer"))
    scorers = {row["scorer"] for row in by_method}
    rows = [_scored(row, own=_whole(row["scorer"]) not in scorers) for row in (*of_labels, *by_method)]
    sizes: dict[str, int] = {}
    for one in rows:
        sizes[one.scorer] = sizes.get(one.scorer, 0) + one.mean.n
    return sorted(rows, key=lambda one: (one.scorer != first, not one.own, -sizes[one.scorer], one.scorer))


def _whole(scorer: str) -> str:
    """Return the scorer that "simulation (top)" is a part of; "" where a name isn't of this form."""
    name, bracket, _ = scorer.partition(" (")
    return name if bracket else ""


def _scored(row: Mapping[str, Any], own: bool) -> Scored:
    random = None
    if row["random"] is not None and row["low"] is not None:
        random = Estimate(row["random"], row["low"], row["high"], row["n"] or 0, "spread")
    return Scored(
        row["scorer"],
        row["method"],
        bootstrap_mean(row["value"]),
        None if row["chance"] is None or not math.isfinite(row["chance"]) else row["chance"],
        bootstrap_mean(row["control"]) if row["control"] else None,
        random,
        wilson(row["shuffled_n"], row["shuffled_of"]) if row["shuffled_of"] else None,
        wilson(row["above_n"], row["above_of"]) if row["random"] is not None and row["above_of"] else None,
        own=own,
    )
