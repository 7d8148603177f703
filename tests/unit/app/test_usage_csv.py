"""The usage report as a file that a spreadsheet opens."""

from __future__ import annotations

import csv
import io

import pytest

from changeover.app.usage import as_csv
from changeover.gateway.usage_queries import UsageLine


@pytest.mark.parametrize(
    "name",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "=a\r=b", '=HYPERLINK("//elsewhere.example","x")'],
)
def test_a_name_that_a_spreadsheet_would_take_for_a_formula_is_a_text(name: str) -> None:
    line = UsageLine(
        of=(name,),
        requests=1,
        failed=0,
        prompt_tokens=0,
        completion_tokens=0,
        estimated=0,
        cost_microusd=0,
        unpriced=0,
    )
    [row] = csv.DictReader(io.StringIO(as_csv(("key",), [line]), newline=""))
    assert row["key"] == f"'{' '.join(name.splitlines())}"
    assert row["requests"] == "1"
