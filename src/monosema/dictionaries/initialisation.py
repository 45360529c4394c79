"""Where training starts from."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["data_directions", "geometric_median", "random_directions", "unit_rows_"]

BLOCK = 1024
"""Rows that are worked on at once, to bound memory."""


def unit_rows_(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Scale each row to norm 1, in place; a row of zeros stays."""
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows.div_(norms.clamp_min_(torch.finfo(rows.dtype).tiny))


def random_directions(n: int, d: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
    """Unit rows, uniform on the sphere."""
    return unit_rows_(torch.randn(n, d, generator=generator))


def data_directions(
    sample: Float[Tensor, "rows d"], centre: Float[Tensor, " d"], n: int, noise: float, generator: torch.Generator
) -> Float[Tensor, "n d"]:
    """Unit rows towards random data points from the centre, mixed with random directions.

    Args:
        noise: norm of the random part before the sum is scaled to 1; keeps latents apart that start at one data point,
            as when n is above the number of rows.
    """
    order = torch.randperm(len(sample), generator=generator)
    chosen = order.repeat(-(-n // len(order)))[:n].to(sample.device)
    rows = unit_rows_(sample.index_select(0, chosen).to(torch.float32).sub_(centre))
    for block in rows.split(BLOCK):
        block.add_(random_directions(len(block), rows.shape[1], generator).to(rows.device), alpha=noise)
    return unit_rows_(rows)


def geometric_median(rows: Float[Tensor, "n d"], iterations: int = 100, tolerance: float = 1e-5) -> Float[Tensor, " d"]:
    """The point with the smallest sum of distances to the rows.

    Weiszfeld 1937: y ← Σ xᵢ / ‖xᵢ − y‖ / Σ 1 / ‖xᵢ − y‖, until a step is below `tolerance` of the mean distance.
    """
    point = rows.mean(dim=0)
    for _ in range(iterations):
        distances = torch.linalg.vector_norm(rows - point, dim=1).clamp_min(1e-8)
        weights = 1.0 / distances
        moved = (weights @ rows) / weights.sum()
        step = torch.linalg.vector_norm(moved - point)
        point = moved
        if step <= tolerance * distances.mean():
            break
    return point
