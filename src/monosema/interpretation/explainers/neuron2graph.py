"""Neuron2Graph (arXiv 2304.12918, 2305.19911): which context before a token makes a latent active there, as a pattern
that can be run, and read: “York”, “Jersey” after “New”.

For some activating passages of the train split:

1. *Prune.* Of the contexts of 1, 2, 3, … tokens that end at the passage's peak, keep the shortest on which the latent
   reaches half its activation in the passage.
2. *Importance.* Each token of that context is replaced by what the model itself holds likely there. A token matters if
   the activation at the peak falls below half with more than half of its substitutes; others become wildcards.
3. *Substitutes* that keep at least half of the activation may stand in the token's place; at the peak too.
4. *Trie.* The paths, read backwards from the peak, are the rule. Equal paths are one.
5. A path predicts the latent's mean activation where it matches on the train split, 0 included.

Departures: substitutes come from the model that is explained (the paper takes DistilBERT's, and replaces by padding to
measure importance); contexts are cut token by token, at a few lengths; where paths share a context they are shown
together; where several match, the strongest predicts; weights are fitted on the train split (step 5) instead of being
the pruned contexts' activations; the activating token itself never becomes a wildcard. A passage that does not reach
half at any of the lengths is explained by the length on which the latent is strongest.

Everything is done for all latents at once, in forward passes of many short texts; equal ones go through the model once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from monosema.atlas import Explanation
from monosema.core import Config
from monosema.core.groups import ranks
from monosema.interpretation.probe import LatentProbe
from monosema.interpretation.protocol import AUTHOR
from monosema.interpretation.rules import Pattern, Patterns, matches, with_threshold
from monosema.interpretation.samples import Samples
from monosema.models import Tokenizer, quoted, shown_text, shown_tokens

METHOD = "Neuron2Graph"
_ALTERNATIVES = 6
"""Most tokens that are named for one place."""
Path = tuple[tuple[int, ...] | None, ...]
"""Tokens that may stand at each position, read backwards from the activating one; None is any token."""


class Neuron2GraphConfig(Config):
    """Numbers of passages and contexts that are tried."""

    passages: int = Field(5, ge=1)
    """Activating passages of each latent; those with different tokens at the peak first, the strongest of each."""
    lengths: tuple[int, ...] = (1, 2, 3, 4, 6, 8)
    """Tokens of the contexts that are tried, the activating one included."""
    substitutes: int = Field(4, ge=1)
    """Substitutes for the activating token and the one before it; for those farther away half as many."""
    view: int = Field(4, ge=0)
    """Tokens before a pruned context that the model sees when it proposes substitutes."""
    keep: float = Field(0.5, gt=0, le=1)
    """Share of the activation that counts as kept."""
    shown: int = Field(4, ge=1)
    """Patterns in the text, at most."""


@dataclass(frozen=True)
class _Contexts:
    """Pruned contexts, one for each passage that is explained.

    Attributes:
        row: index of the latent.
        ids: the last tokens up to the peak, filled with −1 on the left.
        length: number of tokens that were kept.
        activation: of the latent at the peak, with no more tokens than those before it.
    """

    row: NDArray[np.int64]
    ids: NDArray[np.int64]
    length: NDArray[np.int64]
    activation: NDArray[np.float32]

    def of_length(self, length: int) -> NDArray[np.int64]:
        """Return the indices of contexts of one length."""
        return np.flatnonzero(self.length == length)


class Neuron2GraphExplainer:
    """Explains latents by the contexts that they need.

    Args:
        probe: measures latents on made-up texts.
        tokenizer: of the model whose latents are explained.
        config: numbers of passages and contexts.
    """

    def __init__(self, probe: LatentProbe, tokenizer: Tokenizer, config: Neuron2GraphConfig | None = None) -> None:
        self.probe, self.tokenizer = probe, tokenizer
        self.config = config or Neuron2GraphConfig()

    def explain(self, samples: Samples) -> dict[int, Explanation]:
        """Find patterns for each latent that has an activating passage on the train split."""
        contexts = self._pruned(samples)
        allowed = self._allowed(contexts, samples)
        paths: dict[int, set[Path]] = defaultdict(set)
        for row, path in zip(contexts.row.tolist(), allowed, strict=True):
            paths[row].add(path)
        weighted = _weighted({row: sorted(some, key=repr) for row, some in paths.items()}, samples)
        latents = samples.latents.tolist()
        rules = {latents[row]: Patterns(tuple(some)) for row, some in weighted.items()}
        fitted = with_threshold(rules, samples)
        text = self.tokenizer.tokens
        texts = {latent: pattern_text(one.patterns, text, self.config.shown) for latent, one in rules.items()}
        return {
            latent: Explanation(AUTHOR, METHOD, None, None, texts[latent], rule.to_json())
            for latent, rule in fitted.items()
        }

    def _pruned(self, samples: Samples) -> _Contexts:
        """Prune the contexts (step 1)."""
        entry, peak = _chosen(samples, self.config.passages)
        longest = max(self.config.lengths) + self.config.view
        place = peak[:, None] - np.arange(longest - 1, -1, -1)
        text = samples.ids[samples.passage[entry]]
        ids = np.where(place >= 0, np.take_along_axis(text, np.maximum(place, 0), axis=1), -1).astype(np.int64)
        row = samples.row[entry]
        wanted = self.config.keep * samples.activations[entry, peak]
        length, best = np.zeros(len(entry), np.int64), np.zeros(len(entry), np.float32)
        open_ = np.arange(len(entry))
        for tried in sorted(self.config.lengths):
            open_ = open_[ids[open_, longest - tried] >= 0]
            value = self.probe.last(ids[open_, longest - tried :], samples.latents[row[open_]])
            better = value > best[open_]
            length[open_[better]], best[open_[better]] = tried, value[better]
            open_ = open_[value < wanted[open_]]
        found = length > 0
        return _Contexts(row[found], ids[found], length[found], best[found])

    def _allowed(self, contexts: _Contexts, samples: Samples) -> list[Path]:
        """Find the tokens that may stand at each position of each context, read backwards (steps 2 and 3)."""
        n, longest = contexts.ids.shape
        k = self.config.substitutes
        proposed = np.full((n, longest, k), -1, np.int64)
        seen = np.minimum((contexts.ids >= 0).sum(axis=1), contexts.length + self.config.view)
        for known in np.unique(seen).tolist():
            some = np.flatnonzero(seen == known)
            text = contexts.ids[some, longest - known :]
            proposed[some, longest - known :] = _others(self.probe.proposals(text, k + 1), text, k)
        proposed[:, : longest - 2, max(1, k // 2) :] = -1
        kept = np.zeros((n, longest, k), np.bool_)
        for length in np.unique(contexts.length):
            some = contexts.of_length(int(length))
            at, back, which = np.nonzero(proposed[some, longest - length :] >= 0)
            texts = contexts.ids[some[at], longest - length :]
            texts[np.arange(len(at)), back] = proposed[some[at], longest - length + back, which]
            value = self.probe.last(texts, samples.latents[contexts.row[some[at]]])
            stays = value >= self.config.keep * contexts.activation[some[at]]
            kept[some[at], longest - length + back, which] = stays
        tested = (proposed >= 0).sum(axis=2)
        wild = (kept.sum(axis=2) * 2 >= tested) & (tested > 0)
        wild[:, -1] = False
        return [_path(contexts.ids[i], proposed[i], kept[i], wild[i], int(contexts.length[i])) for i in range(n)]


def _chosen(samples: Samples, most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose activating entries of the train split, and return their peaks: of each latent those with different tokens
    at the peak first, the strongest of each token before the others."""
    entries = np.flatnonzero(~samples.test & samples.active)
    peak = samples.activations[entries].argmax(axis=1)
    strength = samples.activations[entries, peak]
    token = samples.ids[samples.passage[entries], peak]
    row = samples.row[entries]
    order = np.lexsort((-strength, token, row))
    turn = np.empty(len(order), np.int64)
    turn[order] = ranks(row[order].astype(np.int64) * (int(samples.ids.max(initial=0)) + 1) + token[order])
    order = np.lexsort((-strength, turn, row))
    order = order[(ranks(row[order]) < most) & (strength[order] > 0)]
    return entries[order], peak[order]


