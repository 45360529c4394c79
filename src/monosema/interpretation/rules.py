"""Rules: explanations that can be run, from tokens to predicted activations, for many latents at once.

Both kinds predict an activation for each token. A latent is predicted to be active in a passage with s / (s + θ), s
being the largest prediction there: above ½ where s > θ. The threshold θ is part of the rule; `with_threshold` chooses
the value with the highest balanced accuracy on the train split. A rule is written as JSON beside an explanation's text
(`Explanation.program`), and read from there.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from monosema.atlas import Explanation
from monosema.core import FormatError, InputError
from monosema.interpretation.samples import Samples


@dataclass(frozen=True)
class TokenLookup:
    """A weight for each of some tokens; all others are 0.

    Attributes:
        weights: predicted activation, by token id.
        threshold: θ.
    """

    weights: Mapping[int, float]
    threshold: float = 0.0

    def to_json(self) -> str:
        """Write the rule as JSON."""
        weights = {str(token): _short(weight) for token, weight in self.weights.items()}
        return json.dumps({"program": "token lookup", "threshold": _short(self.threshold), "weights": weights})


@dataclass(frozen=True)
class Pattern:
    """A path of a trie that is read backwards from the token that activates.

    Attributes:
        tokens: what may stand there: first the activating token, then the one before it, and so on; None is any token.
        weight: predicted activation where it matches.
    """

    tokens: tuple[tuple[int, ...] | None, ...]
    weight: float


@dataclass(frozen=True)
class Patterns:
    """Patterns; where several match at a token, the strongest holds, and where none does the prediction is 0.

    Attributes:
        patterns: none begins with "any token".
        threshold: θ.
    """

    patterns: tuple[Pattern, ...]
    threshold: float = 0.0

    def to_json(self) -> str:
        """Write the rule as JSON."""
        patterns = [{"weight": _short(one.weight), "tokens": one.tokens} for one in self.patterns]
        return json.dumps({"program": "patterns", "threshold": _short(self.threshold), "patterns": patterns})


Rule = TokenLookup | Patterns


@functools.lru_cache(8192)
def rule_from_json(text: str) -> Rule:
    """Read a rule. Raises FormatError where this version doesn't know it."""
    try:
        values = json.loads(text)
        threshold = float(values["threshold"])
        if values["program"] == "token lookup":
            return TokenLookup({int(token): float(weight) for token, weight in values["weights"].items()}, threshold)
        if values["program"] == "patterns":
            paths = [
                tuple(None if at is None else tuple(map(int, at)) for at in one["tokens"]) for one in values["patterns"]
            ]
            if all(path and path[0] for path in paths):
                weights = [float(one["weight"]) for one in values["patterns"]]
                return Patterns(tuple(map(Pattern, paths, weights)), threshold)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"This is not a rule that can be run ({error}): {text[:80]}") from None
    raise FormatError(f"This is not a rule that can be run: {text[:80]}")


def predict(
    rules: Sequence[Rule], which: Int[np.ndarray, " n"], ids: Int[np.ndarray, "n width"]
) -> Float[NDArray[np.float32], "n width"]:
    """Predict activations of passages.

    Args:
        rules: of any kinds.
        which: index of the rule of each passage.
        ids: token ids, filled with -1.
    """
    out = np.zeros(ids.shape, np.float32)
    base = _base(ids, rules)
    _run_lookups(rules, which, ids, base, out)
    paths = [(index, one) for index, rule in enumerate(rules) if isinstance(rule, Patterns) for one in rule.patterns]
    if paths:
        owner = np.array([index for index, _ in paths], np.int64)
        pattern, entry, column = matches([one for _, one in paths], owner, which, ids)
        np.maximum.at(out, (entry, column), np.array([one.weight for _, one in paths], np.float32)[pattern])
    return out


