"""Steerings that are one constant vector at each layer, the same at every token: all that others' formats hold."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import ConfigError, Site
from monosema.models import LanguageModel
from monosema.steering.coordinates import Latent, is_normalised
from monosema.steering.edits import Edit, Steering
from monosema.steering.moves import Add
from monosema.steering.short import named
from monosema.steering.where import EVERY_TOKEN


def constants(steering: Steering, what: str, model: LanguageModel | None) -> dict[Site, Float[Tensor, " width"]]:
    """Return what a steering adds at each site. Raises ConfigError, which names the edit, where it does more."""
    totals: dict[Site, Tensor] = {}
    for edit in steering.edits:
        if reason := _why_not(edit):
            raise ConfigError(f"{what} can't hold {named(edit)}: {reason}.")
        assert isinstance(edit.move, Add)
        one = edit.coordinate.site
        vector = edit.coordinate.row((_width(edit, model),)).cpu()
        total = totals.get(one, torch.zeros_like(vector))
        totals[one] = total + vector * (edit.move.amount * edit.factor * steering.strength)
    if not totals:
        raise ConfigError(f"{what} holds vectors, and this steering has no edits.")
    return totals


def _why_not(edit: Edit) -> str:
    if not isinstance(edit.move, Add):
        return "it holds constant additions, and this is a " + type(edit.move).__name__.lower()
    if edit.unit == "norm":
        return "it holds constant additions, and this one is a share of the norm at each token"
    if edit.where != EVERY_TOKEN:
        return (
            "there all tokens are changed, special ones and a chat's template among them. Say so of the edit, as in "
            f"--steer {named(replace(edit, where=EVERY_TOKEN))} (special = true, template = true in a file; in "
            "Python steering.everywhere())"
        )
    if edit.coordinate.site.component != "resid_post" and not edit.coordinate.site.is_module:
        return f"it holds the residual stream behind a block (resid_post), and this is at {edit.coordinate.site.short}"
    if is_normalised(edit.coordinate):
        return "its dictionary normalises each row, so that what it adds differs from token to token"
    return ""


def _width(edit: Edit, model: LanguageModel | None) -> int:
    if model is not None:
        return model.d_model
    if isinstance(edit.coordinate, Latent):
        return edit.coordinate.dictionary.d_out // max(1, len(edit.coordinate.reads))
    return len(getattr(edit.coordinate, "vector"))  # noqa: B009
