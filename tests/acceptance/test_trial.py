"""A trial as a user meets it: several tasks on the echo engine, one broken, one candidate that is equal and one that is bad."""

from __future__ import annotations

import json
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.support.processes import Ended, Up, begin, end_of, system, until
from tests.support.projects import deploy_echo, write_project

from changeover.app.installation import Installation
from changeover.evals.trial_queries import newest_trial, tasks_of_trial
from changeover.rollouts.duration import changeover_time
from changeover.rollouts.queries import latest_rollout

SURE = ("code", "mail", "minutes")
"""With a margin so wide that a few samples are enough."""
CARD = """
[[cards]]
id = "{id}"
display_name = "{id}"
family = "{family}"
vendor = "Us"
released = {released}
modalities_in = ["text"]
modalities_out = ["text"]
weights = "open"
chat_format = "chatml"
sources = [{{ facts = ["everything"], at = "ourselves", grade = "run", checked = 2026-11-21 }}]
licence = {{ id = "MIT", in_package = false }}
"""


def write_tasks(directory: Path, slow: str = "") -> Path:
    """Tasks that some samples decide, one that all of them do not, one whose dataset is broken, one that answers `no`."""
    write_project(directory, tasks=(*SURE, "close", "broken", "other"))
    for task in (*SURE, "other"):
        file = directory / "tasks" / f"{task}.toml"
        file.write_text(file.read_text().replace("margin = 0.05", "margin = 0.3"))
    file = directory / "tasks" / "broken.toml"
    file.write_text(file.read_text().replace("echo.jsonl", "broken.jsonl"))
    good = json.dumps({"id": "s1", "input": "x", "target": "ok"})
    (directory / "evals" / "broken.jsonl").write_text(f'{good}\n{{"id": "s2", "target": "ok"}}\n')
    other = directory / "tasks" / "other.toml"
    other.write_text(other.read_text() + '\n[echo]\nreply = "no"\n')
    (directory / "library").mkdir()
    cards = (("own-1", "own", "2025-01-01"), ("own-2", "own2", "2026-01-01"))
    text = "".join(CARD.format(id=id, family=family, released=released) for id, family, released in cards)
    (directory / "library" / "own.toml").write_text(text)
    return directory


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Generator[Up]:
    with system(write_tasks(tmp_path_factory.mktemp("trial") / "p")) as it:
        with it.opened() as installation:
            deploy_echo(installation, "twin", task="code")
            deploy_echo(installation, "bad", task="code", reply="no")
        yield it


def by_task(ended: Ended) -> dict[str, Any]:
    return {row["task"]: row for row in ended.json["tasks"]}


def test_a_trial_tells_of_every_task_and_one_broken_dataset_stops_no_other(up: Up) -> None:
    ended = up.call("trial", "twin", "--json")
    rows = by_task(ended)
    assert ended.status == 0
    assert set(rows) == {*SURE, "close", "broken", "other"}
    for task in SURE:
        assert (rows[task]["verdict"], rows[task]["recommendation"]) == ("no worse", "switch if wanted"), task
        assert rows[task]["holds"]
        assert rows[task]["p95_ratio"] > 0
        assert (rows[task]["cost_ratio"], rows[task]["cost_by"]) == (1.0, "tokens")
    assert rows["other"]["difference"] == 1.0
    assert (rows["close"]["verdict"], rows["close"]["samples"]) == ("inconclusive", 60)
    assert rows["close"]["recommendation"].endswith("more samples would decide")
    assert (rows["broken"]["verdict"], rows["broken"]["kind"]) == ("not tried", "failed")
    assert "broken.jsonl:2" in rows["broken"]["recommendation"]
    assert ended.json["false_switches"] == 0.1
    assert ended.json["ended_at"] is not None


def test_a_trial_is_shown_again_and_the_second_one_asks_nothing(up: Up) -> None:
    first = up.call("trial", "twin", "--json").json
    again = up.call("trial", "twin", "--json").json
    assert again["trial"] == first["trial"] + 1, "the first one had come to its end"
    assert (again["calls_new"], again["calls_kept"] > 0) == (0, True)
    shown = up.call("trial", "--show", str(first["trial"]), "--json").json
    assert {row["task"]: row["verdict"] for row in shown["tasks"]} == {
        row["task"]: row["verdict"] for row in first["tasks"]
    }
    newest = up.call("trial").out
    assert newest.startswith("trial twin against 6 tasks")
    assert f"changeover switch --from-trial {again['trial']}" in newest
    assert "false switches held at 10 %" in newest
    listed = up.call("trial", "--list").out
    assert "twin  6 tasks · 4 could switch · 0 keep · 1 undecided" in listed


