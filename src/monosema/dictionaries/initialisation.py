"""Directions that training starts from."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import ConfigError

BLOCK = 1024
"""Rows that are worked on at once, to bound memory."""


def unit_rows_(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Scale each row to norm 1, in place; a row of zeros stays."""
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows.div_(norms.clamp_min_(torch.finfo(rows.dtype).tiny))


def random_directions(n: int, d: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
    """Unit rows, uniform on the sphere."""
    return unit_rows_(torch.randn(n, d, generator=generator))


def orthogonal_directions(n: int, d: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
    """Unit rows in blocks of d; those of a block are a random orthonormal basis, uniform among all (Mezzadri 2007)."""
    blocks = []
    for _ in range(-(-n // d)):
        basis, triangle = torch.linalg.qr(torch.randn(d, d, generator=generator))
        blocks.append(basis * triangle.diagonal().sign())
    return torch.cat(blocks)[:n].contiguous()


def directions_from(
    given: Float[Tensor, "rows d"], n: int, generator: torch.Generator, noise: float = 0.5
) -> Float[Tensor, "n d"]:
    """Unit rows along given directions, such as a model's own weights: the rows of an MLP's output matrix, or the
    columns of its input matrix.

    Codes can't be negative, so a direction and its opposite are two latents: all given rows come first, then their
    opposites, then both again and again, mixed with random directions. Rows of zeros are left out.

    Args:
        n: rows that are wanted; where fewer than given ones, they are chosen at random.
        noise: norm of the random part, as for `data_directions`; only from the second round on.

    Raises:
        ConfigError: all given rows are zeros.
    """
    rows = given.to(torch.float32)
    rows = unit_rows_(rows[rows.any(dim=1)].clone())
    if len(rows) == 0:
        raise ConfigError("All directions that a dictionary was to start from are zeros.")
    if n <= len(rows):
        return rows[torch.randperm(len(rows), generator=generator)[:n].to(rows.device)]
    both = torch.cat([rows, -rows])
    out = both.repeat(-(-n // len(both)), 1)[:n]
    for block in out[len(both) :].split(BLOCK):
        block.add_(random_directions(len(block), out.shape[1], generator).to(out.device), alpha=noise)
    return unit_rows_(out)


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
