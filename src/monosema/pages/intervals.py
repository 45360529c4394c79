"""Figures with intervals and controls as an SVG: a panel for each kind of figure, a line for each thing measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from monosema.core import ConfigError, Estimate
from monosema.pages.plots import COLOURS

__all__ = ["Line", "Panel", "interval_chart"]

PANEL, GAP, ROW, TOP, BOTTOM = 210, 22, 20, 46, 34
CHARACTER = 6.6
"""Width of a character of a name, about."""


@dataclass(frozen=True)
class Line:
    """One thing measured: its name, the group whose colour it has, the figure, and that of its control."""

    name: str
    group: str
    estimate: Estimate | None
    control: float | None = None


@dataclass(frozen=True)
class Panel:
    """One kind of figure: its name, what chance gives, and a line for each thing, in the same order in all panels."""

    name: str
    chance: float
    lines: Sequence[Line]


def interval_chart(title: str, panels: Sequence[Panel]) -> str:
    """The plot as the text of an SVG file: a dot for each figure, a bar for its interval, a ring for its control, and
    a dashed line at chance. What could not be measured has no dot.

    Raises:
        ConfigError: no panels, or panels of unlike lines.
    """
    names = [[line.name for line in panel.lines] for panel in panels]
    if not names or not names[0] or any(other != names[0] for other in names):
        raise ConfigError(f"The plot {title!r} needs panels, each with the same lines.")
    left = round(20 + CHARACTER * max(map(len, names[0])))
    width = left + len(panels) * (PANEL + GAP)
    height = TOP + ROW * len(names[0]) + BOTTOM
    groups = list(dict.fromkeys(line.group for line in panels[0].lines))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" style="max-width: 100%; height: auto" font-family="system-ui, sans-serif" font-size="12" '
        f'fill="#222">\n<title>{escape(title)}</title>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="6" y="16" font-weight="bold">{escape(title)}</text>',
    ]
    for row, name in enumerate(names[0]):
        parts.append(f'<text x="{left - 10}" y="{_middle(row) + 4}" text-anchor="end">{escape(name)}</text>')
    for number, panel in enumerate(panels):
        parts += _panel(panel, left + number * (PANEL + GAP), height, groups)
    foot = "dot: mean with its 95 % interval; ring: shuffled explanations; dashed: chance"
    return "\n".join([*parts, f'<text x="6" y="{height - 8}" fill="#666">{foot}</text>', "</svg>\n"])


def _middle(row: int) -> int:
    return TOP + ROW * row + ROW // 2


def _panel(panel: Panel, left: int, height: int, groups: Sequence[str]) -> list[str]:
    found = [line for line in panel.lines if line.estimate is not None]
    ends = [end for line in found for end in (line.estimate.low, line.estimate.high) if line.estimate]  # type: ignore[union-attr]
    controls = [line.control for line in panel.lines if line.control is not None]
    low, high = min([panel.chance, 0.0, *ends, *controls]), max([1.0, *ends])

    def across(value: float) -> float:
        return left + PANEL * (value - low) / (high - low)

    bottom = height - BOTTOM
    parts = [
        f'<text x="{left}" y="{TOP - 10}">{escape(panel.name)}</text>',
        f'<line x1="{across(panel.chance):.1f}" x2="{across(panel.chance):.1f}" y1="{TOP}" y2="{bottom}" '
        'stroke="#999" stroke-dasharray="3 3"/>',
    ]
    for value in (0.0, 0.5, 1.0):
        parts.append(f'<text x="{across(value):.1f}" y="{bottom + 13}" text-anchor="middle">{value:g}</text>')
    for row, line in enumerate(panel.lines):
        y, colour = _middle(row), COLOURS[groups.index(line.group) % len(COLOURS)]
        if line.estimate is not None:
            first, last, at = (across(v) for v in (line.estimate.low, line.estimate.high, line.estimate.value))
            said = f"{line.name}, {panel.name}: {line.estimate}, n = {line.estimate.n}"
            parts.append(
                f'<line x1="{first:.1f}" x2="{last:.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"/>'
            )
            parts.append(f'<circle cx="{at:.1f}" cy="{y}" r="4" fill="{colour}"><title>{escape(said)}</title></circle>')
        if line.control is not None:
            parts.append(f'<circle cx="{across(line.control):.1f}" cy="{y}" r="3.5" fill="none" stroke="{colour}"/>')
    return parts
