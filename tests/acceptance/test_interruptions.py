"""Signals and kills in the middle of everything: nothing is lost, nothing is left behind, nobody is lied to."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tests.support.processes import Up, begin, changeover, end_of, load, start, system, until
from tests.support.projects import deploy_echo, write_project

from changeover.app.installation import Installation
from changeover.rollouts import actions
from changeover.rollouts.decide import Step
from changeover.rollouts.queries import latest_rollout
from changeover.tasks.queries import recent_exchanges

ORPHANS_GONE_S = 3.0


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "p")


@pytest.fixture
def up(project: Path) -> Generator[Up]:
    with system(project) as it:
        it.call("status")  # its modules are compiled before anything is measured
        yield it


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_system_in_order_while_its_input_is_open(project: Path, number: int) -> None:
    up = start(project)
    until(up.engines)
    engines = up.engines()
    assert up.stop(number) == 0, up.log()
    assert "Fatal" not in up.log()
    assert "Traceback" not in up.log()
    assert not any(engine.is_running() for engine in engines)
    assert changeover(project, "ask", "echo", "hi").refused(1).startswith("Project `test` is not running.")


def test_a_stream_under_way_ends_whole_before_the_system_does(up: Up) -> None:
    _answered_by(up, "slow", chunk_delay_s=0.1, chunks=10)
    asking = begin(up.project, "ask", "echo", "0 1 2 3 4 5 6 7 8 9")
    assert asking.stdout is not None
    first = os.read(asking.stdout.fileno(), 1).decode()
    status = up.stop()
    assert (first + end_of(asking).out, status) == ("0 1 2 3 4 5 6 7 8 9\n", 0)


def test_ask_says_in_one_line_that_the_system_died(up: Up) -> None:
    _answered_by(up, "slow", chunk_delay_s=30)
    asking = begin(up.project, "ask", "echo", "one two three")
    assert asking.stdout is not None
    first = os.read(asking.stdout.fileno(), 1).decode()
    up.stop(signal.SIGKILL)
    ended = end_of(asking)
    assert first == "o"
    assert ended.status == 1
    assert "Traceback" not in ended.err, ended.err[-300:]
    assert "error " in ended.err


def test_a_kill_in_a_canary_leaves_no_engine_and_the_rollout_goes_on_after_the_next_start(project: Path) -> None:
    up = start(project)
    _canary(up, "new")
    engines = until(lambda: found if len(found := up.engines()) == 2 else [])
    up.stop(signal.SIGKILL)
    until(lambda: not any(_lives(engine) for engine in engines), ORPHANS_GONE_S)
    with system(project, key=up.key) as again:
        before = again.call("status", "--json").json["tasks"][0]
        assert (before["candidate"], before["candidate_weight"]) == ("new", 0.2)
        with load(again, "echo") as seen:
            until(lambda: again.routed() == ("new", None))
        assert seen.failed == []
        actions = [row["action"] for row in again.call("history", "echo", "--json").json]
        assert actions == ["promote", "canary", "canary", "start"]


def test_killing_engines_under_load_costs_no_whole_answer_where_another_variant_can_give_it(up: Up) -> None:
    _canary(up, "other", weight=0.5)
    with load(up, "echo", clients=4) as seen:
        until(lambda: seen.answered_by == {"echo", "other"})
        for name in ("other", "echo", "other"):
            pid, before = up.ready(name), seen.requests
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            until(lambda before=before: seen.requests > before + 20)
            until(lambda name=name, pid=pid: up.ready(name) not in (None, pid))
    assert seen.failed == []
    assert seen.requests > 60


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_comparison_goes_on_where_it_was(up: Up, number: signal.Signals) -> None:
    with up.opened() as installation:
        deploy_echo(installation, "slow", delay_s=0.1)
    comparing = begin(up.project, "compare", "echo", "--candidate", "slow", process_group=0)
    assert comparing.stderr is not None
    seen = until(lambda: _samples_shown(comparing.stderr.readline()))
    comparing.send_signal(number)
    stopped = end_of(comparing)
    if number is signal.SIGINT:
        assert "What was finished is kept" in stopped.refused(130)
    else:
        assert stopped.status == -signal.SIGKILL
    again = up.call("compare", "echo", "--candidate", "slow", "--json")
    assert again.status == 3
    assert again.json["calls_cached"] >= 2 * seen, "an answer is on disk before it counts"
    assert again.json["calls_new"] + again.json["calls_cached"] == 120


def _samples_shown(line: str) -> int:
    """How many of the sixty samples a line of progress shows, from twenty on."""
    shown = re.search(r"(\d+)/60 samples", line)
    return int(shown.group(1)) if shown and int(shown.group(1)) >= 20 else 0


def test_ctrl_c_ends_an_evaluation_under_way_and_does_not_call_it_failed(project: Path) -> None:
    file = project / "tasks" / "echo.toml"
    # The incumbent takes its time over a stream, so that the system goes on for a while.
    file.write_text(f"{file.read_text()}\n[echo]\nchunk_delay_s = 0.5\nchunks = 8\n")
    up = start(project)
    with up.opened() as installation:
        deploy_echo(installation, "slow", delay_s=0.3)
    assert up.call("switch", "echo", "--to", "slow", "--detach").status == 0
    measuring = until(lambda: _measuring(up))
    with up.opened() as installation:
        until(lambda: "slow" in _asked(installation))
    asking = begin(up.project, "ask", "echo", "1 2 3 4 5 6 7 8", process_group=0)
    assert asking.stdout is not None
    asking.stdout.read(1)
    # A terminal sends it to all processes of its foreground group.
    for each in measuring:
        if os.getpgid(each.pid) == os.getpgid(up.process.pid):
            each.send_signal(signal.SIGINT)
    assert up.stop(signal.SIGINT) == 0, up.log()
    assert end_of(asking).status == 0
    assert not any(each.is_running() for each in measuring)
    with up.opened() as installation, installation.store.read() as connection:
        rollout = latest_rollout(connection, "echo")
    assert rollout is not None
    assert (rollout.state, rollout.hold) == ("evaluation", None), "the next start makes it again"


def _measuring(up: Up) -> list[psutil.Process]:
    """Processes of the system that evaluate."""
    return [each for each in psutil.Process(up.process.pid).children() if "--rollout" in each.cmdline()]


def _asked(installation: Installation) -> set[str | None]:
    """Deployments that were asked anything."""
    with installation.store.read() as connection:
        return {each.deployment for each in recent_exchanges(connection, "echo")}


def test_leaving_a_switch_that_is_followed_changes_nothing_about_it(up: Up) -> None:
    _wide_margin(up.project)
    with up.opened() as installation:
        deploy_echo(installation, "new")
    switching = begin(up.project, "switch", "echo", "--to", "new")
    until(lambda: up.routed() == ("echo", "new"))
    switching.send_signal(signal.SIGINT)
    assert end_of(switching).status == 130
    with load(up, "echo") as seen:
        until(lambda: up.routed() == ("new", None))
    assert seen.failed == []


def _canary(up: Up, name: str, weight: float | None = None, **options: object) -> None:
    """Deploy an echo engine and begin its canary, with the task's steps or with one that does not end."""
    with up.opened() as installation:
        variant = deploy_echo(installation, name, **options)
        plan = actions.plan_of(installation.tasks["echo"].declared)
        if weight is not None:
            plan = replace(plan, steps=(Step(canary=weight, requests=100_000, hold_s=0),))
        by = actions.By(actor="test", reason="test", now=installation.clock.now())
        with installation.store.write() as connection:
            actions.start(connection, variant, plan, None, by)
    until(lambda: up.ready(name))


def _answered_by(up: Up, name: str, **options: object) -> None:
    """Make an echo engine the incumbent, and wait until the gateway follows."""
    _canary(up, name, **options)
    assert up.call("promote", "echo").status == 0
    until(lambda: up.answering() == name)


def _lives(engine: psutil.Process) -> bool:
    try:
        return engine.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wide_margin(project: Path) -> None:
    file = project / "tasks" / "echo.toml"
    file.write_text(file.read_text().replace("margin = 0.05", "margin = 0.3"))
