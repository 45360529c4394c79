"""Rows that begin alike are computed once, up to where they part.

A decoder does not look ahead, so keys and values at a position depend on what is read up to there. Rows are put in
order, the text is cut into stretches, and of each stretch only the beginnings that differ are run, on the keys and
values of those before. Where to cut is decided by the positions that are run, each cut weighing as many as a pass that
is too small to be quick.
"""

from __future__ import annotations

import contextlib
import itertools

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from monosema.core import Site
from monosema.models import KVCache, Transformer

_A_CUT = 96
"""Positions whose time another pass takes, besides that of its own."""
_LONGEST = 512
"""Positions beyond which a text is run whole: the cuts are looked for in pairs."""


def shared_logits(
    model: Transformer,
    tokens: Int[Tensor, "m total"],
    there: Bool[Tensor, "m pos"] | None,
    vectors: Float[Tensor, "pos d_model"] | None,
    outputs: int,
) -> Float[Tensor, "m out vocab"]:
    """Return the logits at the last positions of rows, which come in the order of what they read.

    Args:
        there: False where a vector stands for the token's embedding, of the first positions; None for nowhere.
        vectors: these vectors.
    """
    parts = parting(tokens if there is None else there)
    total = tokens.shape[1]
    cache, before = KVCache(), torch.zeros(1, dtype=torch.int64, device=tokens.device)
    out = tokens.new_zeros(0)
    for start, end in stretches(parts, total, outputs):
        own = (parts < end).nonzero()[:, 0]  # The first row of each beginning.
        if start:
            cache.keep((torch.searchsorted(before, own, right=True) - 1).tolist())
        last = end == total
        with _standing_in(model, there, vectors, own, start, end):
            out = model.final_residual(tokens[own, start:end], cache=cache, last=not last or outputs == 1)
        before = own
    return model.logits(out[:, -outputs:])


def parting(read: Shaped[Tensor, "m pos"]) -> Int[Tensor, " m"]:
    """Return the position at which each row is another than the one before it; −1 of the first."""
    differ = read[1:] != read[:-1]
    return torch.cat([differ.new_full((1,), -1, dtype=torch.int64), differ.long().argmax(1)])


def stretches(parts: Int[Tensor, " m"], total: int, outputs: int) -> list[tuple[int, int]]:
    """Return where the text is cut, as stretches of positions; the last holds all that are read off."""
    if total > _LONGEST or len(parts) == 1:
        return [(0, total)]
    beginnings = [int((parts < end).sum()) for end in range(total + 1)]
    best, cut_at = [0.0], [0]
    for end in range(1, total + 1):
        starts = range(end if end < total else total - outputs + 1)
        costs = [best[start] + beginnings[end] * (end - start) + _A_CUT for start in starts]
        best.append(min(costs))
        cut_at.append(costs.index(best[-1]))
    found = [total]
    while found[-1]:
        found.append(cut_at[found[-1]])
    return list(itertools.pairwise(found[::-1]))


def _standing_in(
    model: Transformer, there: Tensor | None, vectors: Tensor | None, rows: Tensor, start: int, end: int
) -> contextlib.AbstractContextManager[object]:
    if there is None or vectors is None:
        return contextlib.nullcontext()
    own, stand_ins = there[rows, start:end, None], vectors[start:end]
    n = len(stand_ins)

    def put(x: Tensor, _: object) -> Tensor:
        return torch.cat([torch.where(own, x[:, :n], stand_ins.to(x)), x[:, n:]], dim=1)

    return model.attach(Site(None, "embed"), put)
