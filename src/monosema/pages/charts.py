"""Charts as Vega-Lite specifications, made with altair; `svg.svg` turns each into a picture.

A chart's words come from its arguments and from `glossary.WORDS`. A mark that stands for a value has a `description`
that says it, which becomes the mark's tooltip.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from monosema.core import ConfigError, Estimate
from monosema.pages.glossary import WORDS, number
from monosema.pages.svg import DOTS, DOWN, HEAT, INK, SERIES, SHAPES, SOFT, Spec

Real = float | int
RARE = 0.3
"""Opacity of a mean that fewer than a tenth of the latents have: it says little of them all."""
SHARE = ".1~p"
"""Format of shares: "0.1 %"."""


@dataclass(frozen=True)
class Series:
    """Points of one kind.

    Attributes:
        name: for the legend; series of one name share colour and shape.
        points: x and y of each.
        labels: tooltip of each point; may be empty.
        line, dots: whether points are joined, and whether they are drawn.
    """

    name: str
    points: Sequence[tuple[Real, Real]]
    labels: Sequence[str] = ()
    line: bool = True
    dots: bool = True


@dataclass(frozen=True)
class Axis:
    """An axis: its label, whether its steps are factors, the d3 format of its ticks, whether it begins at 0."""

    label: str
    logarithmic: bool = False
    format: str = "~g"
    zero: bool = False

    def of(self, channel: Any, field: str, low: Real, high: Real) -> Any:
        """Return the encoding of a field along this axis, which runs from `low` to `high`."""
        import altair as alt

        kind = {"type": "log"} if self.logarithmic else {"type": "linear", "zero": False}
        ticks: dict[str, Any] = {"values": _factors(low, high)} if self.logarithmic else {"tickCount": 5}
        text = "datum.value ? replace(datum.label, '%', ' %') : '0'"
        axis = alt.Axis(title=self.label or None, format=self.format, labelExpr=text, **ticks)
        return channel(field, type="quantitative", axis=axis, scale=alt.Scale(**kind, domain=[low, high], nice=False))

    def ends(self, values: Sequence[Real]) -> tuple[float, float]:
        """Return where the axis begins and ends to have some room around these values."""
        if self.zero and not self.logarithmic:
            return 0.0, float(1.08 * max(values) or 1)
        low, high = (math.log10(end) if self.logarithmic else float(end) for end in (min(values), max(values)))
        room = 0.04 * (high - low) or 0.1 * max(abs(high), 1.0)
        return (10 ** (low - room), 10 ** (high + room)) if self.logarithmic else (low - room, high + room)

    def text(self, value: Real) -> str:
        """Return a value for a tooltip."""
        return f"{float(f'{100 * value:.2g}'):g} %" if self.format == SHARE else number(value)


def _factors(low: Real, high: Real) -> list[float]:
    """Return round values of a logarithmic axis: powers of ten; where these are few, multiples of them too."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        found = [float(f"{step}e{decade}") for decade in decades for step in steps]
        found = [value for value in found if low <= value <= high]
        if len(found) > 3:
            break
    return found


