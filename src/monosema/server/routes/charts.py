"""Charts of a run as SVG, drawn by the report's own code; training curves for any part and beside other runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Response

from monosema.core import InputError
from monosema.server.errors import NotFoundError
from monosema.server.library import ServedRun
from monosema.server.metrics import read_metrics
from monosema.server.replies import PlainJSON
from monosema.server.schemas import MapOfFeatures
from monosema.server.state import OfRun, Served

if TYPE_CHECKING:
    from monosema.pages.svg import Spec

router = APIRouter(prefix="/api/runs/{run}/charts", tags=["charts"])
CURVE = "curve-"
MOST_LABELS = 20_000
"""Features up to which the map says their labels."""
_FRESH = {"cache-control": "no-cache"}


def _losses(run: ServedRun) -> Spec | None:
    from monosema.pages.pictures import loss_bars

    return loss_bars(run.report[0].evaluation)


def _densities(run: ServedRun) -> Spec | None:
    from monosema.pages.pictures import density_histogram

    return density_histogram(run.report[1])


def _shares(run: ServedRun) -> Spec | None:
    from monosema.pages.pictures import share_histogram

    return share_histogram(run.report[1])


def _map(view: int) -> Callable[[ServedRun], Spec | None]:
    def axes(run: ServedRun) -> Spec | None:
        from monosema.pages.pictures import feature_map

        drawn = feature_map(run.report[1])
        return None if drawn is None else drawn.views[view][0]

    return axes


CHARTS: Mapping[str, Callable[[ServedRun], Any]] = {
    "losses": _losses,
    "densities": _densities,
    "shares": _shares,
    "map": _map(0),
    "map-narrow": _map(1),
}
"""Charts by name; `curve-KEY` is one too, of any key of the training's metrics."""


@router.get("/map.json", response_model=MapOfFeatures)
def map_of_features(run: OfRun) -> Response:
    """Give the dots of the map of features, to be laid over its axes."""
    import numpy as np

    from monosema.pages.pictures import feature_map

    packed, tables = run.report[1], run.described.tables
    drawn = feature_map(packed)
    if drawn is None:
        raise NotFoundError("No feature fired, so there is no map.")
    about = drawn.to_dict()
    density, height = tables.columns["density"], tables.columns[about["column"]]
    rows = np.flatnonzero(tables.alive & (density > 0) & np.isfinite(height) & ((height > 0) | drawn.scored))
    margin = [value if math.isfinite(value) else None for value in tables.columns["label_margin"][rows].tolist()]
    dots = {
        "latent": tables.latent[rows].tolist(),
        "density": density[rows].tolist(),
        "height": height[rows].tolist(),
        "margin": margin,
        "labels": [tables.labels[row] for row in rows.tolist()] if rows.size <= MOST_LABELS else [],
    }
    return PlainJSON({**about, "areas": [area for _, area in drawn.views], **dots}, headers=_FRESH)


@router.get("/{name}.svg", response_class=Response, responses={200: {"content": {"image/svg+xml": {}}}})
def chart(
    run: OfRun,
    name: str,
    served: Served,
    low: float | None = None,
    high: float | None = None,
    width: Annotated[int, Query(ge=80, le=2000)] = 300,
    height: Annotated[int, Query(ge=40, le=1200)] = 140,
    others: Annotated[str, Query(alias="with", max_length=1000)] = "",
) -> Response:
    """Draw a chart: losses, densities, shares, map, map-narrow, or curve-KEY of a key of the training's metrics.

    A curve takes ends of the tokens that are drawn, the size of its area, and `with`: other runs to draw beside.
    """
    if name.startswith(CURVE):
        between = (-math.inf if low is None else low, math.inf if high is None else high)
        spec = _curve(name.removeprefix(CURVE), run, served, others, between, (width, height))
    elif name in CHARTS:
        spec = CHARTS[name](run)
    else:
        raise NotFoundError(f"There is no chart {name[:80]!r}. There is: {', '.join(CHARTS)}, {CURVE}KEY.")
    if spec is None:
        raise NotFoundError(f"The run {run.name} has nothing to draw in the chart {name[:80]!r}.")
    from monosema.pages.svg import svg

    return Response(svg(spec), media_type="image/svg+xml", headers=_FRESH)


def _curve(
    key: str, run: ServedRun, served: Served, others: str, between: tuple[float, float], size: tuple[int, int]
) -> Any:
    from monosema.pages.pictures import training_curve

    if math.isnan(between[0]) or math.isnan(between[1]):
        raise InputError("Ends of a chart must be numbers.")
    runs = [run, *(served.library[name] for name in dict.fromkeys(filter(None, others.split(","))) if name != run.name)]
    lines = {one.name if len(runs) > 1 else "": read_metrics(one.metrics_path)[0] for one in runs}
    return training_curve(key, lines, between, size)
