"""A run as a notebook shows it: what it found, in the words of its report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monosema.pages import sections
from monosema.pages.bundle import overview
from monosema.pages.notebook import cell
from monosema.runs.context import RunContext
from monosema.runs.report_data import report_data

if TYPE_CHECKING:
    from monosema.runs.run import Run


def of_run(run: Run) -> str:
    """Return a run's headline; of one that is not done, how far it is."""
    done = [name for name, record in run.stages.items() if record.state == "done"]
    told: dict[str, Any] = {"title": str(run.folder), "lede": "", "cards": [], "stages": ", ".join(done)}
    if {"evaluate", "atlas"} <= set(done):
        data, packed = report_data(RunContext(run.recipe, run.folder)), overview(run.atlas())
        cards = sections.headline(data.evaluation, packed)
        told |= {"title": data.title, "lede": sections.lede(data, packed), "cards": cards}
    return cell("run", told, repr(run))
