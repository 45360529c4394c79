"""The one pass over the text: tokens to activations to codes to shards of the shards."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from monosema.activations import activations_at
from monosema.atlas.code_shards import ByLatent, CodeShards
from monosema.atlas.layout import lay_out
from monosema.core import CorpusError, Progress, Site, VectorError, choose_product
from monosema.data import TokenBatch, text_hash
from monosema.dictionaries import Codes, Dictionary, sites_read
from monosema.models import LanguageModel

_BYTES_PER_ACTIVATION = 40
_POSITIONS = 262_144


def encode_batch(model: LanguageModel, dictionary: Dictionary, site: Site, batch: TokenBatch) -> Codes:
    """Codes of the kept tokens of a batch, in row-major order; of a crosscoder, from all its sites.

    Raises VectorError where activations are NaN or infinite: their codes would pass for those of silent latents.
    """
    x = activations_at(model, sites_read(dictionary, site), batch)[batch.keep.to(model.device)].float()
    if not bool(x.sum().isfinite()) and (wrong := int((~x.isfinite()).any(dim=1).sum())):
        raise VectorError(
            f"The model {model.name} gives NaN or infinity at {site.short} for {wrong} of {len(x)} tokens of a batch. "
            "Load it in float32 (dtype = 'float32'), or choose another site."
        )
    # Vectors of items are encoded as `monosema encode` does: of few, those that a coarser product moves would show.
    product = torch.float32 if model.context == 1 else choose_product(x.device)
    return dictionary.encode(x, product)


@torch.inference_mode()
def encode_text(
    model: LanguageModel,
    dictionary: Dictionary,
    site: Site,
    batches: Iterable[TokenBatch],
    shards: CodeShards,
    passage: int,
    memory_mb: int,
    progress: Progress,
) -> None:
    """Encode the whole text into the shards, going on after the shards that are already there.

    Batches that finished shards hold are read but not computed again. Where they are not the ones that the shards
    were made of, the shards from there on are made anew.

    Raises:
        CorpusError: there is not one kept token.
    """
    room = int(memory_mb * 1e6 / _BYTES_PER_ACTIVATION)
    stream = iter(batches)
    pending = _skip_finished(stream, shards, progress)
    span = _Span()
    while (batch := pending.pop(0) if pending else next(stream, None)) is not None:
        span.add(batch, encode_batch(model, dictionary, site, batch))
        progress.advance(int(batch.keep.sum()))
        if span.activations >= room or span.positions >= _POSITIONS:
            span.write(shards, dictionary.n_latents, passage)
            span = _Span()
    if span.batches:
        span.write(shards, dictionary.n_latents, passage)
    if not sum(shard.activations for shard in shards) and not any(shard.layout.keep.any() for shard in shards):
        raise CorpusError(
            "The text has no tokens to look at: an atlas needs at least one that is not padding or a sink."
        )


def _skip_finished(stream: Iterable[TokenBatch], shards: CodeShards, progress: Progress) -> list[TokenBatch]:
    """Read past the batches of finished shards; gives those that were read but are in no shard any more."""
    stream = iter(stream)
    for index, shard in enumerate(shards):
        read = [batch for _, batch in zip(range(shard.batches), stream, strict=False)]
        if len(read) != shard.batches or text_hash(read) != shard.text:
            shards.truncate(index)
            return read
        progress.advance(sum(int(batch.keep.sum()) for batch in read))
    return []


class _Span:
    """Batches and their codes, until they are a shard."""

    def __init__(self) -> None:
        self.batches: list[TokenBatch] = []
        self.positions = 0
        self.activations = 0
        self._latents: list[np.ndarray] = []
        self._values: list[np.ndarray] = []
        self._counts: list[np.ndarray] = []

    def add(self, batch: TokenBatch, codes: Codes) -> None:
        """Take the codes of one batch; those above 0 count."""
        active = codes.values > 0
        counts = np.zeros(batch.tokens.numel(), np.int64)
        counts[batch.keep.numpy().reshape(-1)] = active.sum(dim=1).cpu().numpy()
        self._counts.append(counts)
        self._latents.append(codes.indices[active].to(torch.int32).cpu().numpy())
        self._values.append(codes.values[active].float().cpu().numpy())
        self.batches.append(batch)
        self.positions += batch.tokens.numel()
        self.activations += len(self._values[-1])

    def write(self, shards: CodeShards, n_latents: int, passage: int) -> None:
        """Turn the codes over and write the shard."""
        shards.append(
            lay_out(self.batches, passage), self._turned(n_latents), len(self.batches), text_hash(self.batches)
        )

    def _turned(self, n_latents: int) -> ByLatent:
        from scipy.sparse import csr_array

        ends = np.concatenate([[0], np.cumsum(np.concatenate(self._counts))]).astype(np.int64)
        latents, values = np.concatenate(self._latents), np.concatenate(self._values)
        index = latents.dtype if len(latents) < 2**31 else np.dtype(np.int64)
        shape = (self.positions, n_latents)
        turned = csr_array((values, latents, ends.astype(index)), shape=shape).tocsc()
        return ByLatent(turned.indptr.astype(np.int64), turned.indices.astype(np.int32), turned.data)
