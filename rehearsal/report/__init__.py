"""The report of a rehearsal: one HTML file that stands alone."""

from rehearsal.report.page import render, write_report

__all__ = ["render", "write_report"]
