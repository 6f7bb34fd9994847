"""A self-contained HTML page for a synthetic PET volume: pictures, numbers, provenance."""

from mri2pet.report.page import ReportInput, make_report

__all__ = ["ReportInput", "make_report"]