def _others(proposed: NDArray[np.int64], own: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return the first k proposals at each position that differ from the token there."""
    same = proposed == own[:, :, None]
    order = np.argsort(same, axis=2, kind="stable")[:, :, :k]
    out = np.full((*own.shape, k), -1, np.int64)
    out[:, :, : order.shape[2]] = np.take_along_axis(proposed, order, axis=2)
    return np.where(out == own[:, :, None], -1, out)


def _path(
    ids: NDArray[np.int64], proposed: NDArray[np.int64], kept: NDArray[np.bool_], wild: NDArray[np.bool_], length: int
) -> Path:
    """Return one context as a path; wildcards at its far end are dropped."""
    path: list[tuple[int, ...] | None] = []
    for place in range(len(ids) - 1, len(ids) - 1 - length, -1):
        alike = sorted({int(ids[place]), *proposed[place][kept[place]].tolist()})
        path.append(None if wild[place] else tuple(alike))
    while path[-1] is None:
        path.pop()
    return tuple(path)


def _weighted(paths: dict[int, list[Path]], samples: Samples) -> dict[int, list[Pattern]]:
    """Weigh patterns by their mean activation (step 5), the strongest first."""
    rows = sorted(paths)
    flat = [(owner, Pattern(path, 0.0)) for owner, row in enumerate(rows) for path in paths[row]]
    if not flat:
        return {}
    entries = np.flatnonzero(~samples.test & np.isin(samples.row, rows))
    which = np.searchsorted(rows, samples.row[entries])
    owners = np.array([owner for owner, _ in flat], np.int64)
    pattern, entry, column = matches([one for _, one in flat], owners, which, samples.ids[samples.passage[entries]])
    total = np.bincount(pattern, samples.activations[entries[entry], column], len(flat))
    mean = total / np.maximum(np.bincount(pattern, minlength=len(flat)), 1)
    made: dict[int, list[Pattern]] = defaultdict(list)
    for (owner, one), weight in zip(flat, mean.tolist(), strict=True):
        if weight > 0:
            made[rows[owner]].append(Pattern(one.tokens, weight))
    return {row: sorted(some, key=lambda one: -one.weight) for row, some in made.items()}


def pattern_text(patterns: Sequence[Pattern], tokens: Callable[[Sequence[int]], list[str]], shown: int = 4) -> str:
    """Write patterns for people: ``“York”, “Jersey” after “New”``; `…` is any token. Patterns with one context are
    shown together, and bytes that make a character with their context as that character.

    Args:
        tokens: returns the text of each token id.
        shown: most contexts that are written.
    """
    groups: dict[Path, list[int]] = {}
    for one in patterns:
        last = groups.setdefault(one.tokens[1:], [])
        last += [token for token in one.tokens[0] or () if token not in last]
    texts = [_group_text(context, last, tokens) for context, last in list(groups.items())[:shown]]
    rest = len(groups) - shown
    return "; ".join(texts) + (f"; and {rest} more" if rest > 0 else "")


def _group_text(context: Path, last: Sequence[int], tokens: Callable[[Sequence[int]], list[str]]) -> str:
    near = [at[0] for at in takewhile(lambda at: at is not None and len(at) == 1, context) if at]
    words, used = dict[str, None](), 0
    for token in last[:_ALTERNATIVES]:
        last_shown = shown_tokens(tokens([*near[::-1], token]))[-1]
        readable = "\ufffd" not in last_shown.text
        used = max(used, len(near) - last_shown.start) if readable else used
        # " Paris" and "Paris" read alike.
        joined = readable and last_shown.start < len(near)
        words[quoted(last_shown.text if joined else tokens([token])[0])] = None
    text = ", ".join(words) + (" …" if len(last) > _ALTERNATIVES else "")
    before: list[str] = []
    for single, group in groupby(reversed(context[used:]), lambda at: at is not None and len(at) == 1):
        if single:
            parts = tokens([at[0] for at in group if at])
            whole = shown_text(parts)
            before.append(" ".join(map(quoted, parts)) if "\ufffd" in whole else quoted(whole))
        else:
            before += [
                "…" if at is None else " or ".join(dict.fromkeys(map(quoted, tokens(at[:_ALTERNATIVES]))))
                for at in group
            ]
    return f"{text} after {' '.join(before)}" if before else text