def _run_lookups(
    rules: Sequence[Rule],
    which: NDArray[np.integer],
    ids: NDArray[np.integer],
    base: int,
    out: NDArray[np.float32],
) -> None:
    tables = [(index, one.weights) for index, one in enumerate(rules) if isinstance(one, TokenLookup) and one.weights]
    if not tables:
        return
    keys = np.array([index * base + token for index, weights in tables for token in weights], np.int64)
    weights = np.array([weight for _, weights in tables for weight in weights.values()], np.float32)
    order = np.argsort(keys)
    found, hit = _find(keys[order], which.astype(np.int64)[:, None] * base + ids)
    out[hit & (ids >= 0)] = weights[order][found[hit & (ids >= 0)]]


def matches(
    patterns: Sequence[Pattern],
    owner: Int[np.ndarray, " m"],
    which: Int[np.ndarray, " n"],
    ids: Int[np.ndarray, "n width"],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Find all matches: index of the pattern, of the passage, and of the token.

    All patterns are looked up at once, one token of context after the other.

    Args:
        patterns: of all rules.
        owner: rule of each.
        which: rule of each passage.
        ids: token ids, filled with -1.
    """
    base = max([int(ids.max(initial=0)), *(max(at) for one in patterns for at in one.tokens if at)]) + 1
    last = [(owner[i] * base + token, i) for i, one in enumerate(patterns) for token in one.tokens[0] or ()]
    keys, indices = (np.array(column, np.int64) for column in zip(*sorted(last), strict=True))
    wanted = np.where(ids >= 0, which.astype(np.int64)[:, None] * base + ids, -1).reshape(-1)
    low, high = np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right")
    cell = np.repeat(np.arange(len(wanted)), high - low)
    ends = np.cumsum(high - low)
    pattern = indices[np.arange(len(cell)) + np.repeat(low - (ends - (high - low)), high - low)]
    entry, column = np.divmod(cell, ids.shape[1])
    depth = np.array([len(one.tokens) for one in patterns])
    for back in range(1, int(depth.max())):
        here = [
            (i * base + token)
            for i, one in enumerate(patterns)
            if len(one.tokens) > back
            for token in one.tokens[back] or ()
        ]
        wild = np.array([len(one.tokens) <= back or one.tokens[back] is None for one in patterns])
        token = ids[entry, np.maximum(column - back, 0)]
        _, hit = _find(np.sort(np.array(here, np.int64)), pattern * base + token)
        good = (wild[pattern] | hit) & ((column >= back) | (depth[pattern] <= back))
        pattern, entry, column = pattern[good], entry[good], column[good]
    return pattern, entry, column


def with_threshold(rules: Mapping[int, Rule], samples: Samples) -> dict[int, Rule]:
    """Fit the threshold of each latent's rule to tell active passages of the train split from inactive ones.

    A latent without inactive passages there gets the threshold 0: any prediction is a yes.
    """
    latents = np.array(sorted(rules), np.int64)
    entries = np.flatnonzero(~samples.test & np.isin(samples.latents[samples.row], latents))
    row = np.searchsorted(latents, samples.latents[samples.row[entries]])
    made = [rules[latent] for latent in latents.tolist()]
    strongest = predict(made, row, samples.ids[samples.passage[entries]]).max(axis=1, initial=0)
    cut = _best_cut(row, strongest, samples.active[entries], len(latents))
    return {
        latent: replace(one, threshold=value)
        for latent, one, value in zip(latents.tolist(), made, cut.tolist(), strict=True)
    }


def _best_cut(
    row: NDArray[np.int64], strength: NDArray[np.float32], active: NDArray[np.bool_], rows: int
) -> NDArray[np.float64]:
    """Return the threshold with the highest balanced accuracy of each row: midway between two strengths, of equals
    the largest."""
    out = np.zeros(rows)
    order = np.lexsort((-strength, row))
    row, strength, active = row[order], strength[order].astype(np.float64), active[order]
    if not len(row):
        return out
    first = np.searchsorted(row, row, "left")
    totals = [np.bincount(row, mask, rows) for mask in (active, ~active)]
    shares = []
    for mask, total in zip((active, ~active), totals, strict=True):
        sums = np.cumsum(mask)
        shares.append((sums - sums[first] + mask[first]) / np.maximum(total[row], 1))
    ends = np.append((row[1:] != row[:-1]) | (strength[1:] != strength[:-1]), True)
    below = np.append(np.where(row[1:] == row[:-1], strength[1:], 0.0), 0.0)
    gain = np.where(ends & (strength > 0), shares[0] - shares[1], -np.inf)
    best = np.lexsort((np.arange(len(row)), -gain, row))
    best = best[np.append(True, row[best][1:] != row[best][:-1])]
    useful = np.isfinite(gain[best]) & (totals[1][row[best]] > 0)
    out[row[best][useful]] = ((strength + below) / 2)[best][useful]
    return out


def _find(keys: NDArray[np.int64], wanted: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return places in sorted keys, and a mask of those that hold the wanted key."""
    if not len(keys):
        return np.zeros(wanted.shape, np.int64), np.zeros(wanted.shape, np.bool_)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return place, keys[place] == wanted


def _base(ids: NDArray[np.integer], rules: Sequence[Rule]) -> int:
    """Return a number above any token id."""
    known = [max(one.weights) for one in rules if isinstance(one, TokenLookup) and one.weights]
    return max([int(ids.max(initial=0)), *known]) + 1


def _short(value: float) -> float:
    return float(f"{value:.5g}")


class RulePredictor:
    """Runs the rules of explanations: no language model, no randomness. See `Predictor`.

    Raises InputError for an explanation without a rule.
    """

    def activations(
        self, explanations: Mapping[int, Explanation], samples: Samples, entries: Int[np.ndarray, " n"]
    ) -> Float[NDArray[np.float32], "n width"]:
        """Predict the activation on each token, in the unit of the latent."""
        return self._run(explanations, samples, entries)[0]

    def active(
        self, explanations: Mapping[int, Explanation], samples: Samples, entries: Int[np.ndarray, " n"]
    ) -> Float[NDArray[np.float32], " n"]:
        """Return s / (s + θ), with s the largest prediction in the passage and θ the rule's threshold."""
        predicted, threshold = self._run(explanations, samples, entries)
        strongest = predicted.max(axis=1, initial=0)
        total = strongest + threshold
        return np.divide(strongest, total, out=np.zeros_like(strongest), where=total > 0)

    def highlighted(
        self,
        explanations: Mapping[int, Explanation],
        samples: Samples,
        entries: Int[np.ndarray, " n"],
        marks: Bool[np.ndarray, "n width"],
    ) -> Float[NDArray[np.float32], " n"]:
        """Return the share of a passage's predicted activation on marked tokens; 0 where nothing is predicted."""
        predicted, _ = self._run(explanations, samples, entries)
        total = predicted.sum(axis=1)
        return np.divide((predicted * marks).sum(axis=1), total, out=np.zeros_like(total), where=total > 0)

    def _run(
        self, explanations: Mapping[int, Explanation], samples: Samples, entries: NDArray[np.integer]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        latents, which = np.unique(samples.latents[samples.row[entries]], return_inverse=True)
        rules = [_rule(latent, explanations[latent]) for latent in latents.tolist()]
        threshold = np.array([rule.threshold for rule in rules], np.float32)
        return predict(rules, which.reshape(-1), samples.ids[samples.passage[entries]]), threshold[which.reshape(-1)]


def _rule(latent: int, explanation: Explanation) -> Rule:
    if explanation.program is None:
        raise InputError(
            f"The explanation of latent {latent} is words alone ({explanation.text[:60]!r}): a language model has to "
            "read it."
        )
    return rule_from_json(explanation.program)
