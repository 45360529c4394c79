"""Training over many processes: which rows, which latents, what is summed, and who writes.

Processes form a grid of `groups` × `shards`. A group has a part of each batch; its shards have a part of the latents
each, with their rows of both matrices and of the optimiser's state. The trainer knows a `Mesh` and nothing else; alone,
every method gives back what it is given.

Sums are explicit collectives behind this class, not DTensor: top-k over a divided dimension, embedding bags, sorting
by latent and Triton kernels have no rule for divided tensors, so that DTensor would gather whole matrices for each.

Every process reads the whole stream and takes its rows of each batch, so that all follow one order, whatever their
number. Checkpoints hold whole tensors, written by the first process: a run goes on with any other grid.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor

from monosema.core import ConfigError, RunError
from monosema.dictionaries import BatchTopK, Codes, Losses, MatryoshkaBatchTopK, TopK, Trainable
from monosema.kernels.sharing import shared_by
from monosema.training.collectives import (
    PartOfGradient,
    SumOverLatents,
    from_first,
    is_lost,
    largest_of_all,
    numbers_of_all,
)

Found = TypeVar("Found")

PATIENCE = 300.0
"""Seconds after which a process that does not answer counts as lost; one that ended is noticed at once."""
LONGEST = timedelta(days=30)
"""How long processes wait for work that the first one does for all, such as capture."""
DIVISIBLE = (TopK, BatchTopK, MatryoshkaBatchTopK)
"""Kinds of dictionaries whose latents can be divided."""


def first_process() -> bool:
    """Whether this process is the first of those that torchrun started, or was started by itself."""
    return os.environ.get("RANK", "0") == "0"


class Mesh:
    """The processes of a run; see the module.

    Attributes:
        groups, shards: size of the grid.
        rank: number of this process; shards of a group follow each other.
        group, shard: where in the grid it is.
    """

    def __init__(self, groups: int = 1, shards: int = 1, rank: int = 0) -> None:
        """A grid whose processes have already joined; `Mesh()` is a process alone."""
        self.groups, self.shards, self.rank = groups, shards, rank
        self.group, self.shard = divmod(rank, shards)
        self._rows: Any = None
        self._latents: Any = None
        self._waiting: Any = None
        self._parts: list[tuple[Tensor, Tensor]] = []
        if groups * shards > 1:
            self._make_groups()

    @classmethod
    def join(cls, latent_shards: int = 1, patience: float = PATIENCE) -> Mesh:
        """Join the processes that torchrun started; a process alone where it started none.

        Args:
            latent_shards: parts that the latents are divided into; the rest of the grid shares the batch.
            patience: seconds that a process waits for another.

        Raises:
            ConfigError: shards that don't divide the number of processes.
        """
        world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        if latent_shards < 1 or world % latent_shards:
            raise ConfigError(
                f"{world} processes can't hold {latent_shards} shards of latents: give torchrun a multiple of that, "
                "or a number of shards that divides its processes."
            )
        if world > 1 and not dist.is_initialized():
            backend = "nccl" if torch.cuda.is_available() else "gloo"
            if backend == "nccl":
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
            dist.init_process_group(backend, timeout=timedelta(seconds=patience))
        return cls(world // latent_shards, latent_shards, rank)

    def _make_groups(self) -> None:
        """Every process takes part in making every group, also of those that it isn't in."""
        for shard in range(self.shards):
            made = dist.new_group([group * self.shards + shard for group in range(self.groups)])
            self._rows = made if shard == self.shard else self._rows
        for group in range(self.groups):
            made = dist.new_group([group * self.shards + shard for shard in range(self.shards)])
            self._latents = made if group == self.group else self._latents
        self._waiting = dist.new_group(backend="gloo", timeout=LONGEST)

    @property
    def alone(self) -> bool:
        """Whether this is the only process."""
        return self.groups * self.shards == 1

    @property
    def first(self) -> bool:
        """Whether this process writes the record, checkpoints and the dictionary."""
        return self.rank == 0

    def leave(self) -> None:
        """Part from the other processes, at the end."""
        if not self.alone and dist.is_initialized():
            dist.destroy_process_group()

    def by_first(self, work: Callable[[], Found]) -> Found:
        """What the first process works out, or does, while the others wait for it, however long that takes.

        Raises what the work raises, and RunError in the others or where a process is lost.
        """
        if self.alone:
            return work()
        with self.watching():
            return from_first(work, self.first, self._waiting)

    # ---------------------------------------------------------------------------------------- what the trainer asks

    def check(self, batch: int, n_latents: int, width: int, equal: bool = True) -> None:
        """Raises ConfigError where a batch, or the latents, can't be divided into equal parts.

        Args:
            equal: whether every group must have as many rows; windows, which differ in tokens anyway, need only be
                enough.
        """
        if batch < self.groups:
            raise ConfigError(
                f"A batch of {batch} rows is too small for {self.groups} processes: give a larger --batch."
            )
        if self.shards > 1 and n_latents == width * self.shards:
            raise ConfigError(
                f"{n_latents} latents in {self.shards} parts are as many as a row has values ({width}), so that parts "
                "could not be told from whole vectors. Take another number of processes."
            )
        rows, latents = ("rows of a batch", batch, self.groups), ("latents", n_latents, self.shards)
        for name, number, parts in (rows, latents) if equal else (latents,):
            if number % parts:
                raise ConfigError(
                    f"{number} {name} can't be divided into {parts} equal parts. "
                    f"Take a multiple of {parts}, or another number of processes."
                )

    def rows(self, batch: Float[Tensor, "n d"]) -> Float[Tensor, "part d"]:
        """This group's rows of a batch."""
        return batch if self.groups == 1 else batch.tensor_split(self.groups)[self.group]

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """Within it, losses are parts of the whole batch's: their mean over groups is the whole's."""
        with self.watching(), shared_by(None if self.alone else self):
            yield

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within it, the loss of another process becomes an error that says so. Raises RunError."""
        if self.alone:
            yield
            return
        try:
            yield
        except RuntimeError as error:
            if not is_lost(error):
                raise
            raise RunError(
                f"Process {self.rank} of {self.groups * self.shards} lost another process of the run "
                f"({str(error).splitlines()[0]}). Start the same command again: training goes on from the newest "
                "checkpoint, with as many processes as you like."
            ) from error

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Make gradients those of the whole batch: parts of centres summed over shards, then means over groups."""
        if self.alone:
            return
        with self.watching():
            for parameter in parameters:
                parts = [part for centre, part in self._parts if centre is parameter]
                if parts:
                    part = torch.stack(parts).sum(dim=0)
                    dist.all_reduce(part, group=self._latents)
                    parameter.grad = part if parameter.grad is None else parameter.grad + part
            self._parts = []
            if self.groups > 1:
                for parameter in parameters:
                    if parameter.grad is None:
                        parameter.grad = torch.zeros_like(parameter)
                    parameter.grad = parameter.grad.contiguous()
                    dist.all_reduce(parameter.grad, group=self._rows)
                    parameter.grad.div_(self.groups)

    def clip(self, parameters: Sequence[torch.nn.Parameter], limit: float, n_latents: int) -> None:
        """Scale all gradients so that their norm together, over all shards, is at most the limit."""
        if self.shards == 1:
            torch.nn.utils.clip_grad_norm_(parameters, limit)
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        squares = torch.zeros(2, dtype=torch.float32, device=gradients[0].device)
        for gradient in gradients:
            squares[int(len(gradient) == n_latents)] += gradient.square().sum()
        with self.watching():
            dist.all_reduce(squares[1:], group=self._latents)
        torch._foreach_mul_(gradients, float((limit / (squares.sum().sqrt() + 1e-6)).clamp_max(1.0)))

    def codes(self, codes: Codes) -> Codes:
        """The codes of the whole batch, for this shard's latents."""
        if self.groups == 1:
            return codes
        with self.watching():
            codes = codes.padded()
            sizes = numbers_of_all(codes.values.shape, self._device, self._rows)
            rows, widths = zip(*sizes, strict=True)
            values, indices = (self._gather_rows(part, rows, max(widths)) for part in (codes.values, codes.indices))
            return Codes(values, indices, codes.n_latents)

    def record(self, losses: Losses) -> Losses:
        """Losses of the whole batch and codes of all latents, the same in every process; for the record."""
        if self.alone:
            return losses
        names = sorted(losses.terms)
        with self.watching():
            together = torch.stack([losses.total.detach(), losses.fvu, *(losses.terms[name] for name in names)])
            together = self.sum_over_rows(together.to(torch.float32)) / self.groups
            codes = losses.codes if self.shards == 1 else self._all_latents(losses.codes.padded())
        total, fvu, *terms = together.unbind()
        return Losses(total, dict(zip(names, terms, strict=True)), codes, fvu)

    def _all_latents(self, codes: Codes) -> Codes:
        """Codes of one shard's latents, with those of the other shards."""
        width = int(self._max(codes.values.shape[1], None))
        missing = width - codes.values.shape[1]
        indices = codes.indices + self.shard * codes.n_latents
        found = []
        for part in (codes.values, indices):
            held = torch.nn.functional.pad(part, (0, missing)).contiguous()
            parts = [torch.empty_like(held) for _ in range(self.shards)]
            dist.all_gather(parts, held, group=self._latents)
            found.append(torch.cat(parts, dim=1))
        return Codes(found[0], found[1], codes.n_latents * self.shards)

    def mean(self, number: float) -> float:
        """The mean of a number over all processes."""
        if self.alone:
            return number
        with self.watching():
            figure = torch.tensor(number, dtype=torch.float64, device=self._device)
            dist.all_reduce(figure)
        return float(figure) / (self.groups * self.shards)

    def agreed(self, yes: bool) -> bool:
        """What the first process says: clocks differ, decisions must not."""
        if self.alone:
            return yes
        with self.watching():
            said = torch.tensor(int(yes), device=self._device)
            dist.broadcast(said, src=0)
        return bool(said)

    def any(self, yes: bool) -> bool:
        """Whether one process at least says yes."""
        if self.alone:
            return yes
        with self.watching():
            return self._max(int(yes), None) > 0

    # -------------------------------------------------------------------------------- dictionaries, whole and in parts

    def part_of(self, dictionary: Trainable) -> Trainable:
        """This shard's part of a dictionary: one of the same kind, with a part of the latents.

        Raises ConfigError where that kind can't be divided.
        """
        if self.shards == 1:
            return dictionary
        whole: Any = dictionary
        if type(whole) not in DIVISIBLE:
            names = ", ".join(kind.__name__ for kind in DIVISIBLE)
            raise ConfigError(
                f"--latent-shards: the latents of {type(whole).__name__} can't be divided, only those of {names}. "
                "Let the processes share the batch alone."
            )
        config = whole.config.replace(n_latents=whole.n_latents // self.shards)
        with shared_by(self):
            part: Any = type(whole)(config, whole.metadata).to(next(iter(whole.parameters())).device)
        self.load(part, whole.state_dict())
        return part

    def load(self, part: Trainable, tensors: Mapping[str, Tensor]) -> None:
        """Put this shard's part of a whole dictionary's parameters and counters into a dictionary."""
        own = part.state_dict()
        part.load_state_dict({name: self.cut(tensor, own[name].shape) for name, tensor in tensors.items()})

    def cut(self, whole: Tensor, shape: Sequence[int]) -> Tensor:
        """This shard's rows of a tensor, where its own shape is another than the whole's."""
        return whole if tuple(whole.shape) == tuple(shape) else whole.chunk(self.shards)[self.shard].clone()

    def whole(self, tensors: Mapping[str, Tensor], n_latents: int) -> dict[str, Tensor]:
        """Tensors as a single process would hold them, on the processor: rows of all shards' latents together.

        Every process takes part; in all but the first, the result is empty.

        Args:
            n_latents: latents of a shard: tensors with as many rows are put together, those of other sizes are the
                same in all shards. `part_of` refuses sizes that would be mistaken.
        """
        found: dict[str, Tensor] = {}
        with self.watching():
            for name, tensor in tensors.items():
                held = tensor.detach().contiguous()
                if self.shards > 1 and held.dim() and len(held) == n_latents:
                    parts = [torch.empty_like(held) for _ in range(self.shards)]
                    dist.all_gather(parts, held, group=self._latents)
                    held = torch.cat([part.cpu() for part in parts]) if self.first else held
                if self.first:
                    found[name] = held.cpu()
        return found

    # -------------------------------------------------------------------------------------------- what kernels ask

    def sum_over_rows(self, total: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The sum of what each group knows, without gradient."""
        total = total.detach().clone()
        if self.groups > 1:
            dist.all_reduce(total, group=self._rows)
        return total

    def sum_over_latents(self, part: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The sum of what each shard computed; the gradient passes through as it is."""
        return part if self.shards == 1 else SumOverLatents.apply(part, self._latents)

    def part_of_gradient(self, centre: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
        """The same vector, whose gradient here is a part: put aside until `sum_gradients`."""
        return PartOfGradient.apply(centre, self._parts) if centre.requires_grad else centre

    def largest_of_rows(self, values: Float[Tensor, "n k_of_shard"], k: int) -> Bool[Tensor, "n k_of_shard"]:
        """Which of this shard's values are among the k largest positive ones of their row, over all shards."""
        values = values.detach()
        padded = torch.nn.functional.pad(values, (0, k - values.shape[1]))
        parts = [torch.empty_like(padded) for _ in range(self.shards)]
        dist.all_gather(parts, padded.contiguous(), group=self._latents)
        chosen = torch.cat(parts, dim=1).topk(k, dim=1).indices
        kept = torch.zeros(len(values), self.shards * k, dtype=torch.bool, device=values.device)
        kept.scatter_(1, chosen, True)
        first = self.shard * k
        return kept[:, first : first + values.shape[1]] & (values > 0)

    def largest_of_all(self, values: Float[Tensor, " entries"], number: int) -> Bool[Tensor, " entries"]:
        """Which of this process's positive values are among the `number` largest of all processes."""
        return largest_of_all(values, number, self.rank)

    def total(self, number: int) -> int:
        """The sum of a number over all processes."""
        figure = torch.tensor(number, device=self._device)
        dist.all_reduce(figure)
        return int(figure)

    def lowest(self, number: float) -> float:
        """The smallest of a number over all processes."""
        figure = torch.tensor(number, dtype=torch.float64, device=self._device)
        dist.all_reduce(figure, op=dist.ReduceOp.MIN)
        return float(figure)

    def numbers_of_shards(self, number: int) -> tuple[int, ...]:
        """What each shard says, in order."""
        return tuple(said for (said,) in numbers_of_all([number], self._device, self._latents))

    def _gather_rows(self, part: Tensor, rows: Sequence[int], width: int) -> Tensor:
        """The rows of all groups, so many each, brought to one width."""
        padded = torch.nn.functional.pad(part, (0, width - part.shape[1], 0, max(rows) - len(part)))
        parts = [torch.empty_like(padded) for _ in range(self.groups)]
        dist.all_gather(parts, padded.contiguous(), group=self._rows)
        return torch.cat([of_group[:number] for of_group, number in zip(parts, rows, strict=True)])

    def _max(self, number: int, group: Any) -> int:
        figure = torch.tensor(number, device=self._device)
        dist.all_reduce(figure, op=dist.ReduceOp.MAX, group=group)
        return int(figure)

    @property
    def _device(self) -> torch.device:
        return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
