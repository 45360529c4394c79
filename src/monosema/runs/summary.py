"""What a run is known to be by now, as plain figures: what `monosema run --json` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monosema.core import read_json
from monosema.runs.ledger import StageRecord

FIGURES = ("fvu", "variance_explained", "l0", "alive", "ce_clean", "ce_spliced", "ce_zero", "loss_recovered")
"""Figures of the dictionary that stand at the top of the summary."""


def summarise(
    folder: Path,
    stages: Mapping[str, StageRecord],
    names: Mapping[str, str],
    evaluation: Path,
    dictionary: Path,
    scores: Path,
    report: Path,
) -> dict[str, Any]:
    """Figures of the stages that are done; what is not made yet, or could not be measured, is absent.

    Args:
        folder: the run folder.
        stages: the records of stages.json.
        names: what the rows of an evaluation are called, by kind.
        evaluation, dictionary, scores, report: where these lie.
    """
    done = {name: record for name, record in stages.items() if record.state == "done"}
    summary: dict[str, Any] = {}
    if "evaluate" in done:
        measured = read_json(evaluation)
        rows: Sequence[Mapping[str, Any]] = measured["rows"]
        figures = rows[0]["figures"]
        summary |= {name: figures[name]["value"] for name in FIGURES if name in figures}
        summary["intervals"] = {name: [figure["low"], figure["high"]] for name, figure in figures.items()}
        summary["absent"] = rows[0]["absent"]
        summary["evaluation"] = [{**row, "name": _name(row, names)} for row in rows]
        if "difference" in measured:
            summary["difference"] = measured["difference"]
    if "atlas" in done:
        summary["features"] = done["atlas"].counts["features"]
    if "capture" in done:
        summary["tokens"] = done["capture"].counts["rows"]
    if "train" in done:
        summary["training"] = dict(done["train"].counts)
        summary["dictionary"] = str(dictionary.resolve())
    if "score" in done:
        meaning = read_json(scores)
        summary["meaning"] = {name: meaning[name] for name in ("features", "rule", "rows")}
    summary["seconds"] = {name: round(record.seconds, 3) for name, record in done.items()}
    if "report" in done:
        summary["report"] = str(report.resolve())
    summary["run"] = str(folder.resolve())
    return summary


def _name(row: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """What a row of an evaluation is called: by its kind, and by its site where rows differ in that."""
    name = names.get(row["kind"], row["name"])
    return f"{name} at {row['site']}" if row.get("site") else name
