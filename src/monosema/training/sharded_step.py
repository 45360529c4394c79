"""A step that processes share: what can be divided, gradients and losses of the whole batch, codes of all latents."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from monosema.core import ConfigError
from monosema.dictionaries import Codes, Losses
from monosema.training.collectives import numbers_of_all
from monosema.training.distribution import Mesh


def require_divisible(mesh: Mesh, batch: int, n_latents: int, width: int, equal: bool = True) -> None:
    """Raise ConfigError where a batch, or the latents, can't be divided into equal parts.

    Args:
        equal: whether every group must have as many rows; windows, which differ in tokens anyway, need only be
            enough.
    """
    if batch < mesh.groups:
        raise ConfigError(f"A batch of {batch} rows is too small for {mesh.groups} processes: give a larger --batch.")
    if mesh.shards > 1 and n_latents == width * mesh.shards:
        raise ConfigError(
            f"{n_latents} latents in {mesh.shards} parts are as many as a row has values ({width}), so that parts "
            "could not be told from whole vectors. Take another number of processes."
        )
    rows, latents = ("rows of a batch", batch, mesh.groups), ("latents", n_latents, mesh.shards)
    for name, number, parts in (rows, latents) if equal else (latents,):
        if number % parts:
            raise ConfigError(
                f"{number} {name} can't be divided into {parts} equal parts. "
                f"Take a multiple of {parts}, or another number of processes."
            )


def rows_of_group(mesh: Mesh, batch: Float[Tensor, "n d"]) -> Float[Tensor, "part d"]:
    """Return this group's rows of a batch."""
    return batch if mesh.groups == 1 else batch.tensor_split(mesh.groups)[mesh.group]


def sum_gradients(mesh: Mesh, parameters: Sequence[torch.nn.Parameter]) -> None:
    """Make gradients those of the whole batch: parts of centres summed over shards, then means over groups."""
    if mesh.alone:
        return
    with mesh.watching():
        for parameter in parameters:
            parts = [part for centre, part in mesh.centre_gradients if centre is parameter]
            if parts:
                part = torch.stack(parts).sum(dim=0)
                dist.all_reduce(part, group=mesh.latents_group)
                parameter.grad = part if parameter.grad is None else parameter.grad + part
        mesh.centre_gradients.clear()
        if mesh.groups > 1:
            for parameter in parameters:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                parameter.grad = parameter.grad.contiguous()
                dist.all_reduce(parameter.grad, group=mesh.rows_group)
                parameter.grad.div_(mesh.groups)


def clip(mesh: Mesh, parameters: Sequence[torch.nn.Parameter], limit: float, n_latents: int) -> None:
    """Scale all gradients so that their norm together, over all shards, is at most the limit."""
    if mesh.shards == 1:
        torch.nn.utils.clip_grad_norm_(parameters, limit)
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    squares = torch.zeros(2, dtype=torch.float32, device=gradients[0].device)
    for gradient in gradients:
        squares[int(len(gradient) == n_latents)] += gradient.square().sum()
    with mesh.watching():
        dist.all_reduce(squares[1:], group=mesh.latents_group)
    torch._foreach_mul_(gradients, float((limit / (squares.sum().sqrt() + 1e-6)).clamp_max(1.0)))


def codes_of_batch(mesh: Mesh, codes: Codes) -> Codes:
    """Return the codes of the whole batch, for this shard's latents."""
    if mesh.groups == 1:
        return codes
    with mesh.watching():
        codes = codes.padded()
        sizes = numbers_of_all(codes.values.shape, mesh.device, mesh.rows_group)
        rows, widths = zip(*sizes, strict=True)
        values, indices = (_gather_rows(mesh, part, rows, max(widths)) for part in (codes.values, codes.indices))
        return Codes(values, indices, codes.n_latents)


def losses_of_batch(mesh: Mesh, losses: Losses) -> Losses:
    """Return losses of the whole batch and codes of all latents, the same in every process, for the record."""
    if mesh.alone:
        return losses
    names = sorted(losses.terms)
    with mesh.watching():
        together = torch.stack([losses.total.detach(), losses.fvu, *(losses.terms[name] for name in names)])
        together = mesh.sum_over_rows(together.to(torch.float32)) / mesh.groups
        codes = losses.codes if mesh.shards == 1 else _all_latents(mesh, losses.codes.padded())
    total, fvu, *terms = together.unbind()
    return Losses(total, dict(zip(names, terms, strict=True)), codes, fvu)


def _all_latents(mesh: Mesh, codes: Codes) -> Codes:
    """Return codes of one shard's latents with those of the other shards."""
    width = int(mesh.highest(codes.values.shape[1]))
    missing = width - codes.values.shape[1]
    indices = codes.indices + mesh.shard * codes.n_latents
    found = []
    for part in (codes.values, indices):
        held = torch.nn.functional.pad(part, (0, missing)).contiguous()
        parts = [torch.empty_like(held) for _ in range(mesh.shards)]
        dist.all_gather(parts, held, group=mesh.latents_group)
        found.append(torch.cat(parts, dim=1))
    return Codes(found[0], found[1], codes.n_latents * mesh.shards)


def _gather_rows(mesh: Mesh, part: Tensor, rows: Sequence[int], width: int) -> Tensor:
    """Return the rows of all groups, `rows` of each, brought to one width."""
    padded = torch.nn.functional.pad(part, (0, width - part.shape[1], 0, max(rows) - len(part)))
    parts = [torch.empty_like(padded) for _ in range(mesh.groups)]
    dist.all_gather(parts, padded.contiguous(), group=mesh.rows_group)
    return torch.cat([of_group[:number] for of_group, number in zip(parts, rows, strict=True)])
