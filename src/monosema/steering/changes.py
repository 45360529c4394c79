"""All edits at one site, of all rows of a batch, as a few tensors: one matrix product serves many rows.

What is added without reading a coordinate is one vector a row and where-clause. The other moves are entries of a table
[rows, entries]; the coordinates they name are read together, each once for all rows:

    c = read(x)   g = clamp(factor · c + add · u, low · u, high · u)   x ← x + (s · (g − c)) @ D
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from monosema.core import Site
from monosema.dictionaries import NamedLatents
from monosema.steering.coordinates import Coordinate, Latent, is_normalised
from monosema.steering.edits import Edit, Steering
from monosema.steering.moves import Add
from monosema.steering.where import Where

_FACTOR, _ADD, _LOW, _HIGH, _ONLY_ACTIVE, _BY_NORM, _STRENGTH = range(7)
_NOTHING = [1.0, 0.0, -math.inf, math.inf, 0.0, 0.0, 0.0]


class Mask(NamedTuple):
    """Positions of a pass that a where-clause selects, in the rows that have it; `some`, `every`: if it selects any, if
    all."""

    positions: Bool[Tensor, "batch pos"]
    some: bool
    every: bool

    @classmethod
    def of(cls, positions: Bool[Tensor, "batch pos"]) -> Mask:
        """Count the positions."""
        number = int(positions.sum())
        return cls(positions, number > 0, number == positions.numel())


@dataclass
class _Entry:
    """One edit of a row that reads its coordinate."""

    coordinate: Coordinate
    clause: int
    numbers: list[float]


@dataclass
class _Group:
    """Coordinates that are read together: latents of one dictionary, or plain directions (no dictionary)."""

    reads: tuple[Site, ...]
    coordinates: list[Coordinate] = field(default_factory=list)


class SiteChanges:
    """The changes of a batch's rows at one site.

    Attributes:
        site: where.
        reads: other sites whose activations of the same pass are needed.
    """

    def __init__(self, site: Site, rows: Sequence[Steering | None], clauses: Mapping[Where, int]) -> None:
        """`rows`: one steering for each, or a single one for all; `clauses`: the number of each where-clause."""
        self.site, self._rows, self._n_clauses = site, len(rows), len(clauses)
        self._added: dict[tuple[int, bool], list[tuple[int, Coordinate, float]]] = {}
        self._entries: list[list[_Entry]] = [[] for _ in rows]
        self._made: tuple[dict[tuple[int, bool], Tensor], _Table | None] | None = None
        for number, steering in enumerate(rows):
            for edit in () if steering is None else steering.edits:
                if edit.coordinate.site == site and steering is not None and steering.strength != 0:
                    self._take(number, edit, clauses[edit.where], steering.strength)
        groups: dict[object, _Group] = {}
        for entry in (entry for row in self._entries for entry in row):
            one = entry.coordinate
            key = (id(one.dictionary), one.reads) if isinstance(one, Latent) else None
            group = groups.setdefault(key, _Group(one.reads))
            if one not in group.coordinates:
                group.coordinates.append(one)
        self._groups = list(groups.values())
        self._columns = {one: number for number, one in enumerate(one for g in self._groups for one in g.coordinates)}
        self.reads = tuple(dict.fromkeys(read for group in self._groups for read in group.reads if read != site))

    def _take(self, row: int, edit: Edit, clause: int, strength: float) -> None:
        by_norm = edit.unit == "norm"
        unit = edit.factor
        if isinstance(edit.move, Add) and not is_normalised(edit.coordinate):
            added = self._added.setdefault((clause, by_norm), [])
            added.append((row, edit.coordinate, edit.move.amount * unit * strength))
            return
        factor, add, low, high, only_active = edit.move.numbers
        numbers = [factor, add * unit, low * unit, high * unit, float(only_active), float(by_norm), strength]
        self._entries[row].append(_Entry(edit.coordinate, clause, numbers))

    def __call__(
        self, x: Shaped[Tensor, "batch pos ..."], masks: Sequence[Mask], seen: Mapping[Site, Tensor]
    ) -> Shaped[Tensor, "batch pos ..."]:
        """Return the changed activations, given each clause's positions and the activations of sites in `reads`."""
        added, entries = self._made_for(tuple(x.shape[2:]), x.device)
        flat = (x.flatten(2) if x.ndim > 3 else x).float()
        out = flat if entries is None else self._moved(flat, entries, masks, seen)
        for (clause, by_norm), vectors in added.items():
            if masks[clause].some:
                change = vectors * torch.linalg.vector_norm(flat, dim=-1, keepdim=True) if by_norm else vectors
                positions = masks[clause].positions[..., None]
                out = out + change if masks[clause].every else torch.where(positions, out + change, out)
        return x if out is flat else out.to(x.dtype).reshape(x.shape)

    def _made_for(
        self, shape: tuple[int, ...], device: torch.device
    ) -> tuple[dict[tuple[int, bool], Tensor], _Table | None]:
        """The tensors, made in the first pass, when the shape of activations is known."""
        if self._made is None:
            self._made = self._vectors(shape, device), self._table(shape, device) if self._columns else None
        return self._made

    def _vectors(self, shape: tuple[int, ...], device: torch.device) -> dict[tuple[int, bool], Tensor]:
        """Sums that are added to each row, [rows, 1, width], by clause; of shares of the norm, directions of norm 1."""
        made = {}
        for key, added in self._added.items():
            total = torch.zeros(self._rows, 1, torch.Size(shape).numel())
            for row, coordinate, amount in added:
                vector = coordinate.row(shape).cpu()
                total[row, 0] += vector * (amount / float(vector.norm()) if key[1] else amount)
            made[key] = total.to(device)
        return made

    def _moved(
        self, flat: Float[Tensor, "batch pos width"], table: _Table, masks: Sequence[Mask], seen: Mapping[Site, Tensor]
    ) -> Tensor:
        batch, length, width = flat.shape
        if table.full and all(masks[clause].every for clause in table.clauses):
            # The usual step of generation: every entry holds at every position.
            where = active = None
            x, sites = flat.reshape(-1, width), {site: seen[site].flatten(2).flatten(0, 1) for site in self.reads}
            row = None if self._rows == batch and length == 1 else torch.arange(batch, device=flat.device)
            row = row if row is None else row.repeat_interleave(length)
        else:
            # [batch, pos, entries]: where the entries of each row hold.
            held = torch.stack([*(mask.positions for mask in masks), torch.zeros_like(masks[0].positions)])
            clause = table.clause.T.expand(-1, batch)
            active = held[clause, torch.arange(batch, device=flat.device)].permute(1, 2, 0)
            where = active.any(dim=-1)
            if not bool(where.any()):
                return flat
            x, sites = flat[where], {site: seen[site].flatten(2)[where] for site in self.reads}
            row, active = where.nonzero()[:, 0], active[where]
        if row is not None and self._rows == 1:
            row = torch.zeros_like(row)
        column = table.column if row is None else table.column[row]
        numbers = table.numbers if row is None else table.numbers[row]
        values, scale = self._read({self.site: x, **{site: one.float() for site, one in sites.items()}}, table)
        change = _change(x, values.gather(1, column), column, numbers, table)
        if active is not None:
            change = torch.where(active, change, 0)
        step = torch.zeros_like(values).scatter_add(1, column, change)
        step = step if scale is None else step * scale
        if where is None:
            return torch.addmm(x, step, table.directions).view(flat.shape)
        return flat.index_put((where,), x + step @ table.directions)

    def _read(self, given: Mapping[Site, Tensor], table: _Table) -> tuple[Tensor, Tensor | None]:
        """The coordinates of rows, and what multiplies their directions there; None for 1."""
        values, scales = [], []
        for group, reader in zip(self._groups, table.readers, strict=True):
            x = (
                given[group.reads[0]]
                if len(group.reads) == 1
                else torch.cat([given[one] for one in group.reads], dim=1)
            )
            if isinstance(reader, Tensor):
                values.append(x @ reader)
                scale = None
            else:
                values.append(reader.encode(x))
                scale = reader.scale(x)
            scales.append(x.new_ones(len(x), 1) if scale is None else scale.expand(len(x), 1))
        normalised = any(is_normalised(one) for one in self._columns)
        widths = [len(group.coordinates) for group in self._groups]
        scale = (
            torch.cat([one.expand(-1, n) for one, n in zip(scales, widths, strict=True)], dim=1) if normalised else None
        )
        return (values[0] if len(values) == 1 else torch.cat(values, dim=1)), scale

    def _table(self, shape: tuple[int, ...], device: torch.device) -> _Table:
        most = max(map(len, self._entries))
        column = [[self._columns[entry.coordinate] for entry in row] + [0] * (most - len(row)) for row in self._entries]
        clause = [[entry.clause for entry in row] + [self._n_clauses] * (most - len(row)) for row in self._entries]
        numbers = [[entry.numbers for entry in row] + [_NOTHING] * (most - len(row)) for row in self._entries]
        directions = torch.stack([one.row(shape).cpu() for one in self._columns]).to(device)
        readers: list[NamedLatents | Tensor] = []
        for group in self._groups:
            latents = [one for one in group.coordinates if isinstance(one, Latent)]
            if latents:
                readers.append(NamedLatents(latents[0].dictionary.to(device), [one.index for one in latents]))
            else:
                rows = torch.stack([one.row(shape).cpu() for one in group.coordinates])
                readers.append((rows / rows.square().sum(dim=1, keepdim=True)).T.to(device))
        held = torch.tensor(numbers, device=device)
        return _Table(
            torch.tensor(column, device=device),
            torch.tensor(clause, device=device),
            held,
            directions,
            directions.norm(dim=1),
            readers,
            full=min(map(len, self._entries)) == most,
            clauses=tuple({entry.clause for row in self._entries for entry in row}),
            uses_norm=bool(held[..., _BY_NORM].any()),
            clamps=bool(held[..., [_LOW, _HIGH]].isfinite().any()),
            spares_inactive=bool(held[..., _ONLY_ACTIVE].any()),
        )


