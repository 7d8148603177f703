"""Which comparison allows a switch."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from changeover.core.errors import GateError
from changeover.evals.queries import Comparison
from changeover.rollouts.gate import check_gate, shortcoming
from changeover.tasks.declarations import GateDeclaration

GATE = GateDeclaration(margin=0.05, alpha=0.05, min_samples=50)
MADE = Comparison(
    id="cmp-1",
    task="code",
    incumbent="a",
    candidate="b",
    dataset="d",
    scorer="s",
    plan={"margin": 0.05, "alpha": 0.05, "about": "population", "max_failed_share": 0.1, "min_samples": 50},
    actor="ana",
    verdict="pass",
    summary={"samples": 60},
    started_at=datetime(2026, 1, 1, tzinfo=UTC),
    ended_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def _check(comparison: Comparison | None, gate: GateDeclaration = GATE) -> Comparison:
    return check_gate(comparison, task="code", candidate="twin", gate=gate)


def test_a_pass_by_the_rules_of_now_lets_a_switch_go_on() -> None:
    assert _check(MADE) is MADE


@pytest.mark.parametrize(
    ("comparison", "said"),
    [
        (None, "No evidence yet"),
        (replace(MADE, verdict=None), "No evidence yet"),
        (replace(MADE, verdict="fail"), "The incumbent stays"),
        (replace(MADE, verdict="inconclusive"), "More samples"),
    ],
)
def test_nothing_but_a_pass_does(comparison: Comparison | None, said: str) -> None:
    with pytest.raises(GateError, match=said):
        _check(comparison)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"margin": 0.04}, "with `margin` 0.05, and the gate asks for 0.04 now"),
        ({"alpha": 0.01}, "with `alpha` 0.05, and the gate asks for 0.01 now"),
        ({"max_failed_share": 0.0}, "with `max_failed_share` 0.1, and the gate asks for 0 now"),
        ({"min_samples": 61}, "with 60 samples, and the gate asks for 61 now"),
        ({"about": "dataset"}, "about the population, and the gate asks about the dataset now"),
    ],
)
def test_a_pass_by_laxer_rules_than_those_of_now_does_not(declared: dict[str, Any], said: str) -> None:
    with pytest.raises(GateError, match="Measure again") as raised:
        _check(MADE, GATE.model_copy(update=declared))
    assert said in str(raised.value)


@pytest.mark.parametrize(
    "declared",
    [
        {"margin": 0.1},
        {"alpha": 0.1},
        {"min_samples": 60},
        {"beta": 0.3},
        {"max_samples": 55},
        {"max_failed_share": 0.5},
    ],
)
def test_a_pass_by_stricter_rules_does(declared: dict[str, Any]) -> None:
    assert _check(MADE, GATE.model_copy(update=declared)) is MADE


def test_covariates_count_only_where_the_gate_takes_them_into_account() -> None:
    covered = replace(MADE, pool={"about": "population"})
    assert shortcoming(covered, GATE) is None
    assert shortcoming(covered, GATE.model_copy(update={"covariates": False})) is not None


def test_a_record_of_before_a_rule_existed_is_taken_at_its_laxest() -> None:
    old = replace(MADE, plan={"margin": 0.05, "alpha": 0.05})
    assert shortcoming(old, GATE) is not None
    assert shortcoming(old, GATE.model_copy(update={"max_failed_share": 1.0})) is None


def test_a_pass_under_a_lower_floor_than_that_of_now_does_not() -> None:
    floored = GATE.model_copy(update={"floor": 0.6})
    assert "no `floor`" in str(shortcoming(MADE, floored))
    assert "`floor` 0.5" in str(shortcoming(replace(MADE, plan={**MADE.plan, "floor": 0.5}), floored))
    assert shortcoming(replace(MADE, plan={**MADE.plan, "floor": 0.7}), floored) is None
    assert shortcoming(replace(MADE, plan={**MADE.plan, "floor": 0.7}), GATE) is None
