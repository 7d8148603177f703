"""A comparison's report: read back from the store, and written as a page."""

from __future__ import annotations

from pathlib import Path

from changeover.app.installation import Installation
from changeover.app.matching import labels_of
from changeover.cli.signature import later
from changeover.evals.queries import find_comparison
from changeover.evals.report.build import build_report
from changeover.evals.report.record import ComparisonReport

pages = later("changeover.evals.report.html")
"""Loaded where a page is written: a run that is read by a program needs none."""


def report_of(installation: Installation, comparison: str) -> ComparisonReport:
    """Read a comparison's record back."""
    with installation.store.read() as connection:
        task = installation.tasks.get(find_comparison(connection, comparison).task)
        labels = () if task is None else labels_of(task)
        return build_report(connection, comparison, project=installation.project.settings.name, labels=labels)


def write_page(installation: Installation, report: ComparisonReport, html: Path | None = None) -> Path:
    """Write the HTML report, to a given file or into the project's state, and say where it is."""
    file = html or installation.project.state / "comparisons" / report.comparison / "report.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(pages().to_html(report, installation.project.cache / "templates"), encoding="utf-8")
    return file


def named(file: Path) -> Path:
    """A file as a person names it who stands in the working directory: from there, if it lies below."""
    here = Path.cwd()
    return file.relative_to(here) if file.is_relative_to(here) else file
