"""Edits, and steerings: several edits of a forward pass together.

    x ← x + s · Σⱼ (gⱼ(cⱼ) − cⱼ) dⱼ

with the coordinates cⱼ and directions dⱼ of `coordinates`, the moves gⱼ of `moves`, and a common factor s, the
steering's strength. What a dictionary does not reconstruct of x stays in x.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from monosema.core import ConfigError, Site
from monosema.steering.coordinates import Coordinate, Latent
from monosema.steering.moves import Add, Move
from monosema.steering.where import DEFAULT, EVERY_TOKEN, Where

if TYPE_CHECKING:
    from monosema.steering.spec import Resolve

Unit = Literal["raw", "max", "norm"]
UNITS: tuple[Unit, ...] = ("raw", "max", "norm")


@dataclass(frozen=True)
class Edit:
    """One coordinate, its move, and where.

    Attributes:
        coordinate: what is changed.
        move: how.
        where: at which tokens.
        unit: unit of the move's numbers: "raw", the coordinate's own; "max", multiples of its maximum; "norm", shares
            of the norm of x at each position: to add 0.1 moves x by a tenth of its length.
    """

    coordinate: Coordinate
    move: Move
    where: Where = DEFAULT
    unit: Unit = "raw"

    def __post_init__(self) -> None:
        unit_of(self.unit)
        if self.unit == "max" and any(number not in (0, math.inf, -math.inf) for number in self.move.numbers[1:4]):
            maximum = self.coordinate.maximum
            if maximum is None or maximum <= 0:
                known = "is not known" if maximum is None else f"is {maximum:g}"
                otherwise = (
                    " Or build the atlas, which knows it: monosema atlas RUN."
                    if isinstance(self.coordinate, Latent)
                    else ""
                )
                raise ConfigError(
                    f'unit = "max" is not valid for {self.coordinate.name}: its largest value {known}. '
                    f"Give numbers of its own, as in {self.coordinate.name}=+20raw, or shares of the norm, as in "
                    f"{self.coordinate.name}=+0.1norm.{otherwise}"
                )

    @property
    def factor(self) -> float:
        """Number that those of the move are multiplied with: the coordinate's maximum for the unit "max", else 1."""
        return (self.coordinate.maximum if self.unit == "max" else None) or 1.0


@dataclass(frozen=True)
class Steering:
    """Edits that hold together.

    Attributes:
        edits: in any order: all coordinates at a site are read before any is changed there. Across sites, a coordinate
            is read from the pass as it comes, earlier edits included.
        strength: a factor of all changes; 0 changes nothing.
    """

    edits: tuple[Edit, ...] = ()
    strength: float = 1.0

    def __init__(self, edits: Edit | Iterable[Edit] = (), strength: float = 1.0) -> None:
        object.__setattr__(self, "edits", (edits,) if isinstance(edits, Edit) else tuple(edits))
        object.__setattr__(self, "strength", float(strength))

    def at(self, strength: float) -> Steering:
        """Return the same edits with another strength."""
        return replace(self, strength=strength)

    def everywhere(self) -> Steering:
        """Return the same edits at all tokens, special ones and a chat's template too, as other programs steer."""
        return replace(self, edits=tuple(replace(edit, where=EVERY_TOKEN) for edit in self.edits))

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites that are changed."""
        return tuple(dict.fromkeys(edit.coordinate.site for edit in self.edits))

    @property
    def only_adds(self) -> bool:
        """True where no coordinate needs to be read."""
        return all(isinstance(edit.move, Add) for edit in self.edits)

    def to_dict(self, whole: bool = False) -> dict[str, Any]:
        """Return plain values that JSON and TOML can hold (see `spec`); `whole`, with vectors and maxima."""
        from monosema.steering.spec import spec_of

        return spec_of(self, whole)

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any], resolve: Resolve) -> Steering:
        """Read plain values; `resolve` finds latents and directions that they name.

        Raises:
            ConfigError: a value that is not valid; the message names its field.
        """
        from monosema.steering.spec import steering_of

        return steering_of(spec, resolve)

    def __add__(self, other: Steering) -> Steering:
        """Join edits of two steerings; of other strengths than 1 only where they are equal."""
        if self.strength != other.strength:
            raise ConfigError(f"Steerings of strengths {self.strength:g} and {other.strength:g} can't be joined.")
        return replace(self, edits=(*self.edits, *other.edits))

    def __len__(self) -> int:
        return len(self.edits)


def unit_of(value: object) -> Unit:
    """Return a unit. Raises ConfigError for any other value."""
    if value not in UNITS:
        raise ConfigError(f"unit = {value!r} is not valid: choose from {', '.join(UNITS)}.")
    return next(unit for unit in UNITS if unit == value)
