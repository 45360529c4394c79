"""Many texts that one model writes side by side, a token of each in a step; texts join and leave in between.

What a row is given does not depend on the others: rows that join are read on their own and padded on the left, rows
that leave are taken out of the cache, and the noise of a draw belongs to the row (see `Row`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import AnomalyError
from monosema.models.context import KVCache, Role, padded
from monosema.models.row import GenerationConfig, Row

if TYPE_CHECKING:
    from monosema.models.generation import TextGeneration

_COLDEST = 1e-30
"""Temperature below which float32 would divide by 0."""
_NARROWEST = 1e-30
"""Probability top_p below which float32 would keep no token."""
Around = Callable[[Sequence[Row]], contextlib.AbstractContextManager[object]]
"""The block that holds around a forward pass over rows, one below another."""


class Batch:
    """Texts that are written side by side.

    Args:
        model: writes them.
        use_cache: keep keys and values, if the model can; without, each step reads all texts again.
        around: is entered with the rows of each forward pass, for instance to steer them.
    """

    def __init__(self, model: TextGeneration, *, use_cache: bool = True, around: Around | None = None) -> None:
        self._model, self._around = model, around
        self._cache = KVCache() if use_cache and model.can_cache else None
        self._read: list[Row] = []
        self._new: list[Row] = []

    @property
    def rows(self) -> list[Row]:
        """The rows that are in it; those that have ended stay until they leave, as padding."""
        return self._read + self._new

    def join(self, rows: Sequence[Row]) -> None:
        """Take in rows; the next step reads what they hold, and gives them a token."""
        self._new += rows

    def leave(self, rows: Sequence[Row]) -> None:
        """Take rows out."""
        gone = set(map(id, rows))
        if not gone:
            return
        kept = [index for index, row in enumerate(self._read) if id(row) not in gone]
        if self._cache is not None and len(kept) < len(self._read):
            self._cache.keep(kept)
        self._read = [self._read[index] for index in kept]
        self._new = [row for row in self._new if id(row) not in gone]

    @torch.no_grad()
    def step(self) -> list[Row]:
        """Give each row that goes on its next token; returns these rows.

        A row whose logits are not finite ends with its failure. If a forward pass raises, no row was given anything,
        and rows can be taken out before the next step.
        """
        passes: list[tuple[Sequence[Row], Tensor]] = []
        rows = self.rows
        going = [row for row in rows if not row.ended]
        if not going:
            return []
        if self._cache is None:
            passes.append((rows, self._pass(rows, None)))
        else:
            fresh = KVCache()
            if self._new:
                passes.append((self._new, self._pass(self._new, fresh)))
            if any(not row.ended for row in self._read):
                try:
                    passes.append((self._read, self._pass(self._read, self._cache, latest=True)))
                except BaseException:
                    # Some layers have the new keys and some have not: all is read again.
                    self._read, self._new, self._cache = [], rows, KVCache()
                    raise
            self._cache.join(fresh)
        self._read, self._new = rows, []
        for some, logits in passes:
            _draw(some, logits)
        for row in going:
            if row.leader is not None:
                row.follow(row.leader)
        return going

    def _pass(
        self, rows: Sequence[Row], cache: KVCache | None, *, latest: bool = False
    ) -> Float[Tensor, "batch vocab"]:
        """Logits after the last token of each row, from its latest token or all."""
        model = self._model
        pad = model.tokenizer.pad_id or 0
        if latest:
            ids = [row.written[-1:] for row in rows]
            roles = [[int(Role.PADDING if row.ended else Role.GENERATED)] for row in rows]
        else:
            ids = [row.tokens for row in rows]
            roles = [row.roles for row in rows]
        tokens = padded(ids, pad, left=True).to(model.device)
        known = padded(roles, Role.PADDING, left=True).to(model.device)
        with contextlib.nullcontext() if self._around is None else self._around(rows):
            return model.next_logits(tokens, known != Role.PADDING, cache, known)


def _draw(rows: Sequence[Row], logits: Float[Tensor, "batch vocab"]) -> None:
    """Give each row that goes on and follows no other its next token."""
    usable = logits.amax(dim=-1).isfinite().tolist()
    alike: dict[tuple[object, ...], list[int]] = {}
    for number, row in enumerate(rows):
        if row.ended:
            continue
        row.logits = logits[number]
        if not usable[number]:
            row.failure = _not_finite(logits.dtype)
        elif row.leader is None:
            config = row.config
            alike.setdefault((config.temperature, config.top_k, config.top_p), []).append(number)
    for numbers in alike.values():
        settings = rows[numbers[0]].config
        some = logits if len(numbers) == len(rows) else logits[numbers]
        if settings.temperature == 0:
            drawn = some.argmax(-1).tolist()
        else:
            probabilities = next_token_probabilities(some, settings).cpu()
            drawn = [rows[number].sample(own) for number, own in zip(numbers, probabilities, strict=True)]
        for number, token in zip(numbers, drawn, strict=True):
            rows[number].write(token)


def next_token_probabilities(
    logits: Float[Tensor, "batch vocab"], config: GenerationConfig
) -> Float[Tensor, "batch vocab"]:
    """Return the next token's distribution: softmax(logits / temperature) within top_k, then top_p, renormalised."""
    logits = logits.float()
    if config.temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).float()
    if config.top_k is not None and config.top_k < logits.shape[-1]:
        least = logits.topk(config.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    # The largest becomes 0, so that no temperature, however small, makes it infinite.
    probabilities = ((logits - logits.amax(-1, keepdim=True)) / max(config.temperature, _COLDEST)).softmax(-1)
    if config.top_p is not None:
        ordered, order = probabilities.sort(dim=-1, descending=True)
        before = ordered.cumsum(-1) - ordered
        within = before < max(config.top_p, _NARROWEST)
        kept = torch.zeros_like(probabilities).scatter(-1, order, ordered * within)
        probabilities = kept / kept.sum(-1, keepdim=True)
    return probabilities


def require_finite(logits: Float[Tensor, "batch vocab"], needed: Sequence[bool]) -> None:
    """Raise AnomalyError where the logits of a row that is needed have no finite maximum."""
    usable = logits.amax(dim=-1).isfinite().tolist()
    if not all(good or not need for good, need in zip(usable, needed, strict=True)):
        raise _not_finite(logits.dtype)


def _not_finite(dtype: torch.dtype) -> AnomalyError:
    precision = str(dtype).removeprefix("torch.")
    cause = "Its weights, or an edit that is attached, hold values that are no numbers."
    if dtype == torch.float16:
        cause = "It computes values beyond the range of float16: load it with dtype='bfloat16' or 'float32'."
    return AnomalyError(f"The model's logits are not finite, so there is no next token ({precision}). {cause}")
