"""The benchmark of fit computes what the product computes, and its page in the docs is what it prints."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.fit import HEADINGS, Row, logged, published, rows_of

from changeover.library.catalogue import Catalogue

PAGE = Path(__file__).parents[2] / "docs" / "concepts" / "fit.md"
CATALOGUE = Catalogue.load()


def test_an_error_is_a_share_of_what_is_known() -> None:
    assert Row("x", 150, 100).error == 0.5
    assert Row("x", 50, 100).error == -0.5


@pytest.mark.parametrize("rows", [published(CATALOGUE), logged(CATALOGUE)], ids=["published", "logged"])
def test_the_tables_that_need_no_engine_stand_in_the_docs_as_they_are_printed(rows: list[Row]) -> None:
    page = PAGE.read_text()
    assert rows
    assert [line for line in rows_of(rows) if line not in page] == []


def test_every_table_has_its_heading_in_the_docs() -> None:
    page = PAGE.read_text()
    assert [heading for heading in HEADINGS.values() if f"| {heading} |" not in page] == []
