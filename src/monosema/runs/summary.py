"""What a run is known to be by now, as plain figures: what `monosema run --json` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monosema.core import read_json
from monosema.runs.ledger import StageRecord

__all__ = ["FIGURES", "summarise"]

FIGURES = ("fvu", "variance_explained", "l0", "alive", "ce_clean", "ce_spliced", "ce_zero", "loss_recovered")
"""Figures of the dictionary that stand at the top of the summary."""


def summarise(
    folder: Path, stages: Mapping[str, StageRecord], evaluation: Path, dictionary: Path, report: Path
) -> dict[str, Any]:
    """Figures of the stages that are done; what is not made yet, or could not be measured, is absent.

    Args:
        folder: the run folder.
        stages: the records of stages.json.
        evaluation, dictionary, report: where these lie.
    """
    done = {name: record for name, record in stages.items() if record.state == "done"}
    summary: dict[str, Any] = {}
    if "evaluate" in done:
        rows: Sequence[Mapping[str, Any]] = read_json(evaluation)["rows"]
        figures = rows[0]["figures"]
        values = {name: _value(figures.get(name)) for name in FIGURES}
        summary |= {name: value for name, value in values.items() if value is not None}
        summary["intervals"] = {
            name: [figure["low"], figure["high"]] for name, figure in figures.items() if isinstance(figure, Mapping)
        }
        summary["evaluation"] = rows
    if "atlas" in done:
        summary["features"] = done["atlas"].counts["features"]
    if "capture" in done:
        summary["tokens"] = done["capture"].counts["rows"]
    if "train" in done:
        summary["training"] = dict(done["train"].counts)
        summary["dictionary"] = str(dictionary.resolve())
    summary["seconds"] = {name: round(record.seconds, 3) for name, record in done.items()}
    if "report" in done:
        summary["report"] = str(report.resolve())
    summary["run"] = str(folder.resolve())
    return summary


def _value(figure: Any) -> float | None:
    if isinstance(figure, Mapping):
        return float(figure["value"])
    return None if figure is None or isinstance(figure, str) else float(figure)
