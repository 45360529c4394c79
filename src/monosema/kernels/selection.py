"""The k largest of each row, rectified: exact, and fast on processors too.

On a CPU each value and its column are packed into one integer whose order is that of the values, so that one SIMD
partition (numpy's) finds both. Rows are first cut down: columns form groups of g, the maximum of each group is a pass
at memory speed, and the k largest values of a row must lie in the k groups with the largest maxima; this repeats until
few columns are left.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

FEW = 512
"""Columns that are partitioned without grouping: numpy's SIMD partition is quick up to there, measured."""
ROWS_PER_THREAD = 512
"""Rows from which another thread pays; fewer lose more to the threads of matrix products that still spin."""


def top_k_dense(pre: Float[Tensor, "n m"], k: int) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The readable twin of `top_k`."""
    values, indices = pre.relu().topk(k, dim=1)
    return values, indices


def top_k(pre: Float[Tensor, "n m"], k: int) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k largest values of each row after ReLU, and their columns, in no order.

    Columns are distinct. Where fewer than k values are above 0, the rest are 0, at columns that mean nothing.
    """
    if pre.device.type != "cpu" or pre.dtype not in BITS or len(pre) == 0:
        values, indices = pre.topk(k, dim=1, sorted=False)
        return values.relu_(), indices
    values, columns = _largest(pre.contiguous().view(BITS[pre.dtype]), k)
    return values.clamp_min_(0).view(pre.dtype), columns


BITS = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}
"""The integer of equal width, which orders non-negative numbers alike; negative ones stay below them."""


def _largest(bits: Int[Tensor, "n m"], k: int) -> tuple[Int[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k largest integers of each row and their columns."""
    n, m = bits.shape
    group = -(-m // FEW)
    groups = m // group
    if group == 1 or k * group >= m // 2 or groups <= k:
        return _partition(bits, k)
    members = bits[:, : groups * group].unflatten(1, (group, groups))
    _, chosen = _partition(members.amax(dim=1), k)
    candidates = members.gather(2, chosen.unsqueeze(1).expand(n, group, k)).view(n, group * k)
    left_over = m - groups * group
    if left_over:
        candidates = torch.cat([candidates, bits[:, groups * group :]], dim=1)
    values, place = _largest(candidates, k)
    columns = torch.div(place, k, rounding_mode="floor").mul_(groups).add_(chosen.gather(1, place % k))
    if left_over:
        columns = torch.where(place < group * k, columns, place + (groups * group - group * k))
    return values, columns


def _partition(bits: Int[Tensor, "n m"], k: int) -> tuple[Int[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k largest of each row, by partitioning packed (value, column) pairs in place."""
    n, m = bits.shape
    kind = bits.dtype
    wide = torch.int32 if bits.dtype == torch.int16 else torch.int64
    shift = 8 * bits.element_size()
    if m > 2**16 and wide == torch.int32:
        bits, wide, shift = bits.to(torch.int32), torch.int64, 32
    keys = bits.to(wide).bitwise_left_shift_(shift).bitwise_or_(torch.arange(m, dtype=wide))
    if k < m:
        rows = keys.numpy()
        threads = min(torch.get_num_threads(), -(-n // ROWS_PER_THREAD))
        if threads == 1:
            rows.partition(m - k, axis=1)
        else:
            step = -(-n // threads)
            parts = [rows[start : start + step] for start in range(0, n, step)]
            list(pool(os.getpid()).map(lambda part: part.partition(m - k, axis=1), parts))
        keys = keys[:, m - k :]
    columns = keys.bitwise_and((1 << shift) - 1).to(torch.int64)
    return keys.bitwise_right_shift(shift).to(kind), columns


@cache
def pool(process: int) -> ThreadPoolExecutor:
    """Threads of this process: numpy partitions rows one after the other, and lets go of the interpreter meanwhile."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="top-k")


class Selection:
    """Latents that each row keeps, readable by row and by latent.

    Attributes:
        indices: latents of each row.
        n_latents: number of latents there are.
    """

    def __init__(self, indices: Int[Tensor, "n k"], n_latents: int) -> None:
        self.indices = indices
        self.n_latents = n_latents

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.indices)

    def spread(self, of_latent: Float[Tensor, " m"]) -> Float[Tensor, "n k"]:
        """Broadcast a per-latent vector to the entries; differentiable."""
        return of_latent[self.indices]

    @cached_property
    def by_latent(self) -> tuple[Int[Tensor, " nk"], Int[Tensor, " nk"], Int[Tensor, " m_plus_1"]]:
        """All (row, place) pairs sorted by latent.

        Returns:
            order: positions in the flattened n × k list, sorted by latent, earlier rows first;
            rows: the row of each; bounds: where each latent's run starts, and the end.
        """
        flat = self.indices.reshape(-1)
        small = torch.int16 if self.n_latents <= 2**15 else torch.int32
        order = flat.to(small).argsort(stable=True)
        counts = torch.bincount(flat, minlength=self.n_latents)
        bounds = torch.zeros(self.n_latents + 1, dtype=torch.int64, device=flat.device)
        torch.cumsum(counts, 0, out=bounds[1:])
        width = max(1, self.indices.shape[1])
        return order, torch.div(order, width, rounding_mode="floor"), bounds
