"""Two runs side by side: their figures with the difference, and features of both that point the same way."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query

from monosema.core import Estimate, MonosemaError
from monosema.server.library import ServedRun
from monosema.server.routes.runs import card
from monosema.server.schemas import Comparison, MatchedFeatures
from monosema.server.state import Served

if TYPE_CHECKING:
    from monosema.server.matching import Matching

THRESHOLD = 0.7
"""Cosine from which two features count as the same; as in arXiv 2309.08600, which asks how universal features are."""
router = APIRouter(prefix="/api/compare", tags=["compare"])
Name = Annotated[str, Query(max_length=200)]


@router.get("", response_model=Comparison)
def compare(served: Served, a: Name, b: Name) -> Any:
    """Compare two runs' figures on held-out text: what they are, and the difference of each that both have.

    The difference's interval takes the two as independent, so it is too wide where both are of one text.
    """
    runs = served.library[a], served.library[b]
    first, second = (_metrics(run) for run in runs)
    shared = [name for name in first if name in second]
    rows = [_row(name, first[name], second[name]) for name in shared]
    return {"a": card(runs[0]), "b": card(runs[1]), "metrics": rows}


def _metrics(run: ServedRun) -> dict[str, Estimate]:
    try:
        return run.run.evaluation().dictionary.metrics
    except MonosemaError:
        return {}


def _row(name: str, a: Estimate, b: Estimate) -> dict[str, Any]:
    """Return two figures and b − a, with an interval from the lengths of theirs."""
    difference = b.value - a.value
    low = difference - math.hypot(b.value - b.low, a.high - a.value)
    high = difference + math.hypot(b.high - b.value, a.value - a.low)
    between = {"value": difference, "low": low, "high": high, "method": "independent samples"}
    return {"metric": name, "a": a.to_dict(), "b": b.to_dict(), "difference": between}


@router.get("/features", response_model=MatchedFeatures)
def matched_features(
    served: Served,
    a: Name,
    b: Name,
    limit: Annotated[int, Query(ge=0, le=2000)] = 200,
    threshold: Annotated[float, Query(ge=-1, le=1, allow_inf_nan=False)] = THRESHOLD,
) -> Any:
    """Match features of two runs by the cosine of their decoder directions: pairs that are each other's nearest, the
    nearest first, and features of the first run that nothing in the second is near to."""
    runs = served.library[a], served.library[b]
    found = _matched(*runs)
    pairs = [
        {"cosine": float(cosine), "a": _named(runs[0], int(one)), "b": _named(runs[1], int(other))}
        for one, other, cosine in zip(found.a[:limit], found.b[:limit], found.cosine[:limit], strict=True)
    ]
    alone = found.nearest.argsort(kind="stable")[:limit].tolist()
    only = [{**_named(runs[0], latent), "nearest": float(found.nearest[latent])} for latent in alone]
    above = int((found.cosine >= threshold).sum())
    about = {"threshold": threshold, "chance": found.chance, "above": above, "of": len(found.nearest)}
    return {**about, "pairs": pairs, "only": only}


def _matched(a: ServedRun, b: ServedRun) -> Matching:
    return _kept(a, b, id(a.dictionary), id(b.dictionary))


@lru_cache(8)
def _kept(a: ServedRun, b: ServedRun, *dictionaries: int) -> Matching:
    from monosema.server.matching import match

    return match(a.dictionary.directions, b.dictionary.directions)


def _named(run: ServedRun, latent: int) -> dict[str, Any]:
    """Return a feature's number and label; no label where there is no atlas yet."""
    try:
        tables = run.described.tables
        return {"latent": latent, "label": tables.labels[tables.row_of(latent)]}
    except MonosemaError:
        return {"latent": latent, "label": ""}
