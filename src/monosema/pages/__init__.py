"""Everything that is seen: the report, and charts for it and for files of their own."""

from monosema.pages.report import ReportData, StageRow, write_report

__all__ = ["ReportData", "StageRow", "write_report"]
