"""Methods: ways to divide an answer among players, with one signature, in an open list."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from monosema.attribution.game import Game
from monosema.attribution.result import Attribution
from monosema.core import AnomalyError, ConfigError, InputError, nearest

BLACK_BOX, GRADIENT, PROPAGATION, ATTENTION = "black box", "gradient", "propagation", "attention"
"""Families of methods: by what they look at."""


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores that a method gives.

    Attributes:
        values: one for each player.
        complete: true where they sum to the difference between all players and none.
        errors: standard errors, of estimates from draws.
        notes: further figures by name.
    """

    values: Float[Tensor, " n"]
    complete: bool = False
    errors: Float[Tensor, " n"] | None = None
    notes: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class Method(Protocol):
    """A way to divide an answer."""

    @property
    def name(self) -> str:
        """Key of `METHODS`."""
        ...

    @property
    def about(self) -> str:
        """One line for people."""
        ...

    @property
    def family(self) -> str:
        """One of the families of methods."""
        ...

    @property
    def default(self) -> bool:
        """True if it is run where no methods are named."""
        ...

    def __call__(self, game: Game, seed: int = 0) -> Scores:
        """Return a score for each player: positive where it speaks for the answer.

        Raises InputError for players, a target or a model that the method has no definition for.
        """
        ...


METHODS: dict[str, Method] = {}
"""All methods, by name, in the order in which they are run."""


def register_method(method: Method) -> None:
    """Add a method to the open list. Raises ConfigError where its name is taken."""
    if method.name in METHODS:
        raise ConfigError(f"There is a method {method.name!r} already.")
    METHODS[method.name] = method


def methods_named(names: Sequence[str] | None = None) -> list[Method]:
    """Return methods by their names; those of the default list for None, and all for "all".

    Raises InputError for a name that there is not.
    """
    if names is None:
        return [method for method in METHODS.values() if method.default]
    if [*names] == ["all"]:
        return [*METHODS.values()]
    for name in names:
        if name not in METHODS:
            raise InputError(f"There is no method {name!r}.{nearest(name, METHODS)} Methods: {', '.join(METHODS)}.")
    return [METHODS[name] for name in dict.fromkeys(names)]


def attribute(game: Game, method: Method | str, seed: int = 0) -> Attribution:
    """Divide the answer among the game's players by a method.

    Raises:
        InputError: no such method, or one that has no definition for these players, this target or this model.
        AnomalyError: scores that are no numbers.
    """
    (chosen,) = methods_named([method]) if isinstance(method, str) else (method,)
    total = game.full - game.empty
    began, rows = time.perf_counter(), game.rows
    found = chosen(game, seed)
    seconds = time.perf_counter() - began
    values = found.values.detach().float().cpu()
    if not bool(values.isfinite().all()):
        raise AnomalyError(f"{chosen.name} gives scores that are no numbers. Load the model with dtype float32.")
    return Attribution(
        method=chosen.name,
        names=game.players.names,
        scores=values,
        errors=found.errors,
        value=game.full,
        total=total,
        gap=total - float(values.double().sum()) if found.complete else None,
        notes=dict(found.notes),
        rows=game.rows - rows,
        seconds=seconds,
    )
