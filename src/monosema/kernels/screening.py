"""Screening: a product of 8-bit integers names the pre-activations that may matter.

    x ≈ unit · X,   W ≈ scale · V   (X and V whole numbers up to 127, one unit for each row)
    pre / (unit · scale) ≈ X Vᵀ + bias / (unit · scale)

Processors without fast bf16 products multiply 8-bit integers three to four times as fast as float32 (AVX512-VNNI). The
rounded product only names candidates: their pre-activations are then computed in float32 from the rows of the encoder
that they need, and those decide. So values are as exact as ever. What rounding may cost is an entry that is missed: a
few rows of each batch are computed both ways, and where too much is missed there the batch isn't screened.

The bias is part of the product, in further columns: inputs hold 1 / unit there, in relation to the largest of them, the
encoder holds the bias in two digits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int8
from torch import Tensor

from monosema.kernels.ragged import Ragged

FEWEST_ROWS = 256
"""Rows from which rounding the encoder is worth its time."""
SELECTIVE = 32
"""Latents for each that is kept from which screening pays."""
SAMPLE = 64
"""Rows of a batch, evenly spaced, that tell its density or its floor, and that are computed both ways."""
TOLERATED = 0.005
"""Share of the entries of the sample that may be missed: what bf16 products miss too, measured."""
CROWD = 1 / 8
"""Share of all entries that may be candidates."""
LARGEST = 127
LOW_DIGIT = 8
"""Value of the lower digit of the bias, in units of the product."""
BIAS_COLUMNS = 16
"""Columns that the higher digit may take; a bias beyond them is cut off, far above any other pre-activation."""
SURE = 3.0
"""Standard deviations of the rounded product by which a candidate may lie below the floor."""
GROUPS = 512
"""Groups of columns at least: their maxima are partitioned in a fraction of the time that they take to find."""
MOST = 3
"""Groups with candidates at most, for each latent that is wanted."""
BLOCK_BYTES = 6 * 2**20
"""Size of the block of 32-bit products that is searched at once: measured best where it fits the cache."""
CACHED_BYTES = 2**20
"""Size of the block that is rounded at once."""
SMALLEST_ROW = 1 / 16
"""Rows are rounded as if they were at least this large, measured by the median row."""


class Rounded(NamedTuple):
    """Inputs and encoder in 8 bits.

    Attributes:
        rows: inputs, with the columns that the bias is multiplied by.
        weight: encoder, with the bias.
        deviation: standard deviation of an entry's error, in units of the product, where it is largest.
    """

    rows: Int8[Tensor, "n columns"]
    weight: Int8[Tensor, "m columns"]
    deviation: float

    def some(self, rows: slice) -> Rounded:
        """A part of the inputs."""
        return self._replace(rows=self.rows[rows].contiguous())

    def products(self) -> Iterator[Int[Tensor, "block m"]]:
        """Blocks of rows · weightᵀ in 32-bit integers, exact, all in one piece of memory."""
        step = max(1, BLOCK_BYTES // (4 * len(self.weight)))
        block = torch.empty(min(step, len(self.rows)), len(self.weight), dtype=torch.int32)
        for part in self.rows.split(step):
            yield torch._int_mm(part, self.weight.T, out=block[: len(part)])


def rounded(x: Float[Tensor, "n d"], encoder: Float[Tensor, "m d"], bias: Float[Tensor, " m"]) -> Rounded | None:
    """Inputs, encoder and bias in 8 bits; None where a number among them is not finite."""
    d = x.shape[1]
    tiny = torch.finfo(x.dtype).tiny * LARGEST
    size = _magnitude(torch.aminmax(x, dim=1))
    size = size.clamp(min=max(float(size.median()) * SMALLEST_ROW, tiny))
    scale = _magnitude(torch.aminmax(encoder)).clamp(min=tiny) / LARGEST
    share = size.min() / size
    whole = bias / (scale * size.min() / LARGEST)
    if not bool(torch.isfinite(size.sum() + scale + whole.abs().max())):
        return None
    high = (whole / LARGEST).round_().clamp_(-LARGEST * BIAS_COLUMNS, LARGEST * BIAS_COLUMNS)
    low = ((whole - LARGEST * high) / LOW_DIGIT).round_().clamp_(-LARGEST, LARGEST)
    columns = max(1, -(-int(high.abs().max()) // LARGEST))
    rows = torch.empty(len(x), d + columns + 1, dtype=torch.int8)
    weight = torch.empty(len(encoder), d + columns + 1, dtype=torch.int8)
    norms = (
        _round_into(rows[:, :d], x, LARGEST / size),
        _round_into(weight[:, :d], encoder, (1 / scale).expand(len(encoder))),
    )
    steepest = float(high.abs().max())
    for column in range(d, d + columns):
        weight[:, column] = part = high.clamp(-LARGEST, LARGEST)
        high -= part
    weight[:, -1] = low
    rows[:, d:-1] = (LARGEST * share).round_().unsqueeze(1)
    rows[:, -1] = (LOW_DIGIT * share).round_()
    # A whole number is off by up to a half, evenly: by 1/12 in the mean square.
    return Rounded(rows, weight, math.sqrt((norms[0] ** 2 + norms[1] ** 2 + steepest**2) / 12))


def _magnitude(ends: tuple[Tensor, Tensor]) -> Tensor:
    """The larger of the magnitudes of a minimum and a maximum."""
    return torch.maximum(-ends[0], ends[1])


def _round_into(out: Int8[Tensor, "n d"], x: Float[Tensor, "n d"], factors: Float[Tensor, " n"]) -> float:
    """Write factors · x as whole numbers, in blocks that fit the cache; returns the largest norm of a row."""
    largest = 0.0
    step = max(1, CACHED_BYTES // (x.shape[1] * x.element_size()))
    for into, part, factor in zip(out.split(step), x.split(step), factors.split(step), strict=True):
        whole = torch.mul(part, factor.unsqueeze(1)).round_()
        into.copy_(whole)
        largest = max(largest, float(torch.linalg.vector_norm(whole, dim=1).max()))
    return largest


def candidates_of_rows(whole: Rounded, k: int) -> Ragged:
    """Latents of each row among which its k largest pre-activations are, in no order.

    At least k entries of a row reach the k-th largest of the maxima of groups of columns, and few more: each of the k
    groups has one. What lies below by less than `SURE` standard deviations is a candidate too, up to `MOST` groups for
    each latent that is wanted.
    """
    m, margin = len(whole.weight), round(SURE * whole.deviation)
    groups = next(number for number in range(min(m, MOST * k), m + 1) if m % number == 0 and number >= min(m, GROUPS))
    return joined((_near_the_largest(block, k, groups, margin) for block in whole.products()), m)


def _near_the_largest(block: Int[Tensor, "n m"], k: int, groups: int, margin: int) -> Ragged:
    n, m = block.shape
    members = block.unflatten(1, (-1, groups))
    heads = members.amax(dim=1).numpy()
    most = min(groups, MOST * k)
    largest = np.partition(heads, groups - most, axis=1)[:, groups - most :]
    floors = np.maximum(np.partition(largest, most - k, axis=1)[:, most - k] - margin, largest[:, 0])
    chosen = torch.from_numpy(np.flatnonzero(heads >= floors[:, None]))
    rows, columns = torch.div(chosen, groups, rounding_mode="floor"), chosen % groups
    near = np.flatnonzero(members[rows, :, columns].numpy() >= floors[rows.numpy()][:, None])
    pair, member = torch.from_numpy(near // (m // groups)), torch.from_numpy(near % (m // groups))
    starts = torch.searchsorted(rows[pair], torch.arange(n + 1))
    return Ragged(member * groups + columns[pair], starts, m)


def candidates_above(whole: Rounded) -> Ragged:
    """Latents of each row, in rising order, whose pre-activations may be positive."""
    m, margin = len(whole.weight), round(SURE * whole.deviation)

    def above(block: Int[Tensor, "n m"]) -> Ragged:
        places = torch.from_numpy(np.flatnonzero(block.numpy() > -margin))
        return Ragged(places % m, torch.searchsorted(places, torch.arange(len(block) + 1) * m), m)

    return joined(map(above, whole.products()), m)


def joined(parts: Iterable[Ragged], n_latents: int) -> Ragged:
    """The rows of all parts, one after the other."""
    latents, starts = [torch.empty(0, dtype=torch.int64)], [torch.zeros(1, dtype=torch.int64)]
    for part in parts:
        latents.append(part.latents)
        starts.append(part.starts[1:] + starts[-1][-1])
    return Ragged(torch.cat(latents), torch.cat(starts), n_latents)


def largest_entries(
    values: Float[Tensor, " entries"], active: Ragged, k: int
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k largest of each row's entries, of which there are at least k, and their latents; in no order."""
    n, counts = len(active), active.starts.diff()
    width = int(counts.max())
    slots = torch.arange(len(values)) + (torch.arange(n) * width - active.starts[:-1]).repeat_interleave(counts)
    entries = values.new_full((n * width,), float("-inf")).index_copy_(0, slots, values)
    latents = torch.zeros(n * width, dtype=torch.int64).index_copy_(0, slots, active.latents)
    kept, places = entries.view(n, width).topk(k, dim=1, sorted=False)
    return kept, latents.view(n, width).gather(1, places)


