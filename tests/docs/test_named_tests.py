"""Tests that the documentation names are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(test_\w+)`")
DEFINED = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)


def test_every_test_that_a_page_names_is_there() -> None:
    pages = [ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
    named = {(page.name, name) for page in pages for name in NAMED.findall(page.read_text())}
    files = [*(ROOT / "tests").rglob("test_*.py")]
    known = {file.stem for file in files} | {name for file in files for name in DEFINED.findall(file.read_text())}
    assert len(named) > 20, "the pattern finds nothing any more"
    assert {each for each in named if each[1] not in known} == set()
