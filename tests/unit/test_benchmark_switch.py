"""The benchmark of switches runs, finds what it is there to find, and can tell a promise that is not met."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from benchmarks.switch.candidates import Canaries, Taken, taken_out
from benchmarks.switch.load import Answer, Demand, Line, lines_of
from benchmarks.switch.projects import echo_case
from benchmarks.switch.report import lines, section_of_canaries, section_of_run
from benchmarks.switch.takeover import Deed, Run, Timing, followed, ratio, switch_under_load, windows

from changeover.tasks.observed import Observed

TINY = Timing(settle_s=0.3, cycle_s=0.5, before_s=0.05, after_s=0.2, steady_s=0.22)
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
DEMAND = Demand(
    address="http://127.0.0.1:1",
    key="k",
    operator="o",
    task="echo",
    workers=2,
    lines=(Line(stream=False, period_s=0.1, worker=1), Line(stream=False, period_s=0.1, worker=2)),
    most_s=1.0,
)


def _answer(line: int, sent: float, revision: int, took: float = 0.01, problem: str = "") -> Answer:
    return Answer(line, False, sent, sent, sent + took, sent + took, revision, "echo", problem)


def _run(answers: list[Answer], *commits: float) -> Run:
    deeds = [Deed("promote", at - 0.01, at, number + 2) for number, at in enumerate(commits)]
    return Run(DEMAND, TINY, deeds, answers, 1.0)


def test_two_switches_under_a_small_load_are_measured_and_nothing_fails(tmp_path: Path) -> None:
    with echo_case(tmp_path / "p", 1, options={"chunk_delay_s": 0.02}) as case:
        run = switch_under_load(case, lines_of(1, whole_s=0.04, stream_s=0.1), TINY, 2)
    section = section_of_run("tiny", run)
    assert section.holds, lines([section])
    assert (section.figures["failed"], section.figures["truncated"]) == (0, 0)
    assert [deed.kind for deed in run.deeds] == ["promote", "rollback"]
    assert {answer.deployment for answer in run.answers} == {"echo-echo", "candidate"}
    assert {answer.stream for answer in run.answers} == {True, False}
    assert {each.kind for each in followed(run)} == {"promote", "rollback"}
    assert run.answers[-1].revision >= run.deeds[0].revision
    json.dumps(section.figures)


def test_a_route_is_followed_when_the_last_worker_answers_by_it() -> None:
    answers = [
        *(_answer(0, 0.95 + 0.1 * n, 1 if n < 1 else 2) for n in range(5)),
        *(_answer(1, 1.00 + 0.1 * n, 1 if n < 3 else 2) for n in range(5)),
    ]
    (found,) = followed(_run(answers, 1.02))
    assert found.first_ms == pytest.approx(40)
    assert found.last_old_ms == pytest.approx(180)
    assert found.all_ms == pytest.approx(280)


def test_a_switch_that_a_worker_has_not_followed_counts_until_the_next() -> None:
    answers = [_answer(0, 1.1, 2), _answer(1, 1.1, 1), _answer(0, 2.1, 3), _answer(1, 2.1, 3)]
    assert [found.all_ms for found in followed(_run(answers, 1.0, 2.0))] == [pytest.approx(990), pytest.approx(100)]


def test_answers_belong_to_the_window_in_which_they_were_due() -> None:
    answers = [_answer(0, at, 1, took) for at, took in ((1.1, 0.5), (1.25, 0.2), (5.0, 9.0))]
    found = windows(_run(answers, 1.01), lambda _: True, lambda each: each.ended)
    assert found.switching == [[pytest.approx(500)]]
    assert found.steady == [[pytest.approx(200)]]


def test_a_burst_of_noise_spoils_one_stretch_and_not_the_whole() -> None:
    quiet = [[1.0] * 20 for _ in range(100)]
    found = ratio(quiet, [*quiet[:40], *([[50.0] * 20] * 5), *quiet[45:]], 0.99)
    assert found is not None
    assert (found.ratio, found.interval, found.above_ms) == (1.0, (1.0, 1.0), 50.0)


def test_a_slowdown_is_seen_and_too_few_stretches_bound_nothing() -> None:
    quiet = [[float(1 + (7 * n + m) % 10) for n in range(50)] for m in range(80)]
    slower = [[2 * each for each in window] for window in quiet]
    found = ratio(quiet, slower, 0.99)
    assert found is not None
    assert (found.ratio, found.interval, found.fewest) == (2.0, (2.0, 2.0), 500)
    short = ratio(quiet[:30], slower[:30], 0.99)
    assert short is not None
    assert (short.ratio, short.interval) == (2.0, None)
    assert ratio([[]], [[1.0]], 0.99) is None


@pytest.mark.parametrize("problem", ["500 it failed", "truncated: no end mark"])
def test_one_bad_answer_makes_the_run_fail_and_is_shown(problem: str) -> None:
    answers = [_answer(line, 0.5 + 0.02 * n, 1 if n < 30 else 2) for line in (0, 1) for n in range(60)]
    assert section_of_run("fine", _run(answers, 1.0)).holds
    section = section_of_run("bad", _run([*answers, _answer(0, 1.5, 2, problem=problem)], 1.0))
    assert not section.holds
    assert any(problem in line for line in lines([section]))


def test_a_run_without_answers_does_not_hold() -> None:
    assert not section_of_canaries("nothing", Canaries([], [], [], 1.0)).holds


def test_a_candidate_that_stays_makes_the_run_fail() -> None:
    taken = Taken("garbage", 3, 3, 1, 0.4, 200.0, "3 of 3")
    assert section_of_canaries("fine", Canaries([taken], [], [_answer(0, 1.0, 1)], 1.0)).holds
    assert not section_of_canaries("bad", Canaries([taken], ["slow-10x"], [_answer(0, 1.0, 1)], 1.0)).holds


def test_what_a_canary_cost_is_read_from_the_records() -> None:
    def seen(number: int, variant: str = "new", **changes: Any) -> Observed:
        told: dict[str, Any] = {
            "seq": number,
            "id": f"r{number}",
            "task": "echo",
            "variant": variant,
            "failed_variants": (),
            "side": "candidate",
            "status": 200,
            "truncated": False,
            "abandoned": False,
            "violation": None,
            "duration_ms": 100.0,
            "internal": False,
            "shadow_of": None,
            "started_at": BEGAN + timedelta(seconds=number),
            "error_source": None,
            "revision": 1,
        }
        return Observed(**{**told, **changes})

    failed: dict[str, Any] = {"variant": "old", "failed_variants": ("new",)}
    exchanges = [seen(1), seen(2, "old"), seen(3, **failed), seen(4), seen(5, **failed), seen(6, **failed)]
    found = taken_out("errors-50", "new", exchanges, 4, BEGAN + timedelta(seconds=6.1), "why")
    assert (found.bad, found.requests, found.after) == (2, 3, 1)
    assert found.seconds == pytest.approx(3.0)
    assert found.decided_ms == pytest.approx(1000.0)
