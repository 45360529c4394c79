"""Runs: cards of all, and one in full."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from monosema.core import MonosemaError
from monosema.server.library import ServedRun
from monosema.server.metrics import read_metrics
from monosema.server.schemas import Limit, Metrics, Offset, RunDetail, RunList
from monosema.server.state import OfRun, Served

router = APIRouter(prefix="/api/runs", tags=["runs"])
HEADLINE = ("fvu", "l0", "alive", "loss_recovered")
"""Metrics on a run's card."""


@router.get("", response_model=RunList)
def runs(served: Served, offset: Offset = 0, limit: Limit = 100) -> Any:
    """List the runs, the newest first."""
    found = served.library.runs()
    cards = [card(one) for one in found[offset : offset + limit]]
    return {"total": len(found), "offset": offset, "limit": limit, "runs": cards}


@router.get("/{run}", response_model=RunDetail)
def run(run: OfRun) -> Any:
    """Show one run: its evaluation beside controls, scores, recipe, and what of it is absent."""
    about: dict[str, Any] = {**card(run), "folder": str(run.folder)}
    if about["problem"] is None:
        about |= {"recipe": run.run.recipe.to_dict(), **_evaluated(run), **_described(run)}
    return about


@router.get("/{run}/metrics", response_model=Metrics)
def metrics(
    run: OfRun,
    after: Annotated[int, Query(ge=0, le=2**60)] = 0,
    most: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> Any:
    """Give the lines of training behind a place of their file, thinned where they are many.

    Give `next` as `after` to go on from there.
    """
    lines, end = read_metrics(run.metrics_path, after, most)
    return {"lines": lines, "next": end, "live": run.live}


def _evaluated(run: ServedRun) -> dict[str, Any]:
    try:
        evaluation = run.run.evaluation()
    except MonosemaError:
        return {}
    return {"evaluation": evaluation.to_dict(), "notes": list(evaluation.notes)}


def _described(run: ServedRun) -> dict[str, Any]:
    try:
        atlas = run.atlas
    except MonosemaError:
        return {}
    from monosema.pages.tables import crosscoder_sides

    return {
        "scores": atlas.standing(),
        "absent": atlas.absent,
        "position_buckets": atlas.position_buckets,
        "sides": crosscoder_sides(atlas)[0],
        "searches": run.described.states,
    }


def card(run: ServedRun) -> dict[str, Any]:
    """Return a run at a glance; of a damaged one its name and what is wrong."""
    about: dict[str, Any] = {"name": run.name, "changed": run.changed, "problem": None}
    try:
        return about | _card(run)
    except MonosemaError as error:
        return about | {"problem": str(error)}


def _card(served: ServedRun) -> dict[str, Any]:
    from monosema.runs.pipeline import stages_of

    run = served.run
    recipe, records = run.recipe, run.stages
    stages = [
        {
            "name": stage.name,
            "state": records[stage.name].state if stage.name in records else "waiting",
            "seconds": records[stage.name].seconds if stage.name in records else None,
        }
        for stage in stages_of(recipe)
    ]
    done = {name for name, record in records.items() if record.state == "done"}
    metrics = run.evaluation().dictionary.metrics if "evaluate" in done else {}
    return {
        "title": recipe.report.title,
        "model": " and ".join(recipe.model_names),
        "site": recipe.place,
        "architecture": recipe.dictionary.title,
        "n_latents": recipe.dictionary.n_latents,
        "features": records["atlas"].counts.get("features") if "atlas" in done else None,
        "unit": recipe.unit,
        "of_items": recipe.of_items,
        "stages": stages,
        "live": served.live,
        "metrics": {name: metrics[name].to_dict() for name in HEADLINE if name in metrics},
    }
