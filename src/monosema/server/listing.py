"""The list of features: which fit, in which order, and one page of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from monosema.core import InputError

if TYPE_CHECKING:
    from monosema.pages.features import FeatureTables

Sort = Literal["fit", "margin", "score", "density", "rare", "max", "share", "lack", "label", "latent"]
State = Literal["alive", "dead", "all"]
Labels = Literal["any", "above", "below", "none"]
_SORTS: Mapping[str, tuple[str, int]] = {
    "margin": ("label_margin", -1),
    "score": ("label_score", -1),
    "density": ("density", -1),
    "rare": ("density", 1),
    "max": ("max", -1),
    "share": ("share", -1),
    "lack": ("share", 1),
}


@dataclass(frozen=True)
class Found:
    """Features that a search found.

    Attributes:
        rows: their rows, upwards, shape (found,).
        fit: how well each fits, the greater the better.
        mode: how was searched.
        why: says of a row why it was found; called for the rows of a page only.
        note: why not as was asked.
        waits: True where more is found once what is searched has been made.
    """

    rows: NDArray[np.int64]
    fit: NDArray[np.float64]
    mode: str
    why: Callable[[int], str | None] = lambda row: None
    note: str | None = None
    waits: bool = False


@dataclass(frozen=True)
class Filters:
    """Conditions on a listed feature: ends of its density, score and margin; whether it is alive and labelled; one of a
    list of latents. None asks for nothing."""

    alive: State = "alive"
    density: tuple[float, float] | None = None
    score: tuple[float, float] | None = None
    margin: tuple[float, float] | None = None
    labels: Labels = "any"
    latents: Sequence[int] | None = None

    def masks(self, tables: FeatureTables) -> dict[str, NDArray[np.bool_]]:
        """Return by name of a filter which rows it lets through; filters that ask for nothing are not there."""
        masks: dict[str, NDArray[np.bool_]] = {}
        if self.alive != "all":
            masks["alive"] = tables.alive if self.alive == "alive" else ~tables.alive
        for name, column in (("density", "density"), ("score", "label_score"), ("margin", "label_margin")):
            ends = getattr(self, name)
            if ends is not None:
                values = tables.columns[column]
                masks[name] = (values >= ends[0]) & (values <= ends[1])
        if self.labels != "any":
            margin = tables.columns["label_margin"]
            tests = {"above": margin > 0, "below": margin <= 0, "none": ~np.isfinite(margin)}
            masks["labels"] = tests[self.labels]
        if self.latents is not None:
            masks["list"] = np.isin(tables.latent, np.array(self.latents, np.int64))
        return masks


class Listing:
    """Pages of the features of an atlas; orders are kept, since the atlas does not change under them."""

    def __init__(self, tables: FeatureTables) -> None:
        self.tables = tables
        self._orders: dict[str, NDArray[np.int64]] = {}

    def page(self, filters: Filters, sort: Sort, offset: int, limit: int, found: Found | None) -> dict[str, Any]:
        """Return a page of the list, how many fit, and where none does what each filter alone leaves out.

        Raises:
            InputError: the order is by fit without a search, or by a share that the dictionary has not.
        """
        tables = self.tables
        masks = filters.masks(tables)
        kept = np.ones(len(tables), np.bool_)
        for mask in masks.values():
            kept &= mask
        if found is not None:
            masks["search"] = np.zeros(len(tables), np.bool_)
            masks["search"][found.rows] = True
            kept &= masks["search"]
        if sort == "fit":
            if found is None:
                raise InputError("The order 'fit' needs a text to search for: give q, or another sort.")
            margin = tables.columns["label_margin"][found.rows]  # equally fit ones as `Atlas.search` has them
            order = found.rows[np.lexsort((found.rows, np.where(np.isfinite(margin), -margin, np.inf), -found.fit))]
        else:
            order = self._order(sort)
        rows = order[kept[order]]
        shown = rows[offset : offset + limit].tolist()
        lines = [tables.line(row) for row in shown]
        if found is not None:
            fit = found.fit[np.searchsorted(found.rows, shown)].tolist()
            for row, line, fits in zip(shown, lines, fit, strict=True):
                line |= {"fit": fits, "why": found.why(row)}
        removed = {} if rows.size else {name: int((~mask).sum()) for name, mask in masks.items()}
        return {
            "total": int(rows.size),
            "of": len(tables),
            "removed": dict(sorted(removed.items(), key=lambda pair: -pair[1])),
            "features": lines,
        }

    def _order(self, sort: str) -> NDArray[np.int64]:
        """Return all rows in an order; those without a value come last, equal ones by number."""
        if sort not in self._orders:
            rows = np.arange(len(self.tables))
            if sort == "label":
                labels = [text.lower() or "\uffff" for text in self.tables.labels]
                self._orders[sort] = np.array(sorted(rows.tolist(), key=labels.__getitem__), np.int64)
            elif sort == "latent":
                self._orders[sort] = rows
            else:
                name, sign = _SORTS[sort]
                if name not in self.tables.columns:
                    raise InputError(f"Features can’t be sorted by {sort!r}: the dictionary is no crosscoder.")
                values = sign * self.tables.columns[name].astype(np.float64)
                self._orders[sort] = np.lexsort((rows, np.where(np.isfinite(values), values, np.inf)))
        return self._orders[sort]
