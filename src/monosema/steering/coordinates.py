"""Coordinates: numbers that a model's activations have along directions, which edits read and change.

    latent      c = what the dictionary's encoder gives,      d = its decoder row
    direction   c = ⟨x, d⟩ / ⟨d, d⟩                           d = any vector, so that c is what x has of it
    head        the same within one head's part of z

Where a dictionary normalises rows, a latent's d is multiplied with what undoes that on each row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import ConfigError, InputError, Site, VectorError
from monosema.dictionaries import Dictionary, SparseCoder, sites_read, written_at


@runtime_checkable
class Coordinate(Protocol):
    """A number that activations have."""

    @property
    def site(self) -> Site:
        """Where it is changed."""
        ...

    @property
    def reads(self) -> tuple[Site, ...]:
        """The sites that it is computed from."""
        ...

    @property
    def name(self) -> str:
        """Its name in tables and files."""
        ...

    @property
    def maximum(self) -> float | None:
        """The largest value that was seen, in which strengths of the unit "max" are given; None where not known."""
        ...

    def row(self, shape: tuple[int, ...]) -> Float[Tensor, " width"]:
        """Return d at a site whose activations have this shape at a position, flattened.

        Raises VectorError where it doesn't fit.
        """
        ...


@dataclass(frozen=True)
class Latent:
    """A latent of a dictionary.

    Of a transcoder it is read where the dictionary reads and changed where it writes; of a crosscoder it is changed at
    the last of the sites.

    Attributes:
        dictionary: in the model's units, as `load_dictionary` gives it.
        index: the latent.
        at: the site that the dictionary reads; None is that of its metadata.
        maximum: its largest activation, such as an atlas has it.
    """

    dictionary: Dictionary
    index: int
    at: Site | str | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.dictionary.n_latents:
            raise InputError(
                f"latent = {self.index} is not valid: the dictionary has 0 to {self.dictionary.n_latents - 1:,}."
            )
        at = self.at if self.at is not None else self.dictionary.metadata.site
        if at is None:
            raise ConfigError(
                "This dictionary does not say its site: name it, as in Latent(dictionary, 17, '3.resid_post')."
            )
        object.__setattr__(self, "at", Site.parse(at))

    @property
    def reads(self) -> tuple[Site, ...]:
        """The sites that the dictionary reads, in the order of its rows."""
        assert isinstance(self.at, Site)
        return sites_read(self.dictionary, self.at)

    @property
    def site(self) -> Site:
        """Where it is changed."""
        return written_at(self.dictionary, self.reads[-1])[1]

    @property
    def name(self) -> str:
        """Its number."""
        return str(self.index)

    @property
    def direction(self) -> Direction:
        """Its decoder row at the site, whose coordinate is what x has along it, without the encoder."""
        writer, site = written_at(self.dictionary, self.reads[-1])
        return Direction(site, writer.directions[self.index].detach(), f"latent {self.index}")

    def row(self, shape: tuple[int, ...]) -> Float[Tensor, " width"]:
        """Its decoder row at the site."""
        writer, site = written_at(self.dictionary, self.reads[-1])
        return _fitting(writer.directions[self.index].detach().float(), shape, f"Latent {self.index}", site)


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction at a site.

    Attributes:
        site: a site, or its name.
        vector: d, of any norm; at a site with heads, those of all heads side by side.
        name: what tables and files call it.
        maximum: the largest coordinate that was seen, if it is known.
    """

    site: Site
    vector: Float[Tensor, " width"]
    name: str = "direction"
    maximum: float | None = None

    def __init__(self, site: Site | str, vector: Tensor, name: str = "direction", maximum: float | None = None) -> None:
        """Raises VectorError for values that are no vector, not finite, or all 0."""
        object.__setattr__(self, "site", Site.parse(site))
        object.__setattr__(self, "vector", _checked(vector, name))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "maximum", maximum)

    @property
    def reads(self) -> tuple[Site, ...]:
        """Its site."""
        return (self.site,)

    def row(self, shape: tuple[int, ...]) -> Float[Tensor, " width"]:
        """Its values."""
        return _fitting(self.vector, shape, f"The direction {self.name!r}", self.site)


@dataclass(frozen=True, eq=False)
class Head:
    """A direction of one attention head's output, before the output matrix (site `z`).

    Attributes:
        layer, head: indices of block and head.
        vector: d, as wide as a head.
        name: what tables and files call it.
        maximum: the largest coordinate that was seen, if it is known.
    """

    layer: int
    head: int
    vector: Float[Tensor, " d_head"]
    name: str = "head"
    maximum: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "vector", _checked(self.vector, self.name))

    @property
    def site(self) -> Site:
        """The heads' outputs in its block."""
        return Site(self.layer, "z")

    @property
    def reads(self) -> tuple[Site, ...]:
        """Its site."""
        return (self.site,)

    def row(self, shape: tuple[int, ...]) -> Float[Tensor, " width"]:
        """Its values at the place of the head, 0 elsewhere."""
        if len(shape) != 2 or self.head >= shape[0] or len(self.vector) != shape[1]:
            raise VectorError(
                f"Head {self.head} of block {self.layer}, with a vector of width {len(self.vector)}, is not in "
                f"{self.site.short}, which has heads × width {tuple(shape)}."
            )
        out = torch.zeros(shape)
        out[self.head] = self.vector.cpu()
        return out.flatten()


def is_normalised(coordinate: Coordinate) -> bool:
    """Return True for a latent whose dictionary normalises rows, so that its d differs from row to row."""
    coder = coordinate.dictionary if isinstance(coordinate, Latent) else None
    return isinstance(coder, SparseCoder) and coder.normalisation != "none"


def _checked(vector: Tensor, name: str) -> Tensor:
    values = torch.as_tensor(vector).detach().float()
    if values.ndim != 1 or not bool(values.isfinite().all()) or not bool(values.any()):
        raise VectorError(
            f"The direction {name!r} is no vector of finite numbers other than 0: its shape is {tuple(values.shape)}."
        )
    return values


def _fitting(values: Tensor, shape: tuple[int, ...], what: str, site: Site) -> Tensor:
    width = torch.Size(shape).numel()
    if len(values) != width:
        raise VectorError(
            f"{what} has width {len(values):,}, and {site.short} has width {width:,} in this model. "
            "Name the site and the model that it is of."
        )
    return values
