"""What an evaluation does with each batch: pieces that fit in memory, each run through the model in all versions."""

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
from monosema.evaluation.splice import can_fork, forked, unembed_of
from monosema.evaluation.units import UnitSums
from monosema.models import LanguageModel, owner

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

        def versions(x: Tensor) -> list[Tensor]:
            kept = x[keep].flatten(1).float()
            add_activations(self._sums, kept, self._mean, is_mean=self._is_mean)
            rebuilt = [row.add(kept, before) for row in self._rows]
            if self._losses is None:
                return []
            mean = self._mean.float().expand_as(kept)
            return [_spliced(x, keep, new) for new in (torch.zeros_like(kept), mean, *rebuilt)]

        if self._losses is None:
            versions(activations_at(self._model, [self._site], batch))
            return
        names = (*ABLATIONS, *(row.name for row in self._rows))
        outputs = forked(self._model, self._site, batch, versions, scored_tokens(batch))
        clean = next(outputs)
        if unembed_of(self._model, self._site) is None:
            self._losses.add(batch, clean, (([name], [one]) for name, one in zip(names, outputs, strict=True)))
        else:
            self._losses.add(batch, clean, [(names, list(outputs))])


def pieces(
    batch: TokenBatch, model: LanguageModel, site: Site, versions: int, memory_mb: float
) -> Iterator[TokenBatch]:
    """Rows of a batch in equal pieces that fit in memory while they run; a piece has one row at least."""
    model, site = owner(model, site)
    position = (versions if can_fork(model, site) else 1) * INSIDE * model.d_model
    if unembed_of(model, site) is None:
        position += LOGITS * model.vocab
    size = max(1, int(memory_mb * 1e6 / (batch.tokens.shape[1] * position * model.dtype.itemsize)))
    for start in range(0, len(batch.tokens), size):
        part = TokenBatch(*(getattr(batch, name)[start : start + size] for name in TokenBatch.__slots__))
        if bool(part.keep.any()):
            yield part


def _spliced(x: Tensor, keep: Tensor, new: Tensor) -> Tensor:
    out = x.clone()
    out[keep] = new.to(x.dtype).view(-1, *x.shape[2:])
    return out
