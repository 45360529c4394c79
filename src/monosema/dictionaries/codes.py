"""Sparse codes: which latents are active on each row, and how strongly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from monosema.core import VectorError
from monosema.kernels import Active, Full, Ragged, Selection, to_dense

Vectors = Float[Tensor, "*rows _"] | Float[np.ndarray, "*rows _"]
"""Vectors of any leading shape: one, rows, or those of a batch's positions."""


@dataclass(frozen=True, repr=False)
class Codes:
    """The active latents of n rows.

    Attributes:
        values: activations, at least 0 for the architectures that rectify. An entry with value 0 is padding and says
            nothing about its latent.
        indices: the latent of each value; no latent occurs twice in a row with values other than 0.
        n_latents: number of latents there are.
        scale, shift: what the dictionary's decoder gives is multiplied with for each row, and added to it: undoes the
            normalisation of input rows; the output of a skip connection. None where the dictionary has neither.
        shape: leading shape of the vectors that the rows stand for, in which dense codes and reconstructions come;
            None where they are rows.
    """

    values: Float[Tensor, "n k"]
    indices: Int[Tensor, "n k"]
    n_latents: int
    scale: Float[Tensor, "n 1"] | None = None
    shift: Float[Tensor, "n _"] | None = None
    shape: tuple[int, ...] | None = None

    @classmethod
    def of(cls, codes: Codes | Vectors, n_latents: int, like: Tensor) -> Codes:
        """Take codes as they are, and all entries of dense ones, so that gradients reach those of 0 too.

        Dense ones may be of torch or numpy, and become of the type of a dictionary's tensor.

        Raises VectorError for another number of latents.
        """
        given = codes.n_latents if isinstance(codes, Codes) else codes.shape[-1]
        if given != n_latents:
            raise VectorError(f"These codes have {given:,} latents, and the dictionary has {n_latents:,}.")
        if isinstance(codes, Codes):
            return codes
        rows, shape = rows_of(codes, like)
        return cls.from_entries(rows, Full(len(rows), n_latents)).in_shape(shape)

    @classmethod
    def from_dense(cls, dense: Float[Tensor, "n n_latents"]) -> Codes:
        """Keep the entries other than 0; as many columns as the fullest row has, at least one."""
        k = max(1, int((dense != 0).sum(dim=1).max())) if dense.numel() else 1
        indices = dense.abs().topk(min(k, dense.shape[1]), dim=1).indices
        return cls(dense.gather(1, indices), indices, dense.shape[1])

    @classmethod
    def joined(cls, parts: Sequence[Codes]) -> Codes:
        """Put the codes of several sets of rows one below the other, padded to the most columns of any."""
        rows = [part.padded() for part in parts]
        width = max((part.values.shape[1] for part in rows), default=1)

        def whole(name: str) -> Tensor:
            wide = (getattr(part, name) for part in rows)
            return torch.cat([nn.functional.pad(one, (0, width - one.shape[1])) for one in wide])

        past = ([one for part in rows if (one := getattr(part, name)) is not None] for name in ("scale", "shift"))
        scale, shift = (torch.cat(found) if found else None for found in past)
        return cls(whole("values"), whole("indices"), rows[0].n_latents, scale, shift)

    @classmethod
    def from_entries(cls, values: Tensor, active: Active) -> Codes:
        """Make codes of the entries that a kernel gives; nothing is copied."""
        if isinstance(active, Ragged):
            return RaggedCodes(values, active.latents, active.n_latents, starts=active.starts)
        if isinstance(active, Selection):
            return Codes(values, active.indices, active.n_latents)
        every = torch.arange(active.n_latents, device=values.device).expand(len(values), -1)
        return Codes(values, every, active.n_latents)

    @property
    def active(self) -> Selection | Ragged:
        """Latents that the values belong to, in the kernels' form."""
        return Selection(self.indices, self.n_latents)

    def with_bypass(self, scale: Tensor | None, shift: Tensor | None) -> Codes:
        """Return the codes with what reaches the output past the latents."""
        return self if scale is None and shift is None else replace(self, scale=scale, shift=shift)

    def in_shape(self, shape: tuple[int, ...] | None) -> Codes:
        """Return the codes as those of vectors of a leading shape; None: as rows."""
        return self if shape == self.shape else replace(self, shape=shape)

    def arranged(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "*rows d"]:
        """Return what belongs to the codes' rows in the leading shape of the vectors that they stand for."""
        return rows if self.shape is None else rows.view(*self.shape, rows.shape[1])

    def padded(self) -> Codes:
        """Return the same codes with as many columns in each row."""
        return self

    def dense(self) -> Float[Tensor, "*rows n_latents"]:
        """Return all activations, of the vectors' leading shape; memory n × n_latents."""
        return self.arranged(to_dense(self.values, self.indices, self.n_latents))

    def __repr__(self) -> str:
        rows = len(self) if self.shape is None else list(self.shape)
        l0 = f"{float(self.l0.mean()):.1f}" if len(self) else "–"
        return f"{type(self).__name__}({rows} vectors, {self.n_latents:,} latents, L0 {l0})"

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.values)

    @property
    def l0(self) -> Float[Tensor, " n"]:
        """Active latents of each row."""
        return (self.values != 0).sum(dim=1).to(torch.float32)

    def counts(self) -> Int[Tensor, " n_latents"]:
        """Count the rows on which each latent is active."""
        return torch.bincount(self.indices[self.values != 0], minlength=self.n_latents)


@dataclass(frozen=True, repr=False)
class RaggedCodes(Codes):
    """The active latents of n rows, of any number on each, one row after the other; what training steps give.

    Attributes:
        values: activations.
        indices: the latent of each value.
        starts: where each row's values start, and the end.
    """

    values: Float[Tensor, " entries"]
    indices: Int[Tensor, " entries"]
    starts: Int[Tensor, " n_plus_1"] = field(kw_only=True)

    @property
    def active(self) -> Ragged:
        """Latents that the values belong to, in the kernels' form."""
        return Ragged(self.indices, self.starts, self.n_latents)

    def padded(self) -> Codes:
        """Return codes with as many columns as the fullest row has, at least one; latents of added entries are 0."""
        active = self.active
        width = max(1, int(self.starts.diff().max())) if len(self) else 1
        places = active.rows * width + torch.arange(len(self.values), device=self.values.device)
        places -= self.starts[:-1].index_select(0, active.rows)
        values, indices = (flat.new_zeros(len(self) * width) for flat in (self.values, self.indices))
        values[places], indices[places] = self.values, self.indices
        padded = Codes(values.view(-1, width), indices.view(-1, width), self.n_latents, self.scale, self.shift)
        return padded.in_shape(self.shape)

    def dense(self) -> Float[Tensor, "*rows n_latents"]:
        """Return all activations, of the vectors' leading shape; memory n × n_latents."""
        return self.arranged(self.active.dense(self.values))

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1

    @property
    def l0(self) -> Float[Tensor, " n"]:
        """Active latents of each row."""
        active = (self.values != 0).to(torch.float32)
        return active.new_zeros(len(self)).index_add_(0, self.active.rows, active)


def rows_of(x: Vectors, like: Tensor) -> tuple[Float[Tensor, "n d"], tuple[int, ...] | None]:
    """Return vectors as rows, on the device and of the type of a dictionary's tensor, and their leading shape.

    The shape is None where they are rows already.
    """
    if isinstance(x, np.ndarray):
        x = torch.from_numpy(x).to(like.device)
    x = x.to(like.dtype)
    return (x, None) if x.ndim == 2 else (x.reshape(-1, x.shape[-1]), tuple(x.shape[:-1]))
