"""The documentation's table of what engines can do agrees with what each kind of engine declares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from changeover.serving.backends import BACKENDS
from changeover.serving.capabilities import CAPABILITIES
from changeover.serving.conformance import Finding, verdicts
from changeover.serving.options import BackendName

ROWS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[3] / "docs" / "data" / "conformance.json").read_bytes()
)["rows"]
INSIDE = {"ray": "local"}
"""Replicas that were looked at ran this kind of engine, and pass on what comes."""
NO_TEMPLATE = "no chat template"
"""What is seen of a base model's chats."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['engine']}-{row['model']}-{row['started']}")
def test_what_was_found_of_an_engine_is_what_it_declares(row: Mapping[str, Any]) -> None:
    kind = cast("BackendName", INSIDE.get(row["engine"], row["engine"]))
    declared = BACKENDS[kind].capabilities
    findings = [
        Finding(**each, capability=each["probe"].partition(".")[0], sent="", declared=None) for each in row["findings"]
    ]
    found = {name: result for name, result in verdicts(findings).items() if result != "not applicable"}
    assert found
    if any(each.capability == "chat" and NO_TEMPLATE in each.seen for each in findings):
        assert found.pop("chat") == "missing"  # the model's lack, and not the engine's
    assert {name: result == "passed" for name, result in found.items()} == {
        name: getattr(declared, name) for name in CAPABILITIES if name in found
    }


def test_whatever_did_not_pass_has_a_reason() -> None:
    assert [each for row in ROWS for each in row["findings"] if each["result"] != "passed" and not each["seen"]] == []
