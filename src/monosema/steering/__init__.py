"""Steering: edits along a model's coordinates that hold while it reads and writes text."""

from __future__ import annotations

from monosema.steering.coordinates import Coordinate, Direction, Head, Latent
from monosema.steering.edits import Edit, Steering, Unit
from monosema.steering.moves import Add, Clamp, Move, Scale
from monosema.steering.steered import SteeredBatch, SteeredRow, steered
from monosema.steering.where import Where

__all__ = [
    "Add",
    "Clamp",
    "Coordinate",
    "Direction",
    "Edit",
    "Head",
    "Latent",
    "Move",
    "Scale",
    "SteeredBatch",
    "SteeredRow",
    "Steering",
    "Unit",
    "Where",
    "steered",
]
