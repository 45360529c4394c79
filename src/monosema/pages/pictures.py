"""The charts of a report, from a run's metrics and an atlas's columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from monosema.evaluation import EvaluationRow
from monosema.pages.bundle import ReportBundle
from monosema.pages.charts import MAP, MARGIN, NARROW_MAP, SHARE, Axis, Series, axes, histogram, losses, xy
from monosema.pages.glossary import WORDS, text_of
from monosema.pages.svg import Spec
from monosema.pages.words import say

CURVES: Mapping[str, tuple[str, str]] = {"fvu": ("FVU", "~g"), "l0": ("L0", "~g"), "dead": (WORDS["dead"], "~p")}
"""Training curves that a report shows: by key of metrics.jsonl, the name and the format of values."""
_MOST = 400
"""Points of a training curve at most, about."""


def training_curves(lines: Sequence[Mapping[str, Any]]) -> list[Spec]:
    """Return curves of FVU, L0 and the share of dead latents over the lines of metrics.jsonl."""
    charts = (training_curve(key, {"": lines}) for key in CURVES)
    return [chart for chart in charts if chart is not None]


def training_curve(
    key: str,
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
    between: tuple[float, float] = (-math.inf, math.inf),
    size: tuple[int, int] = (300, 140),
) -> Spec | None:
    """Return the curve of one metric over the lines of each run's metrics.jsonl, thinned to every n-th.

    Args:
        runs: lines by the run's name in the legend.
        between: the part of the tokens trained on that is drawn.
        size: width and height of the plot area in pixels.

    Returns:
        None where no run has two points there.
    """
    name, form = CURVES.get(key, (key, "~g"))
    series, values = [], []
    for run, lines in runs.items():
        points = [(line["tokens"], line[key]) for line in lines if _finite(line.get(key))]
        points = [point for point in points if between[0] <= point[0] <= between[1]]
        if len(points) > 1:
            points = [*points[: -1 : math.ceil(len(points) / _MOST)], points[-1]]
            values += [y for _, y in points]
            series.append(Series(run, points, dots=False))
    if not series:
        return None
    steep = 0 < 8 * min(values) < max(values)
    x, y = Axis(say(WORDS["tokens"]), format="~s"), Axis("", logarithmic=steep, format=form, zero=True)
    end = series[0].points[-1]
    last = text_of(end[1], "share" if key == "dead" else "")
    return xy(name, x, y, series, (*end, last) if len(series) == 1 else None, size=size)


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def loss_bars(rows: Sequence[EvaluationRow]) -> Spec | None:
    """Return the model's losses: untouched, on each row's reconstructions, with the activations erased.

    Of two models that are compared each has its own loss when untouched; rows of the other model are left out.
    """
    own = next((row for row in rows if row.kind == "dictionary"), None)
    if own is None:
        return None
    clean = own.metrics.get("ce_clean")
    found = [(WORDS["untouched"], clean, True), (own.name, own.metrics.get("ce_spliced"), True)]
    found += [(WORDS["mean"], own.metrics.get("ce_mean"), False), (WORDS["erased"], own.metrics.get("ce_zero"), False)]
    for row in rows:
        its = row.metrics.get("ce_clean")
        if row is not own and (clean is None or its is None or its.value == clean.value):
            found.append((row.name, row.metrics.get("ce_spliced"), False))
    bars = [
        {"name": name, "value": loss.value, "low": loss.low, "high": loss.high, "own": ours}
        for name, loss, ours in found
        if loss is not None
    ]
    return losses(WORDS["losses"], sorted(bars, key=lambda bar: bar["value"])) if bars else None


def _density() -> Axis:
    return Axis(say(WORDS["density"]), logarithmic=True, format=SHARE)


@dataclass(frozen=True)
class FeatureMap:
    """The axes of the map of features, and how the page lays its canvas over them.

    Attributes:
        views: for a wide page and for a phone, the axes, and left, top, width and height of the plot area in percent of
            the chart.
        scored: whether height says the label's score; else the strongest activation.
        label: name of the heights.
        x, y: ends of the axes; the first is logarithmic, the second where nothing is scored.
    """

    views: tuple[tuple[Spec, tuple[float, float, float, float]], ...]
    scored: bool
    label: str
    x: tuple[float, float]
    y: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the page's script."""
        column = "label_score" if self.scored else "max"
        return {"column": column, "log": not self.scored, "label": self.label, "x": self.x, "y": self.y}


