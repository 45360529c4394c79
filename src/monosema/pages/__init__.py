"""Everything that is seen: the report, and heat maps for notebooks."""

from monosema.pages.heat import heatmap_html
from monosema.pages.report import EvaluationRow, ReportData, StageRow, write_report

__all__ = ["EvaluationRow", "ReportData", "StageRow", "heatmap_html", "write_report"]
