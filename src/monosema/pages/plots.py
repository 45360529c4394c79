"""Plots as SVG files, for what is looked at outside of a page: curves and points on plain or logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from monosema.core import ConfigError

WIDTH, HEIGHT = 640, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 168, 24, 48
COLOURS = ("#1b6ca8", "#c8553d", "#4f8a3c", "#8a5aa8", "#b8860b", "#2a9d8f", "#7a7a7a", "#d1478c")
"""Told apart also by people who see few colours, as far as eight can be."""


@dataclass(frozen=True)
class Series:
    """Points of one kind.

    Attributes:
        name: for the legend; series of one name share a colour.
        points: x and y of each.
        labels: what is said when the pointer rests on a point; may be empty.
        line: whether points are joined.
        dots: whether points are drawn.
    """

    name: str
    points: Sequence[tuple[float | int, float | int]]
    labels: Sequence[str] = ()
    line: bool = True
    dots: bool = True


@dataclass(frozen=True)
class Axis:
    """What an axis shows, and whether its steps are factors."""

    label: str
    logarithmic: bool = False


def chart(
    title: str, x: Axis, y: Axis, series: Sequence[Series], marked: tuple[float | int, float | int, str] | None = None
) -> str:
    """A plot as the text of an SVG file.

    Args:
        marked: a point to put a ring around, and what to write beside it.

    Raises:
        ConfigError: no points, or a point at 0 or below on a logarithmic axis.
    """
    points = [point for one in series for point in one.points]
    if not points:
        raise ConfigError(f"There is nothing to draw in the plot {title!r}: it has no points.")
    across = _Scale([p[0] for p in points], x, LEFT, WIDTH - RIGHT)
    up = _Scale([p[1] for p in points], y, HEIGHT - BOTTOM, TOP)
    parts = [_frame(title), *_ticks(across, up), *_labels(x, y)]
    names = list(dict.fromkeys(one.name for one in series))
    for one in series:
        parts += _drawn(one, COLOURS[names.index(one.name) % len(COLOURS)], across, up)
    for number, name in enumerate(names):
        parts += _legend(name, COLOURS[number % len(COLOURS)], number)
    if marked is not None:
        cx, cy = across(marked[0]), up(marked[1])
        parts.append(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="8" fill="none" stroke="#111" stroke-width="1.6"/>')
        parts.append(f'<text x="{cx + 12:.1f}" y="{cy - 8:.1f}" font-weight="bold">{escape(marked[2])}</text>')
    return "\n".join([*parts, "</svg>\n"])


class _Scale:
    """From values to pixels."""

    def __init__(self, values: Sequence[float | int], axis: Axis, first: float | int, last: float | int) -> None:
        if axis.logarithmic and min(values) <= 0:
            raise ConfigError(f"The axis {axis.label!r} is logarithmic, but there is a point at {min(values):g}.")
        self._of: Callable[[float], float] = math.log10 if axis.logarithmic else float
        self.logarithmic = axis.logarithmic
        low, high = self._of(min(values)), self._of(max(values))
        margin = 0.06 * (high - low) or max(abs(high), 1.0) * 0.1
        self.low, self.high = low - margin, high + margin
        self.first, self.last = first, last

    def __call__(self, value: float | int) -> float:
        share = (self._of(value) - self.low) / (self.high - self.low)
        return self.first + share * (self.last - self.first)

    def ticks(self) -> list[float]:
        """About five round values."""
        if self.logarithmic and self.high - self.low > 0.6:
            steps = (1.0, 2.0, 5.0) if self.high - self.low < 3 else (1.0,)
            decades = range(math.floor(self.low), math.ceil(self.high) + 1)
            found = [step * 10.0**decade for decade in decades for step in steps]
            return [value for value in found if self.low <= math.log10(value) <= self.high]
        low, high = (10**end if self.logarithmic else end for end in (self.low, self.high))
        step = 10.0 ** math.floor(math.log10((high - low) / 4))
        step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 6)
        first = math.ceil(low / step)
        return [number * step for number in range(first, math.floor(high / step) + 1) if number * step > low]


def _frame(title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'role="img" font-family="system-ui, sans-serif" font-size="12" fill="#222">'
        f"\n<title>{escape(title)}</title>\n"
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
    )


def _ticks(across: _Scale, up: _Scale) -> list[str]:
    parts = []
    for value in up.ticks():
        y = up(value)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in across.ticks():
        x, foot = across(value), HEIGHT - BOTTOM
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{foot}" y2="{foot + 4}" stroke="#888"/>')
        parts.append(f'<text x="{x:.1f}" y="{foot + 17}" text-anchor="middle">{value:g}</text>')
    parts.append(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}" stroke="#888"/>'
    )
    return parts


def _labels(x: Axis, y: Axis) -> list[str]:
    middle = (LEFT + WIDTH - RIGHT) / 2
    return [
        f'<text x="{middle:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x.label)}</text>',
        f'<text x="8" y="14">{escape(y.label)}</text>',
    ]


def _drawn(one: Series, colour: str, across: _Scale, up: _Scale) -> list[str]:
    places = [(across(px), up(py)) for px, py in one.points]
    parts = []
    if one.line and len(places) > 1:
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
    for number, (px, py) in enumerate(places if one.dots else []):
        label = f"<title>{escape(one.labels[number])}</title>" if one.labels else ""
        parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3.5" fill="{colour}">{label}</circle>')
    return parts


def _legend(name: str, colour: str, number: int) -> list[str]:
    if not name:
        return []
    x, y = WIDTH - RIGHT + 14, TOP + 10 + 18 * number
    return [
        f'<rect x="{x}" y="{y - 8}" width="10" height="10" fill="{colour}"/>',
        f'<text x="{x + 16}" y="{y + 1}">{escape(name)}</text>',
    ]
