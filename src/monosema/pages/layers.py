"""Figures by layer as an SVG: a panel for each kind of figure, a curve over the sites for each thing measured."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from monosema.core import ConfigError
from monosema.pages.marks import FAINT, Figure, Number, Scale, colour, frame, mark, scale_of, words

WIDTH, HEIGHT, LEFT, GAP, HEAD, FOOT, TITLE, LEGEND = 318, 168, 58, 16, 26, 60, 30, 18
CHARACTER = 6.6
"""Width of a character of a name, about."""


@dataclass(frozen=True)
class Curve:
    """One thing measured: its name, and a figure for each site; None where it was not measured there."""

    name: str
    figures: Sequence[Figure | None]


@dataclass(frozen=True)
class LayerPanel:
    """One kind of figure: its name, its unit, what chance gives, and the same curves as in all panels."""

    name: str
    unit: str
    chance: Number
    curves: Sequence[Curve]


def layer_chart(title: str, sites: Sequence[str], panels: Sequence[LayerPanel], columns: int = 2) -> str:
    """The plot as the text of an SVG file: at each site a mark for each figure with a bar for its interval, curves
    between neighbouring sites, small hollow marks for controls, and a dashed line at chance.

    What could not be measured has no mark, and what fewer than a tenth of the latents have is faint.

    Args:
        title: of the whole.
        sites: their names, in the order of the model.
        panels: row by row.
        columns: panels beside each other.

    Raises:
        ConfigError: no sites or panels, panels of unlike curves, or curves with another number of figures than sites.
    """
    names = [[curve.name for curve in panel.curves] for panel in panels]
    if not sites or not names or not names[0] or any(other != names[0] for other in names):
        raise ConfigError(f"The plot {title!r} needs sites, and panels, each with the same curves.")
    if any(len(curve.figures) != len(sites) for panel in panels for curve in panel.curves):
        raise ConfigError(f"The plot {title!r} needs a figure for each of the {len(sites)} sites, or None.")
    width = columns * (LEFT + WIDTH + GAP)
    rows = -(-len(panels) // columns)
    legend, lines = _legend(names[0], width)
    top = TITLE + lines * LEGEND
    parts = [*frame(title, width, top + rows * (HEAD + HEIGHT + FOOT) + 8), *legend]
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        left = column * (LEFT + WIDTH + GAP) + LEFT
        parts += _panel(panel, sites, left, top + row * (HEAD + HEIGHT + FOOT) + HEAD)
    said = (
        "bar: 95 % interval; small and hollow: shuffled explanations; dashed: chance; faint: fewer than a tenth scored"
    )
    parts.append(words(6, top + rows * (HEAD + HEIGHT + FOOT) + 2, said, fill="#555", size="11"))
    return "\n".join([*parts, "</svg>\n"])


def _legend(names: Sequence[str], width: int) -> tuple[list[str], int]:
    """Marks with names, and how many lines they take."""
    parts, x, line = [], 14.0, 0
    for number, name in enumerate(names):
        wide = 30 + CHARACTER * len(name)
        if x > 14 and x + wide > width:
            x, line = 14.0, line + 1
        y = TITLE + LEGEND * line + 6
        parts += [mark(number, x, y, colour(number)), words(x + 10, y + 4, name)]
        x += wide
    return parts, line + 1


def _panel(panel: LayerPanel, sites: Sequence[str], left: Number, top: Number) -> list[str]:
    figures = [figure for curve in panel.curves for figure in curve.figures if figure is not None]
    up = scale_of(figures, panel.chance, top + HEIGHT, top)
    step = WIDTH / len(sites)
    parts = [words(left, top - 8, panel.name, weight="bold")]
    for value in up.ticks:
        parts.append(
            f'<line x1="{left}" x2="{left + WIDTH}" y1="{up(value):.1f}" y2="{up(value):.1f}" stroke="#e8e8e8"/>'
        )
        parts.append(words(left - 6, up(value) + 4, f"{value:g}", "end", fill="#555"))
    bottom, chance, middle = top + HEIGHT, up(panel.chance), top + HEIGHT / 2
    parts += [
        f'<line x1="{left}" x2="{left + WIDTH}" y1="{chance:.1f}" y2="{chance:.1f}" stroke="#555" '
        'stroke-dasharray="4 3"/>',
        f'<line x1="{left}" x2="{left + WIDTH}" y1="{bottom}" y2="{bottom}" stroke="#555"/>',
        words(left - 36, middle, panel.unit, "middle", transform=f"rotate(-90 {left - 36} {middle})"),
    ]
    ticks, label = _axis(sites)
    narrow = CHARACTER * max(map(len, ticks)) > step
    parts.append(words(left + WIDTH / 2, bottom + (FOOT - 4 if narrow else 31), label, "middle"))
    for place, tick in enumerate(ticks):
        x, y = left + step * (place + 0.5), bottom + (12 if narrow else 15)
        turned = {"transform": f"rotate(-25 {x:.1f} {y})"} if narrow else {}
        parts.append(words(x, y, tick, "end" if narrow else "middle", fill="#555", size="11", **turned))
    spread = min(9.0, 0.7 * step / max(1, len(panel.curves)))
    for number, curve in enumerate(panel.curves):
        shift = spread * (number - (len(panel.curves) - 1) / 2)
        places = [left + step * (place + 0.5) + shift for place in range(len(sites))]
        parts += _curve(curve, number, places, up)
    return parts


def _axis(sites: Sequence[str]) -> tuple[list[str], str]:
    """What stands at the sites, and the axis' name: numbers of layers where the sites are of one kind."""
    parts = [site.partition(".") for site in sites]
    kinds = {kind for layer, _, kind in parts if layer.isdigit()}
    if len(kinds) == 1 and all(layer.isdigit() for layer, _, _ in parts):
        return [layer for layer, _, _ in parts], f"layer ({kinds.pop()})"
    return list(sites), "site, in the order of the model"


def _curve(curve: Curve, number: int, places: Sequence[Number], up: Scale) -> list[str]:
    paint, parts = colour(number), []
    found = list(zip(places, curve.figures, strict=True))
    for (x, one), (next_x, other) in itertools.pairwise(found):
        if one and other and one.estimate and other.estimate:
            parts.append(
                f'<line x1="{x:.1f}" y1="{up(one.estimate.value):.1f}" x2="{next_x:.1f}" '
                f'y2="{up(other.estimate.value):.1f}" stroke="{paint}" stroke-width="1.2" '
                f'opacity="{FAINT if one.rare or other.rare else 0.75}"/>'
            )
    for x, figure in found:
        if figure is None:
            continue
        parts.append(f'<g opacity="{FAINT if figure.rare else 1}">')
        if figure.control is not None:
            parts.append(mark(number, x, up(figure.control), paint, 2.0, hollow=True))
        if figure.estimate is not None:
            low, high, at = (up(v) for v in (figure.estimate.low, figure.estimate.high, figure.estimate.value))
            said = f"{curve.name}: {figure.estimate}, {figure.estimate.n} of {figure.of} latents"
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{paint}" stroke-width="1.6"/>'
            )
            parts.append(mark(number, x, at, paint, 3.6, said=said))
        parts.append("</g>")
    return parts
