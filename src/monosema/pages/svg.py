"""Vega-Lite specifications turned to SVG: one picture for the report, notebooks and documentation.

Colours are CSS variables. Inside a page they are the page's own, so that a chart follows its light or dark mode; in a
file of its own, where ``svg:root`` is the document, the picture brings them itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from monosema.core import atomic_path

Spec = Mapping[str, Any]
"""A Vega-Lite specification as JSON holds it."""

PALETTE: Mapping[str, tuple[str, str]] = {
    "paper": ("#fdfcfa", "#15161a"),
    "ink": ("#1c1b19", "#e9e7e2"),
    "soft": ("#66625a", "#a3a199"),
    "rule": ("#e3dfd6", "#33363d"),
    "dots": ("#57534b", "#b9b7b0"),
    "down": ("#8a97a8", "#5c6a7c"),
    "heat-strong": ("#c2410c", "#fb8b3c"),
    "series-1": ("#1b6ca8", "#6fb3e6"),
    "series-2": ("#c2410c", "#fb8b3c"),
    "series-3": ("#3f7a2e", "#8cc878"),
    "series-4": ("#8a5aa8", "#c79be4"),
    "series-5": ("#96700a", "#e0b84a"),
    "series-6": ("#1f8a7e", "#5ccbbd"),
    "series-7": ("#6b6b6b", "#a9a9a9"),
    "series-8": ("#c2337c", "#f08cbb"),
}
"""Colour by role, on light and on dark paper; the series are told apart by most colour-blind readers too."""


def role(name: str) -> str:
    """Return the colour of a role as CSS: the page's variable, or where there is none the palette's light colour."""
    return f"var(--{name}, {PALETTE[name][0]})"


INK, SOFT, RULE, PAPER, DOTS, DOWN, HEAT = map(role, ("ink", "soft", "rule", "paper", "dots", "down", "heat-strong"))
SERIES = [role(name) for name in PALETTE if name.startswith("series")]
_STAR = "M0,-1L0.3,-0.3L1,-0.3L0.45,0.15L0.65,0.9L0,0.45L-0.65,0.9L-0.45,0.15L-1,-0.3L-0.3,-0.3Z"
SHAPES = ["circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "triangle-right", _STAR]
"""One for each colour, so that a print without colours can be read."""

_MEASURED = "Liberation Sans"
"""Text is laid out with this font's widths: the converter carries it, so machines with other fonts agree."""
_SHOWN = "Arial, 'Liberation Sans', Helvetica, 'Noto Sans KR', 'Malgun Gothic', 'Apple SD Gothic Neo', sans-serif"
"""The first three have the same widths."""
_THEME: dict[str, Any] = {
    "font": _MEASURED,
    "background": None,
    "aria": False,
    "padding": 4,
    "view": {"stroke": None},
    "axis": {
        **{
            "aria": False,
            "labelColor": SOFT,
            "titleColor": SOFT,
            "gridColor": RULE,
            "domainColor": SOFT,
            "tickColor": SOFT,
        },
        **{"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "labelLimit": 0},
    },
    "axisX": {"grid": False, "tickSize": 4, "labelFlush": True},
    "axisY": {
        **{"domain": False, "ticks": False, "labelPadding": 6},
        **{"titleAngle": 0, "titleAlign": "left", "titleAnchor": "end", "titleX": -36, "titleY": -10},
    },
    "legend": {
        "title": None,
        "labelColor": INK,
        "labelFontSize": 12.5,
        "labelLimit": 0,
        "columnPadding": 16,
        "symbolStrokeColor": SOFT,
    },
    "title": {
        "aria": False,
        "color": INK,
        "fontSize": 13.5,
        "fontWeight": 600,
        "anchor": "start",
        "frame": "group",
        "offset": 10,
    },
    "text": {"color": INK, "fontSize": 12, "aria": False},
    "mark": {"color": DOTS},
    "range": {"category": SERIES, "symbol": SHAPES},
}


def variables(selector: str, dark: bool | None = None) -> str:
    """Return CSS that gives the palette to `selector`: its light or dark colours, or with None whichever are wanted."""
    pick = "light-dark({}, {})".format if dark is None else lambda *pair: pair[dark]
    return f"{selector}{{{''.join(f'--{name}:{pick(*pair)};' for name, pair in PALETTE.items())}}}"


_ALONE = (
    "svg:root{background:var(--paper,#fdfcfa)}@media(prefers-color-scheme:dark){" + variables("svg:root", True) + "}"
)
_NAMESPACE = "http://www.w3.org/2000/svg"
_DEFAULTS = {"opacity": "1", "stroke-width": "1", "font-family": _MEASURED, "transform": "translate(0,0)"}
_NEEDLESS = ("role", "aria-roledescription", "aria-hidden", "aria-label", "class", "pointer-events")


def svg(spec: Spec) -> str:
    """Turn a specification into SVG text, the same on every machine.

    Its `description` becomes the picture's accessible name, and those of marks become tooltips. Nothing is fetched: a
    specification holds its data.
    """
    import vl_convert

    root = ElementTree.fromstring(vl_convert.vegalite_to_svg(dict(spec), config=_THEME, allowed_base_urls=[]))
    for element in list(root.iter()):
        _simplify(element)
    name = ElementTree.Element("title")
    name.text = str(spec.get("description", ""))
    style = ElementTree.Element("style")
    style.text = _ALONE
    root[:0] = [name, style]
    size = {key: root.attrib[key] for key in ("viewBox", "width", "height")}
    look = {"style": "max-width:100%;height:auto;overflow:visible", "font-family": _SHOWN}
    root.attrib = {"xmlns": _NAMESPACE, **size, "role": "img", **look}
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def write_svg(spec: Spec, path: Path) -> None:
    """Write the picture of a specification, in one step."""
    with atomic_path(path) as temporary:
        temporary.write_text(svg(spec), encoding="utf-8")


_LONG = re.compile(r"\d+\.\d{3,}")


def _simplify(element: ElementTree.Element) -> None:
    """Remove what a renderer would put there itself or never show; a mark's label becomes its tooltip, a <title>."""
    element.tag = element.tag.removeprefix(f"{{{_NAMESPACE}}}")
    label, kind = element.get("aria-label"), element.get("aria-roledescription", "")
    if label and "title" not in kind:
        ElementTree.SubElement(element, "title").text = label
    for child in list(element):
        if child.get("class") in ("background", "foreground") and not {"fill", "stroke"} & child.attrib.keys():
            element.remove(child)
    for key, value in list(element.attrib.items()):
        if key in _NEEDLESS or _DEFAULTS.get(key) == value:
            del element.attrib[key]
        else:
            element.attrib[key] = _LONG.sub(lambda number: f"{float(number[0]):.2f}", value)
