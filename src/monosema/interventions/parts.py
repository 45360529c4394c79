"""Parts of a site's value: some heads, some columns, some positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from monosema.core import InputError, Site, SiteError

_OF_SCORES = ("attn_scores", "pattern")


@dataclass(frozen=True, eq=False)
class Part:
    """A part of the value at a site; all of it where nothing is said.

    Attributes:
        heads: indices of heads; of what heads share, of the shared ones.
        columns: indices in the last dimension: neurons at `mlp.post`, latents of a dictionary, keys of a pattern.
        positions: indices, the same in all rows and from the end where they are negative; or a mask, one row for each
            row of the batch or one for all. Of attention scores and patterns they are those of queries.
    """

    heads: Sequence[int] | None = None
    columns: Sequence[int] | None = None
    positions: Sequence[int] | Bool[Tensor, "rows pos"] | None = None

    def mask(self, site: Site, x: Shaped[Tensor, "batch ..."]) -> Bool[Tensor, "..."] | None:
        """Return true for what belongs to the part, in a shape that broadcasts to the value's; None for all of it.

        Raises:
            SiteError: heads are asked for at a site that has none.
            InputError: a head, column or position that there is not, or a mask of another shape.
        """
        scores = site.component in _OF_SCORES
        position, head = (2, 1) if scores else (1, 2 if x.ndim == 4 else None)
        masks = list[Tensor]()
        if self.heads is not None:
            if head is None:
                raise SiteError(f"There are no heads at {site.short}: take z, q, k, v or result of that block.")
            masks.append(_along(x, head, self.heads, "head", site))
        if self.columns is not None:
            masks.append(_along(x, x.ndim - 1, self.columns, "column", site))
        if isinstance(self.positions, Tensor):
            masks.append(_mask_of_positions(self.positions, x, position, site))
        elif self.positions is not None:
            masks.append(_along(x, position, self.positions, "position", site))
        if not masks:
            return None
        whole = masks[0]
        for mask in masks[1:]:
            whole = whole & mask
        return whole


WHOLE = Part()
"""All of a value."""


def _along(x: Tensor, axis: int, indices: Sequence[int], name: str, site: Site) -> Tensor:
    """Return true at some indices of an axis."""
    size = x.shape[axis]
    wrong = [index for index in indices if not -size <= index < size]
    if wrong:
        raise InputError(f"There is no {name} {wrong[0]} at {site.short}: there are {size:,}, 0 to {size - 1:,}.")
    mask = torch.zeros(size, dtype=torch.bool, device=x.device)
    mask[torch.tensor([*indices], dtype=torch.int64, device=x.device)] = True
    return mask.view(*(1 if other != axis else size for other in range(x.ndim)))


def _mask_of_positions(mask: Tensor, x: Tensor, axis: int, site: Site) -> Tensor:
    rows, length = mask.shape
    if rows not in (1, len(x)) or length != x.shape[axis]:
        raise InputError(
            f"positions has the shape {tuple(mask.shape)}, and the value at {site.short} has {len(x)} rows of "
            f"{x.shape[axis]} positions: give one value for each."
        )
    shape = [1] * x.ndim
    shape[0], shape[axis] = rows, length
    return mask.to(x.device).view(shape)
