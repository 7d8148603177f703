"""The suite's catalogue, and what its findings come to."""

from __future__ import annotations

from changeover.serving.capabilities import CAPABILITIES
from changeover.serving.conformance import PROBES, Finding, Result, profile_options, verdicts

NOT_PROBED = {"adapters_at_run_time"}
"""By nothing that a caller could send."""


def finding(probe: str, result: Result, declared: bool | None) -> Finding:
    return Finding(
        probe=probe, capability=probe.partition(".")[0], result=result, seen="seen", sent="sent", declared=declared
    )


def test_every_capability_has_a_probe_that_says_what_it_proves() -> None:
    names = [probe.name for probe in PROBES]

    assert len(set(names)) == len(names)
    assert {probe.capability for probe in PROBES} == set(CAPABILITIES) - NOT_PROBED
    assert all(probe.proves.endswith(".") for probe in PROBES)


def test_one_probe_that_fails_counts_more_than_others_that_pass() -> None:
    found = verdicts(
        [
            finding("usage", "passed", True),
            finding("usage.streamed", "failed", True),
            finding("tools", "not applicable", True),
            finding("chat", "passed", True),
            finding("chat.system_role", "not applicable", True),
        ]
    )

    assert found == {"usage": "failed", "tools": "not applicable", "chat": "passed"}


def test_only_what_is_declared_and_not_there_is_a_lie() -> None:
    assert finding("seeds", "failed", True).is_lie
    assert finding("seeds", "missing", True).is_lie
    assert not finding("seeds", "not applicable", True).is_lie
    assert not finding("seeds", "missing", False).is_lie
    assert not finding("seeds", "failed", None).is_lie


def test_a_profile_has_to_say_what_the_kind_of_engine_does_not_know_or_says_wrongly() -> None:
    options = profile_options(
        [
            finding("logprobs", "passed", None),
            finding("grammar", "missing", None),
            finding("vision", "not applicable", None),
            finding("seeds", "failed", True),
            finding("choices", "passed", False),
            finding("prompt_logprobs", "missing", False),
            finding("chat", "passed", True),
        ]
    )

    assert options == {"has": ["choices", "logprobs"], "lacks": ["grammar", "seeds"]}
