"""Ablations: values that stand in for the contributions of what is left out of a circuit.

An open list: a class with a name and `stand_ins`, registered in one line. Zero and mean take the model off what it has
ever computed; the corrupted prompt's own values don't (Zhang & Nanda 2024, arXiv:2309.16042).
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.circuits.contrast import Contrast
from monosema.circuits.contributions import contributions
from monosema.core import InputError, nearest
from monosema.models import Transformer


@runtime_checkable
class Ablation(Protocol):
    """A rule for what stands in for each writer's contribution."""

    name: str

    def stand_ins(self, model: Transformer, contrast: Contrast) -> Float[Tensor, "w n pos d_model"]:
        """Return the values, in the order of the graph's writers."""
        ...


class Resample:
    """The contributions on the corrupted prompt, position by position."""

    name = "resample"

    def stand_ins(self, model: Transformer, contrast: Contrast) -> Float[Tensor, "w n pos d_model"]:
        """Return the contributions on the corrupted prompts."""
        return contributions(model, contrast.corrupt)


class Mean:
    """Mean contributions on corrupted prompts of the same form and length, position by position.

    Source: Wang et al. 2022, arXiv:2211.00593. A form of a single prompt is its own mean.
    """

    name = "mean"

    def stand_ins(self, model: Transformer, contrast: Contrast) -> Float[Tensor, "w n pos d_model"]:
        """Return the means."""
        values = contributions(model, contrast.corrupt)
        means = torch.empty_like(values)
        for form in dict.fromkeys(contrast.forms):
            rows = [row for row, other in enumerate(contrast.forms) if other == form]
            means[:, rows] = values[:, rows].mean(dim=1, keepdim=True)
        return means


class Zero:
    """Nothing."""

    name = "zero"

    def stand_ins(self, model: Transformer, contrast: Contrast) -> Float[Tensor, "w n pos d_model"]:
        """Return zeros."""
        writers = 1 + model.n_layers * (model.n_heads + 1)
        shape = (writers, *contrast.clean.shape, model.d_model)
        return torch.zeros(shape, dtype=model.dtype, device=model.device)


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
