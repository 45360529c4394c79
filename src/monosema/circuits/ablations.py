"""Ablations: values that stand in for those of a site, and for the contributions of what is left out of a circuit.

An open list: a class with a name, `values` and `stand_ins`, registered in one line. Zero and mean take the model off
what it has ever computed; the corrupted prompt's own values don't (Zhang & Nanda 2024, arXiv:2309.16042).
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
    """A rule for what stands in for a value."""

    name: str

    def values(
        self, clean: Float[Tensor, "n ..."], corrupt: Float[Tensor, "n ..."], contrast: Contrast
    ) -> Float[Tensor, "n ..."]:
        """Return what stands in for a site's values, from those of the prompts and of the corrupted ones."""
        ...

    def stand_ins(self, model: Transformer, contrast: Contrast) -> Float[Tensor, "w n pos d_model"]:
        """Return what stands in for each writer's contribution, in the order of the graph's writers."""
        ...


class Resample:
    """The values on the corrupted prompt, position by position."""

    name = "resample"

    def values(
        self, clean: Float[Tensor, "n ..."], corrupt: Float[Tensor, "n ..."], contrast: Contrast
    ) -> Float[Tensor, "n ..."]:
        """Return the values on the corrupted prompts."""
        return corrupt

    def stand_ins(self, model: Transformer, contrast: Contrast) -> Float[Tensor, "w n pos d_model"]:
        """Return the contributions on the corrupted prompts."""
        return contributions(model, contrast.corrupt)


class Mean:
    """Mean values on corrupted prompts of the same form and length, position by position.

    Source: Wang et al. 2022, arXiv:2211.00593. A form of a single prompt is its own mean.
    """

    name = "mean"

    def values(
        self, clean: Float[Tensor, "n ..."], corrupt: Float[Tensor, "n ..."], contrast: Contrast
    ) -> Float[Tensor, "n ..."]:
        """Return the means."""
        means = torch.empty_like(corrupt)
        for form in dict.fromkeys(contrast.forms):
            rows = [row for row, other in enumerate(contrast.forms) if other == form]
            means[rows] = corrupt[rows].mean(dim=0, keepdim=True)
        return means

    def stand_ins(self, model: Transformer, contrast: Contrast) -> Float[Tensor, "w n pos d_model"]:
        """Return the means of contributions."""
        own = contributions(model, contrast.corrupt).transpose(0, 1)
        return self.values(own, own, contrast).transpose(0, 1)


class Zero:
    """Nothing."""

    name = "zero"

    def values(
        self, clean: Float[Tensor, "n ..."], corrupt: Float[Tensor, "n ..."], contrast: Contrast
    ) -> Float[Tensor, "n ..."]:
        """Return zeros."""
        return torch.zeros_like(clean)

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
