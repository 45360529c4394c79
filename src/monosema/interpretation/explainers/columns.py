"""Columns: which fact about an item says whether a latent is active on it.

For items that are named in a table, the candidates are, of each column:

* a text, truth value or number with few values: "is" one of its values, where several items have it;
* a number: at least, or at most, one of its deciles;
* a text: one of its words (in letters or digits, case aside), the name included.

Of each latent the candidate with the highest balanced accuracy on the train split is taken; what is expected where it
holds is the mean activation there. The rule names the column, so that only `ColumnPredictor`, which has the table, can
run it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import NDArray
from pydantic import Field

from monosema.atlas import Explanation
from monosema.core import Config
from monosema.interpretation.protocol import AUTHOR
from monosema.interpretation.rules import RulePredictor
from monosema.interpretation.samples import Samples
from monosema.items import Items

METHOD = "columns"
_BLOCK = 1024
_WORD = re.compile(r"\w[\w'’-]*")


class ColumnsConfig(Config):
    """Candidates for a label."""

    values: int = Field(100, ge=2)
    """Most different values of a column whose values are candidates; a text column with more has its words."""
    words: int = Field(5000, ge=0)
    """Most words of a column, the most frequent first."""
    least: int = Field(5, ge=1)
    """Least items that a candidate holds for, and least that it doesn't hold for."""


@dataclass(frozen=True)
class Fact:
    """A candidate: what is said of an item.

    Attributes:
        column: of the table of items.
        relation: "is", "≥", "≤" or "has".
        value: what it is compared with.
    """

    column: str
    relation: str
    value: Any

    @property
    def text(self) -> str:
        """The fact in words."""
        if self.relation == "has":
            return f"{self.column} has “{self.value}”"
        value = f"{self.value:g}" if isinstance(self.value, float) else str(self.value)
        return f"{self.column} {self.relation} {value}"

    def holds(self, items: Items) -> NDArray[np.bool_]:
        """Return a mask of the items that it is true of."""
        values = items.names if self.column == items.name_column else items.column(self.column)
        if self.relation == "has":
            return np.array([value is not None and self.value in _words(value) for value in values])
        if self.relation == "is":
            return np.array([value == self.value for value in values])
        sign = 1 if self.relation == "≥" else -1
        return np.array([value is not None and sign * value >= sign * self.value for value in values])


