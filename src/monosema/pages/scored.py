"""Scores of labels and of other explanations, beside the controls that they must stand above.

An explanation stands above its controls where the low end of its score's interval is above all of them: chance, the
score of another feature's explanation on the same feature (shuffled), and the mean score of random directions that were
explained and scored alike. What is left of the score then, low end less the highest control, is its *margin*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from monosema.atlas import Atlas
from monosema.core import Estimate, bootstrap_mean, wilson

LABELS = ""
"""In the place of a method: the labels, each found by whichever method did best."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """Scores that a scorer gives without any understanding, to explanations found by one method.

    Attributes:
        method, scorer: of the explanations, and what scored them.
        chance: score of an explanation without content; None where there is no such number.
        random: mean score of random directions, explained and scored alike; None where there were none.
        part: whether the scorer is another one on some of its passages.
    """

    method: str
    scorer: str
    chance: float | None = None
    random: Estimate | None = None
    part: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the page's script."""
        random = self.random and [self.random.value, self.random.low, self.random.high]
        return {
            "method": self.method,
            "scorer": self.scorer,
            "chance": self.chance,
            "random": random,
            "part": self.part,
        }


@dataclass(frozen=True)
class Controls:
    """The controls of a run, by method and scorer."""

    rows: Sequence[Control] = ()

    def chance(self, scorer: str) -> float | None:
        """Return what chance gives; None where it is not known."""
        return next((row.chance for row in self.rows if row.scorer == scorer and row.chance is not None), None)

    def part(self, scorer: str) -> bool:
        """Return whether a scorer is another one on some of its passages."""
        return any(row.part for row in self.rows if row.scorer == scorer)

    def random(self, method: str, scorer: str) -> Estimate | None:
        """Return the mean of random directions: explained by this method, or else by the one that did best with them.

        A label is the best of several methods' explanations, so the best is what it has to be compared with.
        """
        known = {row.method: row.random for row in self.rows if row.scorer == scorer and row.random is not None}
        return known.get(method) or max(known.values(), key=lambda one: one.value, default=None)

    def margins(
        self,
        method: str,
        scorer: str,
        low: Float[np.ndarray, " n"],
        shuffled: Float[np.ndarray, " n"],
        with_random: bool = True,
    ) -> Float[NDArray[np.float64], " n"]:
        """Return how far scores stand above their controls; NaN where there is no score.

        Args:
            low: low ends of their intervals; NaN where there is none.
            shuffled: scores of shuffled explanations on the same features; NaN where there is none.
            with_random: compare with random directions too.
        """
        random = self.random(method, scorer) if with_random else None
        known = (self.chance(scorer), None if random is None else random.value)
        floor = np.fmax(shuffled, max((value for value in known if value is not None), default=-np.inf))
        return np.asarray(low - np.where(np.isfinite(floor), floor, np.nan), np.float64)


@dataclass(frozen=True)
class Scored:
    """How explanations of many features do by one scorer.

    Attributes:
        scorer, method: what scored them, and how they were found; `LABELS` for the labels.
        mean: over features.
        shuffled, random: means of the controls; None where there are none.
        above, above_random: share that stands above chance and shuffled explanations, and above random directions
            too; None where there is no control.
        part: whether the scorer is another one on some of its passages.
    """

    scorer: str
    method: str
    mean: Estimate
    shuffled: Estimate | None
    random: Estimate | None
    above: Estimate | None
    above_random: Estimate | None
    part: bool = False

    @property
    def above_controls(self) -> Estimate | None:
        """Share that stands above all controls that there are."""
        return self.above_random or self.above


_SCORES = """
    select scorer, one.method as method, one.model as model, list(value order by one.latent) as value,
        list(coalesce(low, 'nan') order by one.latent) as low,
        list(coalesce(control, 'nan') order by one.latent) as shuffled,
        list(text is not null and label_score is not null order by one.latent) as label
    from scores as one
        left join explanations as other on one.latent = other.latent and one.author = other.author
            and one.method = other.method and one.model is not distinct from other.model
            and one.prompt_version is not distinct from other.prompt_version
        left join features on features.latent = other.latent and label = text and label_method = other.method
            and label_author = other.author
    group by all
"""


@dataclass(frozen=True)
class _Group:
    """Scores by one scorer of explanations by one method, and for each whether it is that of a label."""

    method: str
    name: str
    value: Float[NDArray[np.float64], " n"]
    low: Float[NDArray[np.float64], " n"]
    shuffled: Float[NDArray[np.float64], " n"]
    label: Float[NDArray[np.float64], " n"]

    def labels(self) -> _Group:
        """Return the scores of labels only."""
        use = self.label > 0
        return _Group(self.method, self.name, self.value[use], self.low[use], self.shuffled[use], self.label[use])


def scored(atlas: Atlas, controls: Controls) -> list[Scored]:
    """Return how labels, and explanations by method, do by each scorer.

    The scorer with most scores comes first, and of each the labels first, then the best method. A method that used a
    language model is named with it.
    """
    groups: dict[str, list[_Group]] = {}
    for row in atlas.sql(_SCORES):
        name = row["method"] if row["model"] is None else f"{row['method']}, {row['model']}"
        arrays = (np.array(row[key], np.float64) for key in ("value", "low", "shuffled", "label"))
        groups.setdefault(row["scorer"], []).append(_Group(row["method"], name, *arrays))
    sizes = {scorer: sum(group.value.size for group in found) for scorer, found in groups.items()}
    return [
        one
        for scorer in sorted(groups, key=lambda scorer: (-sizes[scorer], scorer))
        for one in _by_scorer(scorer, groups[scorer], controls)
    ]


def _by_scorer(scorer: str, groups: Sequence[_Group], controls: Controls) -> list[Scored]:
    methods = [_summary(scorer, group.name, [group], controls) for group in groups]
    methods.sort(key=lambda one: (-one.mean.value, one.method))
    labels = [group.labels() for group in groups]
    return [*([_summary(scorer, LABELS, labels, controls)] if any(one.value.size for one in labels) else []), *methods]


def _summary(scorer: str, name: str, groups: Sequence[_Group], controls: Controls) -> Scored:
    """Summarise the scores of some groups; where these are the labels, without regard to how they were found."""
    value, low, shuffled = (
        np.concatenate([getattr(group, key) for group in groups]) for key in ("value", "low", "shuffled")
    )
    method = groups[0].method if name != LABELS else LABELS
    above = []
    for with_random in (False, True):
        margins = controls.margins(method, scorer, low, shuffled, with_random)
        above.append(wilson(int((margins > 0).sum()), margins.size) if np.isfinite(margins).any() else None)
    known = shuffled[np.isfinite(shuffled)]
    random = controls.random(method, scorer)
    shuffled_mean = bootstrap_mean(known) if known.size else None
    shares = above[0], above[1] if random else None
    return Scored(scorer, name, bootstrap_mean(value), shuffled_mean, random, *shares, controls.part(scorer))
