"""From one forward pass to the rows that are kept, at any number of sites at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from monosema.core import Site, SiteError, VectorError
from monosema.data import TokenBatch
from monosema.models import LanguageModel

SHORT = 8
"""Runs of fewer rows than this on average are gathered first: so many small copies would take longer."""


@dataclass(frozen=True, slots=True)
class BatchRows:
    """Activations of one batch, and which of its rows are kept.

    Attributes:
        flat: by site, a row for every token of the batch, where the model computes and in the type it computes; what
            lies behind the position (heads and their parts) is one row.
        index: which rows are kept.
        runs: the same as stretches of neighbours, from the first to below the second.
        extreme: rows left out because of an extreme norm, by site.
        extreme_tokens: rows left out because of an extreme norm at any site.
    """

    flat: dict[Site, Shaped[Tensor, "_ _"]]
    index: Int[Tensor, " n"]
    runs: list[tuple[int, int]]
    extreme: dict[Site, int]
    extreme_tokens: int

    def at(self, site: Site) -> Shaped[Tensor, "n width"]:
        """The kept rows of a site, on the CPU."""
        flat = self.flat[site]
        return flat.index_select(0, self.index.to(flat.device)).cpu()

    def put(self, site: Site, out: Shaped[Tensor, "n width"]) -> None:
        """Write the kept rows of a site into `out`, in its type, in one pass over them where they lie together."""
        flat, at = self.flat[site], 0
        if flat.device.type != "cpu" or len(self.runs) * SHORT > len(self.index):
            out.copy_(flat.index_select(0, self.index.to(flat.device)))
            return
        for start, stop in self.runs:
            out[at : at + stop - start].copy_(flat[start:stop])
            at += stop - start


class RowTaker:
    """Runs the model over batches and takes the rows that are for training.

    A token whose norm is beyond `limit` times the typical one at any of the sites is left out at all sites. The typical
    norm is the median of the first batch's rows; it stays what it was (`typical_norms`), so a resumed capture
    leaves out the same tokens.
    """

    def __init__(
        self,
        model: LanguageModel,
        sites: list[Site],
        limit: float | None,
        typical_norms: dict[Site, float] | None = None,
    ) -> None:
        self._model = model
        self._sites = sites
        self._limit = limit
        self.typical_norms: dict[Site, float] = dict(typical_norms or {})

    def __call__(self, batch: TokenBatch) -> BatchRows:
        """Rows of one batch. Raises VectorError where the model gives NaN or infinity, SiteError where a site has no
        row for each token (attention patterns)."""
        device = self._model.device
        mask = None if bool(batch.attention_mask.all()) else batch.attention_mask.to(device)
        with torch.inference_mode():
            got = self._model.activations(batch.tokens.to(device), self._sites, mask)
            flat = {site: _flat(site, got[site], batch) for site in self._sites}
            index = batch.keep.flatten().nonzero().squeeze(1)
            ordinary, extreme = self._ordinary(flat, index.to(device))
            kept = index if ordinary is None else index[ordinary.cpu()]
            return BatchRows(flat, kept, _runs(kept), extreme, len(index) - len(kept))

    def _ordinary(
        self, flat: dict[Site, Tensor], index: Int[Tensor, " n"]
    ) -> tuple[Bool[Tensor, " n"] | None, dict[Site, int]]:
        """Mark the kept rows without an extreme norm (None: all), and count the others at each site."""
        extreme = dict.fromkeys(self._sites, 0)
        bad: Tensor | None = None
        for site, values in flat.items():
            norms = torch.linalg.vector_norm(values, dim=1, dtype=torch.float32)[index]
            if not bool(torch.isfinite(norms).all()):
                raise VectorError(
                    f"The model {self._model.name} gives NaN or infinity at {site.short} for "
                    f"{int((~torch.isfinite(norms)).sum())} of {len(norms)} tokens of a batch. "
                    "Load it in float32 (dtype = 'float32'), or choose another site."
                )
            if self._limit is None or not len(norms):
                continue
            typical = self.typical_norms.setdefault(site, float(norms.median()))
            beyond = norms > self._limit * typical
            extreme[site] = int(beyond.sum()) if typical > 0 else 0
            if extreme[site]:
                bad = beyond if bad is None else bad | beyond
        return (None if bad is None else ~bad), extreme


def _runs(index: Int[Tensor, " n"]) -> list[tuple[int, int]]:
    """Rising numbers as stretches of neighbours."""
    if not len(index):
        return []
    breaks = (index.diff() != 1).nonzero().flatten()
    firsts = torch.cat([index[:1], index[breaks + 1]])
    lasts = torch.cat([index[breaks], index[-1:]])
    return list(zip(firsts.tolist(), (lasts + 1).tolist(), strict=True))


def _flat(site: Site, values: Tensor, batch: TokenBatch) -> Shaped[Tensor, "rows width"]:
    if values.ndim < 3 or values.shape[:2] != batch.tokens.shape:
        raise SiteError(
            f"The site {site} gives an array of shape {list(values.shape)} for {list(batch.tokens.shape)} tokens: it "
            "has no row for each token, so no dictionary can be trained on it. Choose a site such as 3.resid_post."
        )
    return values.reshape(batch.tokens.numel(), -1)


def activations_at(model: LanguageModel, sites: Sequence[Site], batch: TokenBatch) -> Float[Tensor, "batch pos d"]:
    """Activations of all positions of a batch, of several sites side by side, from a pass that stops at the last."""
    mask = None if bool(batch.attention_mask.all()) else batch.attention_mask.to(model.device)
    got = model.activations(batch.tokens.to(model.device), sites, mask)
    return torch.cat([got[site].flatten(2) for site in sites], dim=2)
