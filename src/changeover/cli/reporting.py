"""A comparison's report, written as a page."""

from __future__ import annotations

from pathlib import Path

from changeover.app.comparisons import templates_of
from changeover.app.installation import Installation
from changeover.cli.signature import later
from changeover.evals.report.record import ComparisonReport

pages = later("changeover.evals.report.html")
"""Loaded where a page is written: a run that is read by a program needs none."""


def write_page(installation: Installation, report: ComparisonReport, html: Path | None = None) -> Path:
    """Write the HTML report, to a given file or into the project's state, and say where it is."""
    file = html or installation.project.state / "comparisons" / report.comparison / "report.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(pages().to_html(report, templates_of(installation)), encoding="utf-8")
    return file


def named(file: Path) -> Path:
    """A file as a person names it who stands in the working directory: from there, if it lies below."""
    here = Path.cwd()
    return file.relative_to(here) if file.is_relative_to(here) else file
