"""Dictionaries whose latents are divided among processes: their parts, and the whole of what the parts hold.

Checkpoints hold whole tensors, written by the first process: a run goes on with any other grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from monosema.dictionaries import Trainable
from monosema.training.distribution import Mesh


def shard_of(mesh: Mesh, dictionary: Trainable) -> Trainable:
    """Return this shard's part of a dictionary: one of the same kind, with a part of the latents.

    Raises ConfigError where that kind can't be divided.
    """
    if mesh.shards == 1:
        return dictionary
    part = dictionary.shard(mesh.shards).to(next(iter(dictionary.parameters())).device)
    load_part(mesh, part, dictionary.state_dict())
    return part


def load_part(mesh: Mesh, part: Trainable, tensors: Mapping[str, Tensor]) -> None:
    """Put this shard's part of a whole dictionary's parameters and counters into a dictionary."""
    own = part.state_dict()
    part.load_state_dict({name: cut(mesh, tensor, own[name].shape) for name, tensor in tensors.items()})


def cut(mesh: Mesh, whole: Tensor, shape: Sequence[int]) -> Tensor:
    """Return this shard's rows of a tensor, where its own shape is another than the whole's."""
    return whole if tuple(whole.shape) == tuple(shape) else whole.chunk(mesh.shards)[mesh.shard].clone()


def whole_tensors(mesh: Mesh, tensors: Mapping[str, Tensor], n_latents: int) -> dict[str, Tensor]:
    """Return tensors as a single process would hold them, on the processor: rows of all shards' latents together.

    Every process takes part; in all but the first, the result is empty.

    Args:
        n_latents: latents of a shard: tensors with as many rows are put together, those of other sizes are the
            same in all shards. `shard_of` refuses sizes that would be mistaken.
    """
    found: dict[str, Tensor] = {}
    with mesh.watching():
        for name, tensor in tensors.items():
            held = tensor.detach().contiguous()
            if mesh.shards > 1 and held.dim() and len(held) == n_latents:
                parts = [torch.empty_like(held) for _ in range(mesh.shards)]
                dist.all_gather(parts, held, group=mesh.latents_group)
                held = torch.cat([part.cpu() for part in parts]) if mesh.first else held
            if mesh.first:
                found[name] = held.cpu()
    return found
