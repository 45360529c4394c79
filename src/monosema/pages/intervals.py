"""Figures with intervals and controls as an SVG: a panel for each kind of figure, a line for each thing measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monosema.core import ConfigError
from monosema.pages.marks import FAINT, Figure, Number, Scale, colour, frame, mark, scale_of, words

WIDTH, GAP, ROW, HEAD, TITLE, FOOT, COLUMNS = 250, 62, 30, 26, 34, 42, 2
CHARACTER = 6.6
"""Width of a character of a name, about."""
LEGEND = 20


@dataclass(frozen=True)
class Line:
    """One thing measured in several ways: its name, and a figure for each way."""

    name: str
    figures: Sequence[Figure]


@dataclass(frozen=True)
class Panel:
    """One kind of figure: its name, its unit, what chance gives, and the same lines as in all panels."""

    name: str
    unit: str
    chance: Number
    lines: Sequence[Line]


def interval_chart(title: str, ways: Sequence[str], panels: Sequence[Panel]) -> str:
    """The plot as the text of an SVG file: a mark for each figure, a bar for its interval, a small hollow mark for its
    control, and a dashed line at chance; on the right the numbers of latents behind the figures.

    What could not be measured has no mark, and what fewer than a tenth of the latents have is faint.

    Args:
        title: of the whole.
        ways: names of the figures of a line.
        panels: two beside each other.

    Raises:
        ConfigError: no panels, panels of unlike lines, or lines with another number of figures than there are ways.
    """
    names = [[line.name for line in panel.lines] for panel in panels]
    figures = [line.figures for panel in panels for line in panel.lines]
    if not names or not names[0] or any(other != names[0] for other in names):
        raise ConfigError(f"The plot {title!r} needs panels, each with the same lines.")
    if any(len(one) != len(ways) for one in figures):
        raise ConfigError(f"The plot {title!r} needs {len(ways)} figures a line: {', '.join(ways)}.")
    left = round(22 + CHARACTER * max(map(len, names[0])))
    tall = HEAD + ROW * len(names[0]) + FOOT
    rows = -(-len(panels) // COLUMNS)
    width = left + min(COLUMNS, len(panels)) * (WIDTH + GAP)
    foot = TITLE + rows * tall
    parts = frame(title, width, foot + 2 * LEGEND)
    for number, panel in enumerate(panels):
        row, column = divmod(number, COLUMNS)
        top = TITLE + row * tall + HEAD
        parts += _panel(panel, left + column * (WIDTH + GAP), top)
        if column == 0:
            parts += [
                words(left - 12, _middle(top, place) + 4, name, "end", fill=colour(place))
                for place, name in enumerate(names[0])
            ]
    x = 12.0
    for number, way in enumerate(ways):
        parts += [mark(number, x, foot + 8, "#444"), words(x + 9, foot + 12, way)]
        x += 26 + CHARACTER * len(way)
    said = "bar: 95 % interval; small and hollow: shuffled explanations; dashed: chance; n: latents with a figure"
    parts.append(words(6, foot + LEGEND + 12, f"{said} (faint: fewer than a tenth)", fill="#555", size="11"))
    return "\n".join([*parts, "</svg>\n"])


def _middle(top: Number, row: int) -> float:
    return top + ROW * row + ROW / 2


def _panel(panel: Panel, left: Number, top: Number) -> list[str]:
    across = scale_of([figure for line in panel.lines for figure in line.figures], panel.chance, left, left + WIDTH)
    bottom = top + ROW * len(panel.lines)
    parts = [words(left, top - 8, panel.name, weight="bold"), words(left + WIDTH + 10, top - 8, "n", fill="#555")]
    for value in across.ticks:
        x = across(value)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" stroke="#e8e8e8"/>')
        parts.append(words(x, bottom + 14, f"{value:g}", "middle", fill="#555"))
    x = across(panel.chance)
    parts += [
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" stroke="#555" stroke-dasharray="4 3"/>',
        f'<line x1="{left}" x2="{left + WIDTH}" y1="{bottom}" y2="{bottom}" stroke="#555"/>',
        words(left + WIDTH / 2, bottom + 29, panel.unit, "middle"),
    ]
    for row, line in enumerate(panel.lines):
        for way, figure in enumerate(line.figures):
            y = _middle(top, row) + 10 * (way - (len(line.figures) - 1) / 2)
            parts += _marks(line.name, panel.name, figure, way, across, y, colour(row))
            count = figure.estimate.n if figure.estimate else 0
            parts.append(words(left + WIDTH + 10, y + 3.5, f"{count:,}", fill="#555", size="10"))
    return parts


def _marks(line: str, panel: str, figure: Figure, way: int, across: Scale, y: Number, paint: str) -> list[str]:
    parts = [f'<g opacity="{FAINT if figure.rare else 1}">']
    if figure.control is not None:
        said = f"{line}, {panel}, shuffled explanations: {figure.control:.3g}"
        parts.append(mark(way, across(figure.control), y, paint, 2.5, hollow=True, said=said))
    if figure.estimate is not None:
        first, last, at = (across(v) for v in (figure.estimate.low, figure.estimate.high, figure.estimate.value))
        said = f"{line}, {panel}: {figure.estimate}, {figure.estimate.n} of {figure.of} latents"
        parts.append(f'<line x1="{first:.1f}" x2="{last:.1f}" y1="{y}" y2="{y}" stroke="{paint}" stroke-width="2"/>')
        parts.append(mark(way, at, y, paint, said=said))
    return [*parts, "</g>"]
