"""Everything that is seen: the report, what notebooks show, and charts for these and for files of their own."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monosema.pages.notebook import HeatMap
    from monosema.pages.report import ReportData, StageRow, write_report

__all__ = ["HeatMap", "ReportData", "StageRow", "write_report"]
_HOMES = {"HeatMap": "notebook"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the app's shells need the words and the style, not the report."""
    if name in __all__:
        return getattr(importlib.import_module(f"monosema.pages.{_HOMES.get(name, 'report')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
