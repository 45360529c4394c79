"""A pass that was stopped at a site, and goes on for changed texts from the first changed position alone.

No position sees a later one, so where an activation changes from some position on, keys and values of those before stay
what they are. They are kept, for the state that was settled last. Texts that change from about the same position on run
as one batch, whatever version of which text they are.

Models that cannot be forked at the site, and those with something attached, run whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from monosema.circuits.memory import rows_within, text_bytes
from monosema.core import Site
from monosema.models import Fork, KVCache, LanguageModel, Transformer, can_fork, resolve_site, unembed_of

_POSITIONS = 192
"""Positions after which a batch is large enough for another, of shorter rests, to be worth its own pass."""


@dataclass(frozen=True, eq=False)
class Versions:
    """Changed activations of some texts, each a version of one text.

    Attributes:
        rows: the text of each version; the same may come several times.
        x: what stands at the site.
        first: position from which on a version may differ from the settled state.
    """

    rows: Int[Tensor, " some"]
    x: Float[Tensor, "some pos d"]
    first: Int[Tensor, " some"]


@dataclass(frozen=True, eq=False)
class _Batch:
    """Versions that ran together: which, from which position on, and the keys and values that they gave."""

    which: Int[Tensor, " few"]
    first: int
    cache: KVCache


class Continuation:
    """A forward pass of texts of equal length, filled up on the left, that goes on from a site.

    Attributes:
        activation: what the model came with to the site.
    """

    @torch.no_grad()
    def __init__(
        self, model: LanguageModel, site: Site, tokens: Int[Tensor, "n pos"], mask: Bool[Tensor, "n pos"]
    ) -> None:
        self._fork, self._unembed = Fork(model, site, tokens, mask), unembed_of(model, site)
        self._forked = can_fork(model, site)
        self._model, self._site = resolve_site(model, site)
        self._tokens, self._mask = tokens.to(self._model.device), mask.to(self._model.device)
        self.activation: Float[Tensor, "n pos d"] = self._fork.activation
        self._state: KVCache | None = None
        self._ran: list[_Batch] = []

    @property
    def length(self) -> int:
        """Positions of a text, filling included."""
        return int(self._tokens.shape[1])

    @torch.no_grad()
    def settle(self, x: Float[Tensor, "n pos d"]) -> Float[Tensor, "n vocab"]:
        """Make these the state that versions are of; returns the log-probabilities after the last token."""
        rows = torch.arange(len(x), device=x.device)
        state, self._state, logs = KVCache(), None, []
        for batch, there in self._batches(Versions(rows, x, torch.zeros_like(rows))):
            logs.append(there)
            state.join(batch.cache)
        self._state = state if self._reuses else None
        return torch.cat(logs)

    @torch.no_grad()
    def run(self, versions: Versions) -> Iterator[tuple[Int[Tensor, " few"], Float[Tensor, "few vocab"]]]:
        """Yield, batch by batch, which of the versions it holds, and their log-probabilities after the last token."""
        self._ran, self._state = [], self._state if self._reuses else None
        for batch, logs in self._batches(versions):
            self._ran.append(batch)
            yield batch.which, logs

    def accept(self, versions: Versions, which: Int[Tensor, " few"]) -> None:
        """Let these of the versions that ran last be the state of their texts; no two of one text."""
        if self._state is None:
            return
        for batch in self._ran:
            found = torch.isin(batch.which, which).nonzero().flatten()
            self._state.overwrite(versions.rows[batch.which[found]], batch.cache, found, batch.first)

    @property
    def _reuses(self) -> bool:
        return self._forked and isinstance(self._model, Transformer) and not len(self._model.hooks)

    def _batches(self, versions: Versions) -> Iterator[tuple[_Batch, Float[Tensor, "few vocab"]]]:
        first = versions.first if self._reuses and self._state is not None else torch.zeros_like(versions.first)
        order = first.argsort(stable=True)
        sorted_first, begun = first[order].tolist(), 0
        for end in range(1, len(order) + 1):
            start, n = sorted_first[begun], end - begun
            rest = self.length - start
            enough = end < len(order) and sorted_first[end] > start and n * rest >= _POSITIONS
            if end == len(order) or enough or n >= rows_within(text_bytes(self._model, rest)):
                yield self._one(versions, order[begun:end], start)
                begun = end

    def _one(
        self, versions: Versions, which: Int[Tensor, " few"], first: int
    ) -> tuple[_Batch, Float[Tensor, "few vocab"]]:
        rows, x = versions.rows[which], versions.x[which]
        if not self._reuses:
            (out,) = self._fork.run([x], rows, last=True)
            cache = KVCache()
        else:
            assert isinstance(self._model, Transformer)
            cache = KVCache() if self._state is None else self._state.beginning(rows, first)
            rest = (x[:, first:].to(self.activation.dtype), self._tokens[rows, first:], self._mask[rows, first:])
            out = self._model.resume(self._site, *rest, cache, last=True)
        logits = out[:, -1] if self._unembed is None else self._unembed(out[:, -1])
        return _Batch(which, first, cache), logits.float().log_softmax(-1)
