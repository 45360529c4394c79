"""Figures of the texts of each candidate, with intervals, beside those of the unsteered texts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool

from monosema.core import Estimate, bootstrap_mean, wilson
from monosema.steering.metrics.effect import Effect
from monosema.steering.metrics.measures import MEASURES, MeasuredText
from monosema.steering.metrics.paired import Sums, by_unit, exponential, ratio, ratio_difference


@dataclass
class _Texts:
    """Texts of one candidate: each with the unit that intervals draw, and what it is paired by."""

    texts: list[MeasuredText] = field(default_factory=list)
    units: list[Hashable] = field(default_factory=list)
    effects: list[float] | None = None

    def sums(self, measure: str) -> Sums:
        pairs = [MEASURES[measure].of(text) for text in self.texts]
        return by_unit(pairs, self.units)


class Figures:
    """Collects texts by candidate, and estimates their figures."""

    def __init__(self, effect: Effect | None = None) -> None:
        self._effect = effect
        self._by_name: dict[str, _Texts] = {}

    def add(self, name: str, text: MeasuredText, unit: Hashable) -> None:
        """Take a text of a candidate; texts of one unit are not independent of each other."""
        kept = self._by_name.setdefault(name, _Texts())
        kept.texts.append(text)
        kept.units.append(unit)

    def effects(self, name: str) -> list[float] | list[None]:
        """Return how much of the concept each text shows; None where nothing measures it."""
        kept = self._by_name[name]
        if self._effect is None:
            return [None] * len(kept.texts)
        if kept.effects is None:
            kept.effects = [float(value) for value in self._effect([text.text for text in kept.texts])]
        return kept.effects

    def of(self, name: str, base: str) -> dict[str, Estimate]:
        """Estimate the figures of a candidate's texts, those that compare with the texts of `base` included."""
        own, other = self._by_name[name], self._by_name[base]
        found: dict[str, Estimate | None] = {measure: ratio(own.sums(measure)) for measure in MEASURES}
        surprisals = own.sums("surprisal"), other.sums("surprisal")
        found["perplexity"] = exponential(ratio(surprisals[0]))
        found["perplexity_ratio"] = exponential(ratio_difference(*surprisals))
        if self._effect is not None:
            effects = self._effect_sums(name), self._effect_sums(base)
            found["effect"], found["effect_gain"] = ratio(effects[0]), ratio_difference(*effects)
        return {key: estimate for key, estimate in found.items() if estimate is not None}

    def _effect_sums(self, name: str) -> Sums:
        return by_unit([(value or 0.0, 1.0) for value in self.effects(name)], self._by_name[name].units)

    @staticmethod
    def of_skills(
        tasks: Sequence[str], right: Bool[np.ndarray, " n"], before: Bool[np.ndarray, " n"]
    ) -> dict[str, Estimate]:
        """Estimate the share of right answers, and what of it is lost, over all tasks and of each; nothing of none."""
        if not len(right):
            return {}
        found = {"skills": _share(right), "skills_lost": bootstrap_mean(before.astype(float) - right)}
        for task in dict.fromkeys(tasks):
            found[f"skill:{task}"] = _share(right[[name == task for name in tasks]])
        return found


def _share(right: Bool[np.ndarray, " n"]) -> Estimate:
    return wilson(int(right.sum()), len(right))