def _chart(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return a chart of these rows that has no marks yet."""
    import altair as alt

    return alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))


def _spec(chart: Any, name: str, **properties: Any) -> Spec:
    """Return a chart as JSON, with its accessible name. The tests validate all specifications, so this does not."""
    spec: Spec = chart.properties(description=name, **properties).to_dict(validate=False)
    return spec


def xy(
    title: str,
    x: Axis,
    y: Axis,
    series: Sequence[Series],
    marked: tuple[Real, Real, str] | None = None,
    size: tuple[int, int] = (420, 300),
) -> Spec:
    """Return curves and points over two axes.

    Args:
        marked: a point to put a ring around, and its label.
        size: width and height of the plot area in pixels.

    Raises:
        ConfigError: no points, or a point at 0 or below on a logarithmic axis.
    """
    import altair as alt

    rows = [
        {"series": one.name, "x": px, "y": py, "line": one.line, "dots": one.dots, "label": label}
        for one in series
        for (px, py), label in zip(one.points, one.labels or [""] * len(one.points), strict=True)
    ]
    if not rows:
        raise ConfigError(f"There is nothing to draw in the plot {title!r}: it has no points.")
    xs, ys = ([point[i] for one in series for point in one.points] for i in (0, 1))
    for axis, values in ((x, xs), (y, ys)):
        if axis.logarithmic and min(values) <= 0:
            raise ConfigError(f"The axis {axis.label!r} is logarithmic, but there is a point at {min(values):g}.")
    names = list(dict.fromkeys(one.name for one in series))
    along = x.of(alt.X, "x", *x.ends(xs)), y.of(alt.Y, "y", *y.ends(ys))
    color, shape = (
        _scale(channel, "series", names, values, legend=len(names) > 1)
        for channel, values in ((alt.Color, SERIES if len(names) > 1 else [INK]), (alt.Shape, SHAPES))
    )
    base = _chart(rows)
    lines = base.transform_filter("datum.line").mark_line(strokeWidth=1.8, strokeJoin="round")
    dots = base.transform_filter("datum.dots").mark_point(filled=True, size=46, opacity=1, aria=True)
    layers: list[Any] = [lines.encode(*along, color), dots.encode(*along, color, shape, description="label:N")]
    if marked is not None:
        right = marked[0] > (math.sqrt(min(xs) * max(xs)) if x.logarithmic else (min(xs) + max(xs)) / 2)
        at = _chart([{"x": marked[0], "y": marked[1], "label": marked[2]}]).encode(*along)
        layers.append(at.mark_point(shape="circle", size=130, strokeWidth=1.6, color=INK, opacity=1))
        text = at.mark_text(align="right" if right else "left", dx=-2 if right else 10, dy=-15, fontWeight=600)
        layers.append(text.encode(text="label:N"))
    return _spec(alt.layer(*layers), title, title=title, width=size[0], height=size[1])


def sheet(name: str, specs: Sequence[Spec], columns: int = 2) -> Spec:
    """Return charts of the same series beside each other, with one legend."""
    parts = [
        {key: value for key, value in spec.items() if key not in ("config", "$schema", "datasets")} for spec in specs
    ]
    datasets = {key: rows for spec in specs for key, rows in spec.get("datasets", {}).items()}
    about = {"$schema": specs[0]["$schema"], "description": name, "datasets": datasets}
    return {**about, "concat": parts, "columns": columns, "spacing": 36}


def _scale(channel: Any, field: str, names: Sequence[str], values: Sequence[str], legend: bool = True) -> Any:
    """Return the encoding of names as colours or shapes, in their order."""
    import altair as alt

    scale = alt.Scale(domain=list(names), range=[values[i % len(values)] for i in range(len(names))])
    shown = alt.Legend(orient="bottom", columns=4, symbolOpacity=1) if legend else None
    return channel(field, type="nominal", scale=scale, legend=shown)


def histogram(
    name: str, counts: Int[np.ndarray, " bins"], edges: Float[np.ndarray, " bins+1"], x: Axis, y: Axis
) -> Spec:
    """Return columns over an axis: `counts` between neighbouring `edges`."""
    import altair as alt

    bins = zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
    rows = [
        {"low": low, "high": high, "n": n, "label": f"{x.text(low)} – {x.text(high)}: {n:,}"}
        for low, high, n in bins
        if n
    ]
    floor, room = (0.7, 1.3) if y.logarithmic else (0, 1.05)
    chart = _chart(rows).mark_bar(aria=True, color=DOTS, binSpacing=1)
    along = x.of(alt.X, "low", float(edges[0]), float(edges[-1])), alt.X2("high")
    up = y.of(alt.Y, "n", floor, room * max(1, *counts.tolist())), alt.Y2(datum=floor)
    return _spec(chart.encode(*along, *up, description="label:N"), name, width=380, height=180)


def losses(name: str, rows: Sequence[Mapping[str, Any]]) -> Spec:
    """Return one bar a row, with its interval and its value.

    Args:
        rows: name, value, low, high in nats per token, and whether the bar is the run's own.
    """
    import altair as alt

    base = _chart([{**row, "label": f"{row['name']}: {row['value']:.3f}"} for row in rows])
    end = 1.14 * max(row["high"] for row in rows)
    along = alt.X("value:Q", axis=None, scale=alt.Scale(domain=[0, end], nice=False))
    y = alt.Y("name:N", sort=None, axis=alt.Axis(title=None, labelColor=INK, domain=False))
    own = alt.condition("datum.own", alt.value(DOTS), alt.value(DOWN))
    layers = (
        base.mark_bar(aria=True, height=15).encode(along, y, color=own, description="label:N"),
        base.mark_rule(color=HEAT, strokeWidth=2).encode(alt.X("low:Q"), alt.X2("high:Q"), y),
        base.mark_text(align="left", dx=6).encode(alt.X("high:Q"), y, text=alt.Text("value:Q", format=".3f")),
    )
    return _spec(alt.layer(*layers), name, width=300, height=alt.Step(25))


MARGIN = {"left": 46, "top": 28, "right": 14, "bottom": 42}
MAP, NARROW_MAP = (580, 300), (264, 260)
"""Sizes of the map's plot area on a wide page and on a phone. The page lays a canvas over the area, so these and the
margins around it are fixed."""


def axes(
    name: str,
    x: tuple[Axis, Real, Real],
    y: tuple[Axis, Real, Real],
    rules: Sequence[tuple[Real, str]] = (),
    size: tuple[int, int] = MAP,
) -> Spec:
    """Return two axes, each with its ends, around a plot area of fixed place and size.

    Args:
        rules: heights to draw a dashed line at, and their names.
        size: width and height of the plot area in pixels.
    """
    import altair as alt

    blank = _chart([{}]).mark_point(opacity=0)
    up = y[0].of(alt.Y, "y", *y[1:])
    layers = [blank.encode(x[0].of(alt.X, "x", *x[1:]), up)]
    if rules:
        lines = _chart([{"y": height, "name": text} for height, text in rules]).encode(y=up)
        layers += [
            lines.mark_rule(strokeDash=[4, 3], color=SOFT),
            lines.mark_text(align="left", dx=4, dy=-7, color=SOFT).encode(x=alt.value(0), text="name:N"),
        ]
    chart = alt.layer(*layers)
    fixed = {"autosize": alt.AutoSizeParams(type="none"), "padding": MARGIN}
    return _spec(chart, name, width=size[0], height=size[1], **fixed)


def comparison(result: Mapping[str, Any], scorers: Mapping[str, tuple[float, str]]) -> Spec:
    """Return how well the latents of several dictionaries can be explained, as ``comparison.json`` says it.

    At one site there is a panel for each scorer with a line for each dictionary; at several, a panel for each scorer
    and way of explaining, with a curve over the sites for each dictionary. A bar is an interval, a hollow mark the
    control, a dashed line chance; a mean that could not be measured has no mark, and a rare one is faint.

    Args:
        result: rows (site, dictionary, method, scorer, mean, control), sites, and dictionaries with how many of their
            latents were to be scored.
        scorers: chance and unit of each scorer.
    """
    import altair as alt

    of = {(one["site"], one["dictionary"]): one["scored"] for one in result["dictionaries"]}
    rows = [_compared(row, of[row["site"], row["dictionary"]]) for row in result["rows"]]
    names, methods, kinds = (list(dict.fromkeys(row[key] for row in rows)) for key in ("name", "method", "scorer"))
    sites = list(dict.fromkeys([*result["sites"], *(row["site"] for row in rows)]))
    sites = [site for site in sites if any(row["site"] == site for row in rows)]
    several = len(sites) > 1
    panels = []
    for kind, method in itertools.product(kinds, methods if several else [""]):
        if several and kind == "simulation (top)":
            continue
        part = [row for row in rows if row["scorer"] == kind and method in ("", row["method"])]
        panel = (
            _over_sites(part, sites, names, *scorers[kind])
            if several
            else _by_name(part, names, methods, *scorers[kind])
        )
        panels.append(panel.properties(title=alt.TitleParams(f"{kind}, {method}" if method else kind, fontSize=12.5)))
    title = WORDS["comparison"] + ("" if several else f" ({sites[0]})")
    heading = alt.TitleParams(title, subtitle=WORDS["comparison legend"], subtitleColor=SOFT, subtitlePadding=6)
    chart = alt.concat(*panels, columns=len(methods) if several else 2, spacing=30)
    return _spec(chart.resolve_scale(color="shared", shape="shared"), title, title=heading)


def _compared(row: Mapping[str, Any], of: int) -> dict[str, Any]:
    """Return a row of the comparison as marks need it; `of` latents were to be scored."""
    mean = Estimate(**row["mean"]) if "mean" in row else None
    control = row["control"]["value"] if "control" in row else None
    about = f"{row['dictionary']}, {row['method']}, {row['scorer']}"
    return {
        **{"site": row["site"], "name": row["dictionary"], "method": row["method"], "scorer": row["scorer"]},
        **({"value": mean.value, "low": mean.low, "high": mean.high} if mean else {}),
        **({} if control is None else {"control": control}),
        "n": f"n = {mean.n if mean else 0:,}",
        "opacity": RARE if mean and mean.n < of / 10 else 1,
        "label": f"{about}: {mean}, {mean.n} of {of} latents" if mean else "",
        "control_label": "" if control is None else f"{about}, {WORDS['control']}: {control:.3g}",
    }


def _by_name(
    rows: Sequence[dict[str, Any]], names: Sequence[str], methods: Sequence[str], chance: float, unit: str
) -> Any:
    """Return a panel with a line for each dictionary, and on it a mark for each way of explaining."""
    import altair as alt

    axis = alt.Axis(title=None, labelColor=INK)
    y = alt.Y("name:N", sort=names, scale=alt.Scale(domain=names), axis=axis)
    place = {"y": y, "yOffset": alt.YOffset("method:N", sort=methods)}
    color = _scale(alt.Color, "name", names, SERIES, legend=False)
    layers = _marks(rows, "x", chance, unit, place, color, _scale(alt.Shape, "method", methods, SHAPES))
    count = _chart(rows).mark_text(align="left", fontSize=10.5, color=SOFT)
    layers.append(count.encode(**place, x=alt.value(250), text="n:N"))
    return alt.layer(*layers).properties(width=240, height=alt.Step(14))


def _over_sites(
    rows: Sequence[dict[str, Any]], sites: Sequence[str], names: Sequence[str], chance: float, unit: str
) -> Any:
    """Return a panel with a curve over the sites for each dictionary, shifted so that intervals don't overlap."""
    import altair as alt

    layers = [site.partition(".") for site in sites]
    kinds = {kind for _, _, kind in layers}
    numbered = len(kinds) == 1 and all(layer.isdigit() for layer, _, _ in layers)
    label = WORDS["layer"].format(kinds.pop()) if numbered else WORDS["site"]
    text = "split(datum.value, '.')[0]" if numbered else "datum.value"
    axis = alt.Axis(title=label, labelExpr=text, labelAngle=0 if numbered else -25, labelFlush=False)
    x = alt.X("site:N", sort=sites, axis=axis, scale=alt.Scale(paddingInner=0.45, paddingOuter=0.2))
    place = {"x": x, "xOffset": alt.XOffset("name:N", sort=names)}
    color, shape = _scale(alt.Color, "name", names, SERIES), _scale(alt.Shape, "name", names, SHAPES)
    marks = _marks(rows, "y", chance, unit, place, color, shape)
    line = _chart(rows).transform_filter("isValid(datum.value)").mark_line(strokeWidth=1.2, opacity=0.6)
    curve = line.encode(**place, y=marks[-1].encoding.y, color=color)
    return alt.layer(curve, *marks).properties(width=300, height=170)


def _marks(
    rows: Sequence[dict[str, Any]],
    along: str,
    chance: float,
    unit: str,
    place: Mapping[str, Any],
    color: Any,
    shape: Any,
) -> list[Any]:
    """Return the layers of a panel: chance, intervals, controls, means, all `along` x or y."""
    import altair as alt

    ends = [chance - 0.05, *(row[key] for row in rows for key in ("low", "control") if key in row)]
    scale = alt.Scale(domain=[math.floor(10 * min(ends)) / 10, 1], nice=False)
    axis = alt.Axis(title=unit, tickCount=5, grid=True, format="~g")
    channel = {"x": alt.X, "y": alt.Y}[along]
    faint = alt.Opacity("opacity:Q", scale=None, legend=None)

    def encoded(chart: Any, field: str, **more: Any) -> Any:
        value = channel(field, type="quantitative", scale=scale, axis=axis)
        valid = chart.transform_filter(f"isValid(datum.{field})")
        return valid.encode(**{along: value}, **place, color=color, opacity=faint, **more)

    base = _chart(rows)
    hollow = base.mark_point(filled=False, size=20, strokeWidth=1.2, aria=True)
    return [
        _chart([{}]).mark_rule(strokeDash=[4, 3], color=SOFT).encode(**{along: alt.datum(chance)}),
        encoded(base.mark_rule(strokeWidth=2), "low", **{f"{along}2": "high:Q"}),
        encoded(hollow, "control", shape=shape, description="control_label:N"),
        encoded(base.mark_point(filled=True, size=55, aria=True), "value", shape=shape, description="label:N"),
    ]
