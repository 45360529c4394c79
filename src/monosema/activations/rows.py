"""From one forward pass to the rows that are kept, at any number of sites at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.core import Site, SiteError, VectorError
from monosema.data import TokenBatch
from monosema.models import LanguageModel

__all__ = ["BatchRows", "RowTaker"]


@dataclass(frozen=True, slots=True)
class BatchRows:
    """Kept rows of one batch, on the CPU.

    Attributes:
        values: by site, `[n, width]` in the type the model computed; what lies behind the position (heads and their
            parts) is one row.
        index: place of each row in the flattened batch.
        extreme: rows left out because of an extreme norm, by site.
        extreme_tokens: rows left out because of an extreme norm at any site.
    """

    values: dict[Site, Tensor]
    index: Int[Tensor, " n"]
    extreme: dict[Site, int]
    extreme_tokens: int


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
        index = batch.keep.flatten().nonzero().squeeze(1)
        mask = None if bool(batch.attention_mask.all()) else batch.attention_mask.to(self._model.device)
        with torch.inference_mode():
            got = self._model.activations(batch.tokens.to(self._model.device), self._sites, mask)
            on_device = index.to(self._model.device)
            rows = {site: _rows(site, got[site], batch, on_device) for site in self._sites}
            ordinary, extreme = self._ordinary(rows)
            left_out = 0 if ordinary is None else len(index) - len(ordinary)
            if ordinary is not None and left_out:
                rows = {site: values.index_select(0, ordinary) for site, values in rows.items()}
                index = index.index_select(0, ordinary.cpu())
            return BatchRows({site: values.cpu() for site, values in rows.items()}, index, extreme, left_out)

    def _ordinary(self, rows: dict[Site, Tensor]) -> tuple[Int[Tensor, " n"] | None, dict[Site, int]]:
        """Indices of rows without an extreme norm (None: all), and how many are extreme at each site."""
        extreme = dict.fromkeys(self._sites, 0)
        bad: Tensor | None = None
        for site, values in rows.items():
            norms = torch.linalg.vector_norm(values, dim=1, dtype=torch.float32)
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
        return (None if bad is None else (~bad).nonzero().squeeze(1)), extreme


def _rows(site: Site, values: Tensor, batch: TokenBatch, index: Int[Tensor, " n"]) -> Float[Tensor, "n width"]:
    if values.ndim < 3 or values.shape[:2] != batch.tokens.shape:
        raise SiteError(
            f"The site {site} gives an array of shape {list(values.shape)} for {list(batch.tokens.shape)} tokens: it "
            "has no row for each token, so no dictionary can be trained on it. Choose a site such as 3.resid_post."
        )
    return values.reshape(batch.tokens.numel(), -1).index_select(0, index)
