"""A pool of passages drawn before any latent is looked at, with the codes of all latents on them.

Activating passages that are drawn here are a random sample of a latent's activating passages, and a passage without an
activation is known to be one, because every latent's code was computed on each of its tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt64
from numpy.typing import NDArray

from monosema.atlas.encode import encode_batch
from monosema.atlas.layout import lay_out, span_hash
from monosema.atlas.statistics import passage_in_train
from monosema.core import CorpusError, Site
from monosema.data import TokenBatch
from monosema.dictionaries import Dictionary
from monosema.models import LanguageModel

BYTES_PER_ACTIVATION = 40
"""Peak memory of sorting the codes by latent, per activation."""


@dataclass(frozen=True)
class Pool:
    """Passages of one text, and the activations of all latents on them.

    Attributes:
        ids: tokens of each passage, filled with -1 on the right; no passage is there twice.
        hashes: of the passages.
        test: mask of passages of the test split; the hash decides.
        first: activations of latent i are first[i] … first[i + 1] − 1.
        slot: passage · width + column of each activation, ascending within a latent.
        value: the activation, above 0.
        tokens: tokens in all passages together.
        cut: True where the pool ended early because its codes filled the memory.
    """

    ids: Int[np.ndarray, "passages width"]
    hashes: UInt64[np.ndarray, " passages"]
    test: Bool[np.ndarray, " passages"]
    first: Int[np.ndarray, " starts"]
    slot: Int[np.ndarray, " n"]
    value: Float[np.ndarray, " n"]
    tokens: int
    cut: bool

    @property
    def width(self) -> int:
        """Tokens of a passage, at most."""
        return self.ids.shape[1]

    def active(self, latents: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return a mask of the passages in which each latent is active, shape (len(latents), passages)."""
        out = np.zeros((len(latents), len(self.ids)), np.bool_)
        row, entry = self.entries_of(latents)
        out[row, self.slot[entry] // self.width] = True
        return out

    def entries_of(self, latents: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the activations of the latents: index into `latents`, and index into `slot` and `value`."""
        length = self.first[latents + 1] - self.first[latents]
        row = np.repeat(np.arange(len(latents)), length)
        ends = np.cumsum(length)
        return row, np.arange(len(row)) + np.repeat(self.first[latents] - (ends - length), length)


@torch.inference_mode()
def read_pool(
    model: LanguageModel,
    dictionary: Dictionary,
    site: Site,
    batches: Iterable[TokenBatch],
    width: int,
    least: int = 8,
    memory_mb: int = 512,
) -> Pool:
    """Cut a text into passages and compute the codes of all latents on them, in one pass.

    Args:
        batches: the text.
        width: tokens of a passage, at most; no passage crosses the end of a document.
        least: shorter passages are left out.
        memory_mb: the pool ends early where its codes fill so much memory.

    Raises:
        CorpusError: the text has no passage of that length.
    """
    room = memory_mb * 1e6 / BYTES_PER_ACTIVATION
    ids, hashes, latents, slots, values = [], [], [], [], []
    passages = activations = 0
    seen: set[int] = set()
    cut = False
    for batch in batches:
        layout = lay_out([batch], width)
        starts = np.unique(layout.start[layout.keep]).astype(np.int64)
        stops = layout.stop[starts].astype(np.int64)
        starts, stops = starts[stops - starts >= least], stops[stops - starts >= least]
        names = span_hash(layout.prefix, starts, stops)
        _, fresh = np.unique(names, return_index=True)
        fresh = np.sort(fresh[[name not in seen for name in names[fresh].tolist()]])
        starts, stops, names = starts[fresh], stops[fresh], names[fresh]
        seen.update(names.tolist())
        if not len(starts):
            continue
        slot = np.full(len(layout), -1, np.int64)
        row, column = np.nonzero(np.arange(width) < (stops - starts)[:, None])
        slot[starts[row] + column] = (passages + row) * width + column
        text = np.full((len(starts), width), -1, np.int32)
        text[row, column] = layout.token[starts[row] + column]
        codes = encode_batch(model, dictionary, site, batch)
        token, place = torch.nonzero(codes.values > 0, as_tuple=True)
        where = slot[np.flatnonzero(layout.keep)][token.cpu().numpy()]
        inside = where >= 0
        slots.append(where[inside])
        latents.append(codes.indices[token, place].cpu().numpy()[inside].astype(np.int32))
        values.append(codes.values[token, place].float().cpu().numpy()[inside])
        ids.append(text)
        hashes.append(names)
        passages += len(text)
        activations += len(values[-1])
        if cut := activations >= room:
            break
    if not ids:
        raise CorpusError(f"The text for samples has no stretch of {least} tokens of one document.")
    owner = np.concatenate(latents)
    order = np.argsort(owner, kind="stable")
    all_hashes = np.concatenate(hashes)
    all_ids = np.concatenate(ids)
    return Pool(
        ids=all_ids,
        hashes=all_hashes,
        test=~passage_in_train(all_hashes),
        first=np.searchsorted(owner[order], np.arange(dictionary.n_latents + 1)),
        slot=np.concatenate(slots)[order],
        value=np.concatenate(values)[order],
        tokens=int((all_ids >= 0).sum()),
        cut=cut,
    )