class ColumnExplainer:
    """Explains latents by the columns of the items that they are active on; see the module."""

    def __init__(self, items: Items, config: ColumnsConfig | None = None) -> None:
        self.config = config or ColumnsConfig()
        self._facts, self._holds = _candidates(items, self.config)

    def explain(self, samples: Samples) -> dict[int, Explanation]:
        """Find the best candidate of each latent that has both kinds of items in its train split."""
        train = ~samples.test
        explained: dict[int, Explanation] = {}
        for low in range(0, len(samples.latents) if self._facts else 0, _BLOCK):
            rows = np.arange(low, min(low + _BLOCK, len(samples.latents)))
            shares = [self._shares(samples, rows, train & (samples.active == active)) for active in (True, False)]
            gain = shares[0][0] - shares[1][0]
            best = gain.argmax(axis=1)
            for place, row in enumerate(rows.tolist()):
                fact, weight = self._facts[best[place]], shares[0][1][place, best[place]]
                if shares[0][2][place] and shares[1][2][place] and gain[place, best[place]] > 0:
                    rule = json.dumps({"program": METHOD, "fact": asdict(fact), "weight": float(f"{weight:.5g}")})
                    latent = int(samples.latents[row])
                    explained[latent] = Explanation(AUTHOR, METHOD, None, None, fact.text, rule)
        return explained

    def _shares(
        self, samples: Samples, rows: Int[np.ndarray, " m"], entries: Bool[np.ndarray, " entries"]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Return the share of some entries of each latent that each candidate holds for, the mean activation of these,
        and a mask of the latents that have such entries."""
        from scipy.sparse import csr_array

        chosen = np.flatnonzero(entries & np.isin(samples.row, rows))
        row, item = samples.row[chosen] - rows[0], samples.ids[samples.passage[chosen], 0]
        shape = (len(rows), self._holds.shape[0])
        count, mass = (
            (csr_array((values, (row, item)), shape=shape) @ self._holds).toarray()
            for values in (np.ones(len(row)), samples.activations[chosen, 0].astype(np.float64))
        )
        total = np.bincount(row, minlength=len(rows))
        return count / np.maximum(total, 1)[:, None], mass / np.maximum(count, 1), total > 0


class ColumnPredictor(RulePredictor):
    """Runs rules over the columns of items, and those that need no columns as `RulePredictor` does."""

    def __init__(self, items: Items) -> None:
        self._items = items
        self._known: dict[Fact, NDArray[np.bool_]] = {}

    def _run(
        self, explanations: Mapping[int, Explanation], samples: Samples, entries: NDArray[np.integer]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Predict a rule's weight where its fact holds, with a threshold of 0: there the item is active for sure."""
        predicted = np.zeros((len(entries), samples.ids.shape[1]), np.float32)
        threshold, plain = np.zeros(len(entries), np.float32), np.zeros(len(entries), np.bool_)
        latent, item = samples.latents[samples.row[entries]], samples.ids[samples.passage[entries], 0]
        for number in np.unique(latent).tolist():
            mine = latent == number
            rule = json.loads(explanations[number].program or "{}")
            if rule.get("program") != METHOD:
                plain |= mine
                continue
            fact = Fact(**rule["fact"])
            if fact not in self._known:
                self._known[fact] = fact.holds(self._items)
            predicted[mine, 0] = rule["weight"] * self._known[fact][item[mine]]
        if plain.any():
            predicted[plain], threshold[plain] = super()._run(explanations, samples, entries[plain])
        return predicted, threshold


def _candidates(items: Items, config: ColumnsConfig) -> tuple[list[Fact], Any]:
    """Return all candidates, and a sparse matrix [items, candidates] of what holds."""
    from scipy.sparse import csr_array

    facts: list[Fact] = []
    rows: list[NDArray[np.int64]] = []
    for fact, holds in _all_facts(items, config):
        if config.least <= len(holds) <= len(items) - config.least:
            facts.append(fact)
            rows.append(holds)
    column = np.repeat(np.arange(len(facts)), [len(one) for one in rows])
    where = np.concatenate([np.zeros(0, np.int64), *rows])
    return facts, csr_array((np.ones(len(where)), (where, column)), shape=(len(items), len(facts)))


def _all_facts(items: Items, config: ColumnsConfig) -> Iterator[tuple[Fact, NDArray[np.int64]]]:
    for name in (*items.columns, items.name_column):
        values = items.names if name == items.name_column else items.column(name)
        known = [value for value in values if value is not None]
        different = set(known)
        if len(different) <= config.values:
            where: dict[Any, list[int]] = {}
            for row, value in enumerate(values):
                where.setdefault(value, []).append(row)
            yield from ((Fact(name, "is", value), np.array(at)) for value, at in where.items() if value is not None)
        if known and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in known):
            yield from _thresholds(name, values)
        elif len(different) > config.values and all(isinstance(value, str) for value in known):
            yield from _having(name, values, config.words)


def _thresholds(name: str, values: list[Any]) -> Iterator[tuple[Fact, NDArray[np.int64]]]:
    numbers = np.array([np.nan if value is None else float(value) for value in values])
    for cut in np.unique(np.nanquantile(numbers, np.arange(1, 10) / 10)).tolist():
        yield Fact(name, "≥", cut), np.flatnonzero(numbers >= cut)
        yield Fact(name, "≤", cut), np.flatnonzero(numbers <= cut)


def _having(name: str, values: list[Any], most: int) -> Iterator[tuple[Fact, NDArray[np.int64]]]:
    words = [_words(value) if value is not None else set() for value in values]
    often = {word for word, _ in Counter(word for some in words for word in some).most_common(most)}
    where: dict[str, list[int]] = {}
    for row, some in enumerate(words):
        for word in some & often:
            where.setdefault(word, []).append(row)
    yield from ((Fact(name, "has", word), np.array(at)) for word, at in sorted(where.items()))


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
