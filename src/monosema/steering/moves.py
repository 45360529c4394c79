"""Moves: the new value g(c) of a coordinate c. To ablate is `Clamp(0, 0)`, to set `Clamp(v, v)`, to cap
`Clamp(high=t)`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import NamedTuple

from monosema.core import ConfigError


class Numbers(NamedTuple):
    """Any move as one formula: g(c) = clamp(factor · c + add · u, low · u, high · u), where c > 0 or always; u is the
    unit in which a strength is given."""

    factor: float = 1.0
    add: float = 0.0
    low: float = -math.inf
    high: float = math.inf
    only_active: bool = False


@dataclass(frozen=True)
class Add:
    """g(c) = c + amount."""

    amount: float | int

    def __post_init__(self) -> None:
        _require_number("add", self.amount)

    @property
    def numbers(self) -> Numbers:
        """The move as the common formula."""
        return Numbers(add=self.amount)


@dataclass(frozen=True)
class Scale:
    """g(c) = factor · c."""

    factor: float | int

    def __post_init__(self) -> None:
        _require_number("scale", self.factor)

    @property
    def numbers(self) -> Numbers:
        """The move as the common formula."""
        return Numbers(factor=self.factor)


@dataclass(frozen=True)
class Clamp:
    """g(c) = min(max(c, low), high); with `only_active`, g(c) = c where c is not above 0."""

    low: float | int = -math.inf
    high: float | int = math.inf
    only_active: bool = False

    def __post_init__(self) -> None:
        for bound in (self.low, self.high):
            if not isinstance(bound, Real):
                raise ConfigError(
                    f"clamp = {bound!r} is not valid: give numbers, infinite ones where there is no bound."
                )
        if math.isnan(self.low) or math.isnan(self.high) or self.low > self.high:
            raise ConfigError(f"clamp = [{self.low}, {self.high}] is not valid: give two numbers, the lower one first.")
        if self.low == math.inf or self.high == -math.inf:
            raise ConfigError(f"clamp = [{self.low}, {self.high}] is not valid: no number lies within it.")

    @property
    def numbers(self) -> Numbers:
        """The move as the common formula."""
        return Numbers(low=self.low, high=self.high, only_active=self.only_active)


Move = Add | Scale | Clamp


def _require_number(field: str, value: float | int) -> None:
    try:
        valid = math.isfinite(value)
    except TypeError:
        valid = False
    if not valid:
        raise ConfigError(f"{field} = {value!r} is not valid: give a finite number.")