@dataclass(frozen=True)
class _Table:
    """Entries of all rows.

    Attributes:
        column: the coordinate of each entry.
        clause: its where-clause; one behind the last where a row has fewer entries.
        numbers: its move, see the indices above.
        directions, norms: d of the coordinates, and their norms.
        readers: how each group of coordinates is read.
        full: True if all rows have as many entries.
        clauses: the where-clauses of all entries.
        uses_norm: True where a strength is a share of the norm.
        clamps, spares_inactive: True where an entry has bounds, or holds only where its coordinate is above 0.
    """

    column: Int[Tensor, "rows entries"]
    clause: Int[Tensor, "rows entries"]
    numbers: Float[Tensor, "rows entries 7"]
    directions: Float[Tensor, "columns width"]
    norms: Float[Tensor, " columns"]
    readers: list[NamedLatents | Tensor]
    full: bool
    clauses: tuple[int, ...]
    uses_norm: bool
    clamps: bool
    spares_inactive: bool


def _change(
    x: Float[Tensor, "n width"],
    c: Float[Tensor, "n entries"],
    column: Int[Tensor, "_ entries"],
    numbers: Float[Tensor, "_ entries 7"],
    table: _Table,
) -> Float[Tensor, "n entries"]:
    """Compute s · (g(c) − c)."""
    factor, add, low, high, only_active, by_norm, strength = numbers.unbind(-1)
    if table.uses_norm:
        share = torch.linalg.vector_norm(x, dim=-1, keepdim=True) / table.norms[column]
        u = torch.where(by_norm > 0, share, 1.0)
        # An infinite bound stays one where x is 0.
        low, high = (torch.where(bound.isinf(), bound, bound * u) for bound in (low, high))
        add = add * u
    g = torch.addcmul(add, factor, c)
    if table.clamps:
        g = g.clamp(low, high)
    change = (g - c) * strength
    return torch.where((only_active > 0) & (c <= 0), 0, change) if table.spares_inactive else change
