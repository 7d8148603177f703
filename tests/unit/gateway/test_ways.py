from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.unit.gateway.test_resolve import LIVE, SNAPSHOT

from changeover.core.errors import ConfigError
from changeover.gateway.snapshot import LiveTask
from changeover.gateway.ways import Way
from changeover.serving.variants import Variant

TASK = SNAPSHOT.tasks["summarise"]
NEWER = Variant.of(
    "summarise", "newer", replace(LIVE.bundle, engine=replace(LIVE.bundle.engine, profile={"a_newer_field": 1}))
)


def test_a_former_bundle_that_cannot_be_read_does_not_stop_the_incumbent() -> None:
    route = replace(TASK.route, former=NEWER.id, created_at=datetime(2026, 1, 1, tzinfo=UTC))
    turns = LiveTask(TASK.task, route, {LIVE.id: LIVE, NEWER.id: NEWER}).only_turns
    assert turns is not None
    (side, first), (_, second) = turns
    assert (side, first.variant) == ("incumbent", LIVE)
    assert first.profile.system_role == "yes"
    with pytest.raises(ConfigError, match="a_newer_field"):
        assert second.profile


def test_where_there_is_a_candidate_the_side_decides_who_is_asked_first() -> None:
    route = replace(TASK.route, candidate=NEWER.id, candidate_weight=0.5)
    live = LiveTask(TASK.task, route, {LIVE.id: LIVE, NEWER.id: NEWER})
    assert live.only_turns is None
    assert [way.variant for _, way in live.turns("candidate")] == [NEWER, LIVE]
    assert [way.variant for _, way in live.turns("incumbent")] == [LIVE, NEWER]


def test_callers_are_told_who_answered() -> None:
    lines = Way.of(LIVE, 7).lines.decode().split("\r\n")
    assert lines[:2] == ["x-changeover-route: 7", "x-changeover-deployment: small"]
    assert lines[2] == f"x-changeover-bundle: {LIVE.bundle.digest[:12]}"
