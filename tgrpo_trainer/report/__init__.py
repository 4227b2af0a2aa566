"""The report of a run: one self-contained HTML page made from the files in its folder."""

from tgrpo_trainer.report.write import REPORT_NAME, write_report

__all__ = ["REPORT_NAME", "write_report"]
