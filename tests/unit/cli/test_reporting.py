"""Where a report is, as a person reads it."""

from pathlib import Path

import pytest

from changeover.cli.reporting import named


def test_a_file_is_named_from_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert named(tmp_path / "state" / "report.html") == Path("state/report.html")
    assert named(tmp_path.parent / "report.html") == tmp_path.parent / "report.html"
    assert named(Path("report.html")) == Path("report.html")
