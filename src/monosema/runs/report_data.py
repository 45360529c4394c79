"""The data of a report, gathered from a run's folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from monosema.core import Estimate, MonosemaError, read_json
from monosema.evaluation import Evaluation
from monosema.interpretation import scores_path
from monosema.models import model_facts
from monosema.pages import Control, ReportData, StageRow
from monosema.runs.context import RunContext
from monosema.runs.interpretation import home_of
from monosema.runs.ledger import Ledger, StageRecord


def report_data(ctx: RunContext) -> ReportData:
    """Gather a run's facts for its report; the stages before the report must be done."""
    recipe = ctx.recipe
    stages = Ledger(ctx.folder).records()
    evaluation = Evaluation.from_dict(read_json(ctx.evaluation_path))
    names = recipe.row_names
    models = " and ".join(recipe.model_names)
    title = f"What {models} compute{'' if recipe.other_model else 's'} at {recipe.place}"
    return ReportData(
        title=recipe.report.title or title,
        model_name=models,
        site=recipe.place,
        architecture=recipe.dictionary.title,
        corpus=ctx.corpus.name,
        tokens=stages["capture"].counts["rows"],
        heldout_tokens=evaluation.tokens,
        sinks_left_out=stages["capture"].counts["sinks"],
        evaluation=[
            replace(row, name=f"{names.get(row.kind, row.name)}{f' at {row.site}' if row.site else ''}")
            for row in evaluation.rows
        ],
        training=_metrics(ctx.dictionary_dir / "metrics.jsonl"),
        stages=[_stage_row(name, record) for name, record in stages.items() if record.state == "done"],
        recipe=recipe.to_dict(),
        model=_model(recipe.model.name),
        notes=evaluation.notes,
        controls=_controls(ctx),
        run=str(ctx.folder),
        pictures=pictures(ctx),
    )


def _controls(ctx: RunContext) -> list[Control]:
    """Return what scorers give by chance and to random directions, from the table of scores."""
    path = scores_path(home_of(ctx))
    rows: list[dict[str, Any]] = read_json(path)["rows"] if path.exists() else []
    return [
        Control(
            method=row["method"],
            scorer=row["scorer"],
            chance=row.get("chance"),
            random=Estimate(**row["random"]) if "random" in row else None,
            part=row.get("part") == "subset",
        )
        for row in rows
    ]


def comparison_path(ctx: RunContext) -> Path:
    """Return the path of the table that compares the dictionary with baselines; the chart is beside it as SVG."""
    return home_of(ctx) / "comparison.json"


def pictures(ctx: RunContext) -> list[str]:
    """Return the run's charts that stand in its report, as SVG."""
    plot = comparison_path(ctx).with_suffix(".svg")
    return [plot.read_text(encoding="utf-8")] if plot.exists() else []


def _metrics(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _stage_row(name: str, record: StageRecord) -> StageRow:
    counts = {key: value for key, value in record.counts.items() if isinstance(value, int)}
    return StageRow(name=name, seconds=record.seconds, note=", ".join(f"{n:,} {key}" for key, n in counts.items()))


def _model(name: str) -> dict[str, Any]:
    """Return the model's facts; nothing where its shape is known to its own code only."""
    try:
        facts = model_facts(name).to_dict()
    except MonosemaError:
        return {}
    return {key: value for key, value in facts.items() if key not in ("name", "path")}
