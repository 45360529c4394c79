"""Planted models: decoders whose weights are written by hand, so that methods can be held against the truth."""

from __future__ import annotations

from collections.abc import Callable

from monosema.circuits.planted.backup import backup
from monosema.circuits.planted.indirect_object import indirect_object
from monosema.circuits.planted.induction import induction
from monosema.circuits.planted.planted import Planted
from monosema.circuits.planted.proportion import proportion
from monosema.circuits.planted.reverse import reverse

PLANTED: dict[str, Callable[..., Planted]] = {
    "reverse": reverse,
    "proportion": proportion,
    "induction": induction,
    "indirect-object": indirect_object,
    "backup": backup,
}
"""Makers of planted models by name: an open list."""


def register_planted(name: str, make: Callable[..., Planted]) -> None:
    """Add a maker of a planted model, from a number of prompts and a seed, to the open list."""
    PLANTED[name] = make


__all__ = [
    "PLANTED",
    "Planted",
    "backup",
    "indirect_object",
    "induction",
    "proportion",
    "register_planted",
    "reverse",
]
