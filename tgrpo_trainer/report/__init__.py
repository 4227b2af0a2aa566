"""The reports: one self-contained HTML page about a run, or about several, made from the files in their folders."""

from tgrpo_trainer.report.compare import COMPARISON_NAME, write_comparison
from tgrpo_trainer.report.write import REPORT_NAME, write_report

__all__ = ["COMPARISON_NAME", "REPORT_NAME", "write_comparison", "write_report"]
