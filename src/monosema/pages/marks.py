"""What plots of figures with intervals share: marks that are told apart in print, scales, and axes with names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from monosema.core import Estimate
from monosema.pages.plots import COLOURS

Number = float | int
"""Pixels and figures may be whole."""
FAINT = 0.3
"""Opacity of figures that few latents have."""
SHAPES = ("circle", "square", "diamond", "triangle", "down", "plus", "cross", "star")
"""One for each colour, so that a print without colours can be read."""


@dataclass(frozen=True)
class Figure:
    """A mean over latents, beside the mean of its control.

    Attributes:
        estimate: None where no latent has a figure; its n counts those that have one.
        control: of the shuffled explanations; None where there is none.
        of: latents that were to be scored.
    """

    estimate: Estimate | None
    control: Number | None
    of: int

    @property
    def rare(self) -> bool:
        """Whether fewer than a tenth of the latents have a figure, so that its mean says little of them all."""
        return self.estimate is not None and self.estimate.n < self.of / 10


@dataclass(frozen=True)
class Scale:
    """From figures to pixels: `low` lies at `first` and `high` at `last`."""

    low: Number
    high: Number
    first: Number
    last: Number

    def __call__(self, value: Number) -> float:
        """Where a figure lies."""
        return self.first + (value - self.low) / (self.high - self.low) * (self.last - self.first)

    @property
    def ticks(self) -> list[float]:
        """Round values within it."""
        return [tick / 5 for tick in range(math.ceil(self.low * 5 - 1e-9), math.floor(self.high * 5 + 1e-9) + 1)]


def scale_of(figures: Sequence[Figure], chance: Number, first: Number, last: Number) -> Scale:
    """A scale on which chance and all intervals and controls have room; it ends at 1, the best that can be had."""
    found = [figure.estimate for figure in figures if figure.estimate is not None]
    ends = [chance - 0.05, *(one.low for one in found)]
    ends += [figure.control for figure in figures if figure.control is not None]
    return Scale(math.floor(min(ends) * 10) / 10, 1.0, first, last)


def colour(number: int) -> str:
    """The colour of the n-th thing that is compared."""
    return COLOURS[number % len(COLOURS)]


def frame(title: str, width: int, height: int) -> list[str]:
    """The beginning of a picture that shrinks with its page."""
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" style="max-width: 100%; height: auto" font-family="system-ui, sans-serif" font-size="12" '
        f'fill="#222">\n<title>{escape(title)}</title>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        words(6, 18, title, weight="bold"),
    ]


def words(x: Number, y: Number, text: str, anchor: str = "start", **look: str) -> str:
    """A line of text; `look` has SVG attributes, `weight` and `size` for those of its font."""
    names = {"weight": "font-weight", "size": "font-size"}
    more = "".join(f' {names.get(name, name)}="{value}"' for name, value in look.items())
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def mark(shape: int, x: Number, y: Number, paint: str, size: Number = 4.0, hollow: bool = False, said: str = "") -> str:
    """A mark at a point, of the n-th shape; `said` is shown when the pointer rests on it."""
    look = f'fill="{"#fff" if hollow else paint}" stroke="{paint}" stroke-width="{1 if hollow else 1.2}"'
    title = f"<title>{escape(said)}</title>" if said else ""
    kind = SHAPES[shape % len(SHAPES)]
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:g}" {look}>{title}</circle>'
    corners = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in _CORNERS[kind])
    return f'<polygon points="{corners}" {look}>{title}</polygon>'


def _ring(points: int, turn: Number, inner: Number = 0.0) -> list[tuple[float, float]]:
    """Corners of a regular polygon, or of a star where there is an inner radius; `turn` in whole turns."""
    steps = 2 * points if inner else points
    radii = [1.25 if not inner or step % 2 == 0 else inner for step in range(steps)]
    angles = [2 * math.pi * (turn + step / steps) for step in range(steps)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for radius, angle in zip(radii, angles, strict=True)]


_CORNERS = {
    "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    "diamond": _ring(4, 0.0),
    "triangle": _ring(3, 0.75),
    "down": _ring(3, 0.25),
    "plus": _ring(4, 0.0, 0.45),
    "cross": _ring(4, 0.125, 0.45),
    "star": _ring(5, 0.75, 0.5),
}
