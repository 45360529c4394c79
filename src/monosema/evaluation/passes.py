"""Passes of an evaluation over each batch: pieces that fit in memory, run through the model in all versions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.activations import activations_at
from monosema.core import Site
from monosema.data import TokenBatch
from monosema.evaluation.next_token import ABLATIONS, NextToken, scored_tokens
from monosema.evaluation.reconstruction import Reconstruction, add_activations
from monosema.evaluation.units import UnitSums
from monosema.interventions import put_rows
from monosema.models import Fork, LanguageModel, can_fork, resolve_site, unembed_of

INSIDE = 12
"""Values that a block holds for each position, as a multiple of the stream's width; measured."""
LOGITS = 4
"""Copies of one version's logits that are held at a time where a model gives nothing else."""


class Passes:
    """Adds batches to the sums of all dictionaries."""

    def __init__(
        self,
        model: LanguageModel,
        site: Site,
        read: Sequence[Site],
        sums: UnitSums,
        rows: Sequence[Reconstruction],
        losses: NextToken | None,
        mean: Float[Tensor, " d"],
        *,
        is_mean: bool,
    ) -> None:
        """Args: mean: what mean ablation puts in place; `is_mean` says that it is the mean of the text itself."""
        self._model, self._site, self._read = model, site, read
        self._sums, self._rows, self._losses = sums, rows, losses
        self._mean, self._is_mean = mean, is_mean

    def add(self, batch: TokenBatch) -> None:
        """Add one piece of a batch, from one forward pass, or two where a site is read that isn't written."""
        self._sums.begin(batch)
        keep = batch.keep.to(self._model.device)
        before = activations_at(self._model, self._read, batch)[keep].float() if self._read else None

        if self._losses is None:
            self._rebuild(activations_at(self._model, [self._site], batch), keep, before)
            return
        mask = None if bool(batch.attention_mask.all()) else batch.attention_mask
        fork = Fork(self._model, self._site, batch.tokens, mask)
        versions = [put_rows(fork.activation, keep, rows) for rows in self._rebuild(fork.activation, keep, before)]
        scored = scored_tokens(batch).to(keep.device)
        outputs = (out[scored] for out in fork.run([None, *versions]))
        names, clean = (*ABLATIONS, *(row.name for row in self._rows)), next(outputs)
        if unembed_of(self._model, self._site) is None:
            self._losses.add(batch, clean, (([name], [one]) for name, one in zip(names, outputs, strict=True)))
        else:
            self._losses.add(batch, clean, [(names, list(outputs))])

    def _rebuild(self, x: Tensor, keep: Tensor, before: Tensor | None) -> list[Tensor]:
        """Add the kept activations to the sums; returns what stands in their place in each version."""
        kept = x[keep].flatten(1).float()
        add_activations(self._sums, kept, self._mean, is_mean=self._is_mean)
        rebuilt = [row.add(kept, before) for row in self._rows]
        return [torch.zeros_like(kept), self._mean.float().expand_as(kept), *rebuilt]


def pieces(
    batch: TokenBatch, model: LanguageModel, site: Site, versions: int, memory_mb: float
) -> Iterator[TokenBatch]:
    """Rows of a batch in equal pieces that fit in memory while they run; a piece has one row at least."""
    model, site = resolve_site(model, site)
    position = (versions if can_fork(model, site) else 1) * INSIDE * model.d_model
    if unembed_of(model, site) is None:
        position += LOGITS * model.vocab
    size = max(1, int(memory_mb * 1e6 / (batch.tokens.shape[1] * position * model.dtype.itemsize)))
    for start in range(0, len(batch.tokens), size):
        part = TokenBatch(*(getattr(batch, name)[start : start + size] for name in TokenBatch.__slots__))
        if bool(part.keep.any()):
            yield part