def feature_map(bundle: ReportBundle) -> FeatureMap | None:
    """Return the map of features that fired: score against density, or strongest activation where nothing is scored.

    Lines at the heights of random directions and of chance show what a score is worth.
    """
    scored = bundle.known("label_score").size > 1
    density, height = bundle.columns["density"], bundle.columns["label_score" if scored else "max"]
    shown = (bundle.columns["alive"] > 0) & (density > 0) & (np.isfinite(height) if scored else height > 0)
    if not shown.any():
        return None
    least = math.floor(10 * min(0.9, float(height[shown].min()))) / 10
    x, y = _decades(density[shown]), (least, 1.0) if scored else _decades(height[shown])
    label = f"{WORDS['score']} ({bundle.scorer})" if scored else WORDS["active"]
    name = WORDS["map"].format(int(shown.sum()), label)
    lines = _control_lines(bundle) if scored else []
    lines = [one for one in lines if one[0] > y[0]]
    heights = Axis(label, logarithmic=not scored)
    views = [(axes(name, (_density(), *x), (heights, *y), lines, size), _area(*size)) for size in (MAP, NARROW_MAP)]
    return FeatureMap(tuple(views), scored, label, x, y)


def _area(width: int, height: int) -> tuple[float, float, float, float]:
    """Return left, top, width and height of a plot area of this size in percent of the chart."""
    across, down = width + MARGIN["left"] + MARGIN["right"], height + MARGIN["top"] + MARGIN["bottom"]
    return 100 * MARGIN["left"] / across, 100 * MARGIN["top"] / down, 100 * width / across, 100 * height / down


def _control_lines(bundle: ReportBundle) -> list[tuple[float, str]]:
    """Return the heights of chance and of random directions by the scorer of labels, and their names."""
    own = next((one for one in bundle.labels if one.scorer == bundle.scorer), None)
    if own is None:
        return []
    lines = [] if own.chance is None else [(own.chance, WORDS["chance"])]
    return lines if own.random is None else [*lines, (own.random.value, f"{WORDS['random']} {own.random.value:.2f}")]


def _decades(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Return the powers of ten around these values."""
    low, high = math.floor(np.log10(values.min())), math.ceil(np.log10(values.max()))
    return 10.0**low, 10.0 ** max(high, low + 1)


def density_histogram(bundle: ReportBundle) -> Spec | None:
    """Return how often features fire: features by density. None where none fires."""
    density = bundle.columns["density"][(bundle.columns["alive"] > 0) & (bundle.columns["density"] > 0)]
    if not density.size:
        return None
    low, high = _decades(density)
    edges = np.geomspace(low, high, max(8, min(48, 8 * round(math.log10(high / low)))) + 1)
    counts, _ = np.histogram(density, edges)
    y = Axis(WORDS["features"], format="~s")
    return histogram(WORDS["densities"].format(density.size), counts, edges, _density(), y)


def share_histogram(bundle: ReportBundle) -> Spec | None:
    """Return the share of each live feature's decoder norm at a crosscoder's second side. None without sides."""
    if bundle.sides is None:
        return None
    shares = bundle.columns["share"][bundle.columns["alive"] > 0]
    counts, edges = np.histogram(shares, 40, (0, 1))
    x, y = Axis(WORDS["share"].format(bundle.sides[1])), Axis(WORDS["features"], logarithmic=True, format="~s")
    return histogram(WORDS["shares"].format(bundle.sides[1], shares.size), counts, edges, x, y)