def test_a_bad_candidate_is_kept_out_everywhere(up: Up) -> None:
    ended = up.call("trial", "bad", *(word for task in SURE for word in ("--task", task)))
    assert ended.status == 1
    assert ended.out.count("not as good") == 3
    assert "3 keep" in ended.out
    assert "switch" not in ended.out.splitlines()[-1]
    assert "recommends no task" in up.call("switch", "--from-trial", _newest(up), "--yes").refused(1)


def test_a_budget_leaves_a_trial_unfinished_and_the_next_one_goes_on(up: Up) -> None:
    with up.opened() as installation:
        deploy_echo(installation, "dear", task="code", reply="ok then")
    stopped = up.call("trial", "dear", "--task", "code", "--task", "mail", "--max-calls", "3", "--json")
    rows = by_task(stopped)
    assert (stopped.status, stopped.json["calls_new"], stopped.json["ended_at"]) == (3, 3, None)
    assert "budget of 3 new calls is spent" in rows["mail"]["recommendation"]
    assert "changeover trial dear goes on" in up.call("trial").out
    whole = up.call("trial", "dear", "--task", "code", "--task", "mail", "--json")
    assert whole.json["trial"] == stopped.json["trial"]
    assert (whole.status, whole.json["ended_at"] is not None) == (0, True)
    assert f"goes on with trial {whole.json['trial']}" in whole.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_trial_goes_on_where_it_was(up: Up, number: signal.Signals) -> None:
    with up.opened() as installation:
        deploy_echo(installation, f"slow-{number.name.lower()}", task="code", delay_s=0.05)
    words = ("trial", f"slow-{number.name.lower()}", "--task", "mail", "--task", "close", "--task", "minutes")
    trying = begin(up.project, *words, process_group=0)
    assert trying.stderr is not None
    until(lambda: "mail: no worse" in trying.stderr.readline())
    trying.send_signal(number)
    stopped = end_of(trying)
    assert stopped.status in (130, -signal.SIGKILL)
    with up.opened() as installation:
        before = _rows(installation)
    again = up.call(*words, "--json")
    assert "goes on with trial" in again.err
    rows = by_task(again)
    assert list(rows) == ["mail", "close", "minutes"], "in the order that was asked for"
    assert (rows["mail"]["comparison"], rows["mail"]["seconds"]) == (before["mail"][0], before["mail"][1])
    assert again.json["ended_at"] is not None


def test_a_trial_that_cannot_be_is_refused_in_one_line(up: Up) -> None:
    assert "can serve no task: it is a base model" in up.call("trial", "gemma-3-270m").refused(2)
    assert "No deployment and no model named `nobody`" in up.call("trial", "nobody").refused(2)
    assert "No task named `nothing`" in up.call("trial", "twin", "--task", "nothing").refused(2)
    assert "No trial 999" in up.call("trial", "--show", "999").refused(1)
    assert "no artifact" in up.call("trial", "own-2").refused(1)
    assert "--show" in up.call("trial", "twin", "--show", "1").refused(2)
    assert "changeover trial X" in up.call("trial", "--max-calls", "3").refused(2)


