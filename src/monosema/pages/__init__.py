"""Everything that is seen: the report, and charts for it and for files of their own."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monosema.pages.notebook import HeatMap
from monosema.pages.report import ReportData, StageRow, write_report

__all__ = ["HeatMap", "ReportData", "StageRow", "write_report"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the app's shells need the words and the style, not the report."""
    if name in __all__:
        return getattr(importlib.import_module("monosema.pages.report"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