def precision(matmul_dtype: torch.dtype | None, x: Float[Tensor, "n d"]) -> torch.dtype:
    """The precision of products whose results are used as they are: 8-bit integers only screen."""
    return x.dtype if matmul_dtype in (None, torch.int8) else matmul_dtype


def may_screen(x: Float[Tensor, "n d"]) -> bool:
    """Return True if these rows are enough, and of a kind, that can be screened."""
    return len(x) >= FEWEST_ROWS and x.device.type == "cpu" and x.dtype == torch.float32


def evenly_spaced(n: int) -> slice:
    """A few rows of a batch, which stand for all."""
    return slice(None, None, max(1, -(-n // SAMPLE)))


def sampled_pre_activations(
    x: Float[Tensor, "n d_in"],
    encoder: Float[Tensor, "m d_in"],
    bias: Float[Tensor, " m"],
    matmul_dtype: torch.dtype | None = None,
) -> Float[Tensor, "sample m"]:
    """Pre-activations of the rows that stand for all."""
    dtype = precision(matmul_dtype, x)
    return x[evenly_spaced(len(x))].to(dtype) @ encoder.to(dtype).T + bias.to(dtype)


def is_no_help(wanted: Bool[Tensor, "n m"], candidates: Ragged) -> bool:
    """Return True if more of the entries that matter than is tolerated aren't candidates, or too many of all are."""
    if len(candidates.latents) > CROWD * wanted.numel():
        return True
    missed = wanted.index_put((candidates.rows, candidates.latents), torch.tensor(False))
    return bool(missed.sum() > TOLERATED * wanted.sum())