def test_candidates_list_what_could_be_tried_and_what_it_would_cost(up: Up) -> None:
    assert up.call("trial", "twin").status == 0  # so that every task has answers
    with up.opened() as installation:
        deploy_echo(installation, "own-1", task="minutes")
    until(lambda: up.ready("own-1"))
    assert up.call("switch", "minutes", "--to", "own-1", "--detach").status == 0
    until(lambda: up.call("promote", "minutes").status == 0)  # once it is measured
    said = up.call("candidates", "--json").json
    first, *others = said["candidates"]
    assert (first["name"], first["relation"], list(first["succeeds"])) == ("own-2", "successor", ["minutes"])
    assert (first["licence"], first["released"], first["runs"]) == ("MIT", "2026-01-01", "by a server only")
    assert first["memory"]["needs"] is None
    assert first["tasks"][0] == "minutes"
    assert "broken" in first["uncosted"]
    assert {each["relation"] for each in others} == {"other"}
    names = {each["name"]: each for each in others}
    assert "gemma-3-270m" not in names
    assert names["smollm2-135m-instruct"]["memory"]["needs"] > 98_362_432, "weights, context and the engine itself"
    assert names["twin"]["cost"]["calls"] < first["cost"]["calls"], "its answers are kept"
    assert 0 < first["cost"]["calls"] < first["cost"]["most_calls"]
    assert first["cost"]["seconds"] > 0
    assert first["cost"]["usd"] is None, "no price is declared"
    shown = up.call("candidates", "minutes").out
    assert shown.index("newer versions of what answers now") < shown.index("own-2") < shown.index("other models")
    assert shown.rstrip().endswith("changeover deploy own-2 --engine openai --url …")
    assert "unknown" in next(line for line in shown.splitlines() if line.startswith("own-2"))
    assert "No task named `nothing`" in up.call("candidates", "nothing").refused(2)


def test_switches_begin_from_a_trial_and_their_changeover_time_is_shown(up: Up) -> None:
    with up.opened() as installation:
        deploy_echo(installation, "next", task="code", reply="ok, next")
    tried = up.call("trial", "next", "--task", "code", "--task", "mail", "--task", "close", "--json").json
    id = str(tried["trial"])
    refused = up.call("switch", "--from-trial", id).refused(2)
    assert "This begins 2 rollouts: code, mail." in refused
    one = up.call("switch", "mail", "--from-trial", id, "--yes", "--json").json
    assert [(each["task"], each["rollout"]["trial"]) for each in one["tasks"]] == [("mail", tried["trial"])]
    both = up.call("switch", "--from-trial", id, "--yes")
    assert both.status == 0
    assert "1 of 2 began" in both.out
    assert "mail  skipped: Rollout" in both.out
    assert up.call("promote", "code").status == 0
    with up.opened() as installation, installation.store.read() as connection:
        rollout = latest_rollout(connection, "code")
        assert rollout is not None
        time = changeover_time(connection, rollout)
    assert time is not None
    assert time.started_at == newest_started(up)
    assert time.total_s == pytest.approx(time.measuring_s + time.waiting_s + time.steps_s)
    shown = up.call("trial").out
    assert f"code: promoted by rollout {rollout.id} · changeover time" in shown
    assert "mail: rollout" in shown
    assert up.call("switch", "--from-trial", id, "--yes").status == 1, "nothing is left to begin"
    assert up.call("abort", "mail").status == 0


def test_a_changed_prompt_is_not_switched_on_an_old_verdict(up: Up) -> None:
    with up.opened() as installation:
        deploy_echo(installation, "late", task="mail", reply="ok, late")
    assert up.call("trial", "late", "--task", "mail").status == 0
    prompt = up.project / "tasks" / "echo.prompt.md"
    before = prompt.read_text()
    prompt.write_text("Say it twice.\n")
    try:
        ended = up.call("switch", "--from-trial", _newest(up), "--yes")
    finally:
        prompt.write_text(before)
    assert ended.status == 1
    assert "No evidence yet" in ended.out


def test_switch_says_what_it_needs(up: Up) -> None:
    for words in (("code",), ("--to", "twin"), (), ("code", "--to", "twin", "--from-trial", "1")):
        assert "--from-trial ID" in up.call("switch", *words).refused(2)


def test_a_trial_without_the_system_says_how_to_start_it(tmp_path: Path) -> None:
    directory = write_tasks(tmp_path / "p")
    with system(directory) as up:
        pass
    assert "changeover up" in up.call("trial", "echo").refused(1)


def _newest(up: Up) -> str:
    with up.opened() as installation, installation.store.read() as connection:
        return str(newest_trial(connection).id)


def newest_started(up: Up) -> Any:
    with up.opened() as installation, installation.store.read() as connection:
        return newest_trial(connection).started_at


def _rows(installation: Installation) -> dict[str, tuple[str | None, float]]:
    with installation.store.read() as connection:
        rows = tasks_of_trial(connection, newest_trial(connection).id)
    return {row.task: (row.comparison, row.outcome.seconds) for row in rows}
