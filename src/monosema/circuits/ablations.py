"""Ablations: values that stand in for those of a site, and for the contributions of what is left out of a circuit.

An open list: a class with a name, `values` and `stand_ins`, registered in one line. Zero and mean take the model off
what it has ever computed; the corrupted prompt's own values don't (Zhang & Nanda 2024, arXiv:2309.16042).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.circuits.contrast import Contrast
from monosema.circuits.contributions import contributions
from monosema.circuits.memory import contribution_bytes, rows_within
from monosema.core import InputError, nearest
from monosema.models import Transformer

StandIns = Callable[[Contrast], Float[Tensor, "w n pos d_model"]]
"""Gives what stands in for each writer's contribution, in the order of the graph, on some prompts of a group."""


@runtime_checkable
class Ablation(Protocol):
    """A rule for what stands in for a value.

    Attributes:
        name: key of `ABLATIONS`.
        by_prompt: what stands in on a prompt depends on no other prompt.
    """

    name: str
    by_prompt: bool

    def values(
        self, clean: Float[Tensor, "n ..."], corrupt: Float[Tensor, "n ..."], contrast: Contrast
    ) -> Float[Tensor, "n ..."]:
        """Return what stands in for a site's values, from those of the prompts and of the corrupted ones."""
        ...

    def stand_ins(self, model: Transformer, group: Contrast) -> StandIns:
        """Return what gives the stand-ins of any prompts of a group, so that not all need be held at once."""
        ...


class Resample:
    """The values on the corrupted prompt, position by position."""

    name = "resample"
    by_prompt = True

    def values(
        self, clean: Float[Tensor, "n ..."], corrupt: Float[Tensor, "n ..."], contrast: Contrast
    ) -> Float[Tensor, "n ..."]:
        """Return the values on the corrupted prompts."""
        return corrupt

    def stand_ins(self, model: Transformer, group: Contrast) -> StandIns:
        """Give the contributions on the corrupted prompts."""
        return lambda part: contributions(model, part.corrupt)


class Mean:
    """Mean values on corrupted prompts of the same form and length, position by position.

    Source: Wang et al. 2022, arXiv:2211.00593. A form of a single prompt is its own mean.
    """

    name = "mean"
    by_prompt = False

    def values(
        self, clean: Float[Tensor, "n ..."], corrupt: Float[Tensor, "n ..."], contrast: Contrast
    ) -> Float[Tensor, "n ..."]:
        """Return the means."""
        means = torch.empty_like(corrupt)
        for form in dict.fromkeys(contrast.forms):
            rows = [row for row, other in enumerate(contrast.forms) if other == form]
            means[rows] = corrupt[rows].mean(dim=0, keepdim=True)
        return means

    def stand_ins(self, model: Transformer, group: Contrast) -> StandIns:
        """Give the means of contributions, one of the whole group whatever part of it is asked for."""
        names = list(dict.fromkeys(group.forms))
        index = {name: number for number, name in enumerate(names)}

        def rows(part: Contrast) -> Tensor:
            return torch.tensor([index[form] for form in part.forms], device=part.corrupt.device)

        sums, counts = torch.zeros(()), rows(group).bincount()
        for part in group.chunks(rows_within(2 * contribution_bytes(model, group.corrupt.shape[1]))):
            own = contributions(model, part.corrupt)
            sums = own.new_zeros(own.shape[0], len(names), *own.shape[2:]) if sums.ndim == 0 else sums
            sums.index_add_(1, rows(part), own)
        means = sums / counts[:, None, None]
        return lambda part: means[:, rows(part)]


class Zero:
    """Nothing."""

    name = "zero"
    by_prompt = True

    def values(
        self, clean: Float[Tensor, "n ..."], corrupt: Float[Tensor, "n ..."], contrast: Contrast
    ) -> Float[Tensor, "n ..."]:
        """Return zeros."""
        return torch.zeros_like(clean)

    def stand_ins(self, model: Transformer, group: Contrast) -> StandIns:
        """Give zeros."""
        writers = 1 + model.n_layers * (model.n_heads + 1)
        zero = torch.zeros((), dtype=model.dtype, device=model.device)
        return lambda part: zero.expand(writers, *part.clean.shape, model.d_model)


ABLATIONS: dict[str, Ablation] = {one.name: one for one in (Resample(), Mean(), Zero())}
"""Ablations by name."""


def register_ablation(ablation: Ablation) -> None:
    """Add an ablation to the open list."""
    ABLATIONS[ablation.name] = ablation


def ablation_named(name: str) -> Ablation:
    """Return an ablation by its name. Raises InputError where there is none."""
    if name not in ABLATIONS:
        raise InputError(f"There is no ablation {name!r}.{nearest(name, ABLATIONS)} Ablations: {', '.join(ABLATIONS)}.")
    return ABLATIONS[name]
