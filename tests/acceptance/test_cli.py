"""The command line as a user meets it: real processes, one running system on the echo engine, several tasks."""

from __future__ import annotations

import getpass
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.support.processes import Up, changeover, load, system, until
from tests.support.projects import deploy_echo, write_project

from changeover.cli.main import COMMANDS, run_command
from changeover.rollouts.actions import By, plan_of, promote, start

SURE = ("swap", "twice", "baked", "odd")
"""Tasks with a margin so wide that a few samples are enough; each is switched by one test."""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Generator[Up]:
    directory = write_project(tmp_path_factory.mktemp("cli") / "p", tasks=("echo", *SURE))
    for task in SURE:
        file = directory / "tasks" / f"{task}.toml"
        file.write_text(file.read_text().replace("margin = 0.05", "margin = 0.3"))
    with system(directory) as it:
        it.call("deploy", "twin", "--engine", "echo")
        yield it


def test_ask_streams_an_answer_and_says_aside_who_gave_it(up: Up) -> None:
    ended = up.call("ask", "echo", "hello [you] there")
    assert (ended.status, ended.out) == (0, "hello [you] there\n")
    assert ended.err.startswith("echo · route ")


def test_ask_reads_a_file_or_standard_input(up: Up) -> None:
    (up.project / "memo.txt").write_text("from a file")
    assert up.call("ask", "echo", "memo.txt").out == "from a file\n"
    assert up.call("ask", "echo", "-", text="from a pipe").out == "from a pipe\n"


def test_ask_as_json_gives_the_whole_answer_and_nothing_else(up: Up) -> None:
    ended = up.call("ask", "echo", "hello there", "--json")
    assert (ended.status, ended.err) == (0, "")
    assert ended.json["choices"][0]["message"]["content"] == "hello there"
    assert ended.json["model"] == "echo"
    assert ended.json["answered_by"]["deployment"] == "echo"


def test_ask_takes_a_long_answer_without_a_blank(up: Up) -> None:
    text = "x" * 2_000_000
    ended = up.call("ask", "echo", "-", text=text)
    assert (ended.status, len(ended.out)) == (0, len(text) + 1), ended.err[-300:]


def test_eval_scores_the_incumbent_or_another_deployment(up: Up) -> None:
    ended = up.call("eval", "echo", "--samples", "7", "--json")
    assert ended.status == 0
    assert (ended.json["samples"], ended.json["score"], ended.json["failed"]) == (7, 1.0, 0)
    again = up.call("eval", "echo", "--samples", "7", "--deployment", "echo")
    assert "100.0 of 100" in again.out
    assert "7 samples" in again.out


def test_compare_ends_with_the_status_of_its_verdict(up: Up) -> None:
    undecided = up.call("compare", "echo", "--candidate", "twin", "--json")
    assert (undecided.status, undecided.json["verdict"], undecided.json["samples"]) == (3, "inconclusive", 60)
    assert (undecided.json["difference"], undecided.json["candidate_score"]) == (0.0, 1.0)
    up.call("deploy", "no", "--engine", "echo", "--option", 'reply="no"')
    worse = up.call("compare", "echo", "--candidate", "no", "--json")
    assert (worse.status, worse.json["verdict"], worse.json["difference"]) == (1, "fail", -1.0)
    assert worse.json["samples"] < 20
    shown = up.call("compare", "echo", "--candidate", "no")
    assert (shown.status, shown.out.split()[0]) == (1, "FAIL")
    passed = up.call("compare", "swap", "--candidate", "twin")
    assert (passed.status, passed.out.split()[0]) == (0, "PASS")
    assert "changeover switch swap --to twin" in passed.out


def test_a_switch_follows_its_canary_to_the_promotion_and_a_rollback_takes_it_back(up: Up) -> None:
    assert up.call("rollback", "swap").refused(1).startswith("`swap` has no former incumbent")
    with load(up, "swap") as seen:
        ended = up.call("switch", "swap", "--to", "twin", "--reason", "better on our cases")
        assert ended.status == 0, ended
        assert "promote" in ended.out
        until(lambda: up.answering("swap") == "twin")
        back = up.call("rollback", "swap", "--reason", "complaints", "--json")
        assert (back.status, back.json["incumbent"], back.json["action"]) == (0, "echo", "rollback")
        again = up.call("switch", "swap", "--to", "twin", "--json")
        assert (again.status, again.json["rollout"]["state"]) == (0, "baking")
    assert (seen.failed, seen.answered_by) == ([], {"echo", "twin"})
    rows = up.call("history", "swap", "--json").json
    actions = ["promote", "canary", "canary", "rollback", "promote", "canary", "canary", "start"]
    assert [row["action"] for row in rows] == actions
    began, rolled_back = rows[-2], rows[3]
    assert (began["actor"], began["reason"]) == (getpass.getuser(), "better on our cases")
    assert (began["candidate"], began["candidate_weight"]) == ("twin", 0.2)
    assert (began["evidence"]["verdict"], began["evidence"]["candidate"]) == ("pass", "twin")
    assert (rolled_back["incumbent"], rolled_back["reason"]) == ("echo", "complaints")
    assert rows[4]["actor"] == "changeover"
    table = up.call("history", "swap")
    assert "better on our cases" in table.out
    assert "pass" in table.out


def test_promote_and_abort_by_hand(up: Up) -> None:
    assert up.call("promote", "twice").refused(1).startswith("`twice` has no rollout under way")
    begun = up.call("switch", "twice", "--to", "twin", "--detach", "--json")
    assert begun.status == 0
    again = up.call("switch", "twice", "--to", "twin").refused(1)
    assert f"Rollout {begun.json['rollout']} of `twice` is under way" in again
    stopped = up.call("abort", "twice", "--json")
    assert (stopped.status, stopped.json["action"], stopped.json["incumbent"]) == (0, "abort", "echo")
    assert up.call("switch", "twice", "--to", "twin", "--detach").status == 0
    promoted = up.call("promote", "twice", "--reason", "agreed", "--json")
    assert (promoted.status, promoted.json["action"], promoted.json["incumbent"]) == (0, "promote", "twin")


def test_undeploy_is_refused_while_a_deployment_may_have_to_answer(up: Up) -> None:
    assert up.call("undeploy", "echo").refused(1).startswith("`echo` may have to answer `")
    assert up.call("deploy", "spare", "--engine", "echo").status == 0
    ended = up.call("undeploy", "spare", "--json")
    assert (ended.status, ended.json) == (0, {"deployment": "spare", "desired": "stopped"})
    until(lambda: up.ready("spare") is None)
    assert up.call("deploy", "spare", "--engine", "echo", "--json").json["state"] == "ready", "it comes back"
    assert up.ready("spare") is not None


def test_undeploy_is_refused_for_the_former_incumbent_while_its_successor_bakes(up: Up) -> None:
    """The guard may bring it back at any moment, and nobody would be there."""
    with up.opened() as installation:
        by = By(actor="test", reason="test", now=installation.clock.now())
        for name in ("first", "second"):
            variant = deploy_echo(installation, name, task="baked")
            with installation.store.write() as connection:
                plan = plan_of(installation.tasks["baked"].declared)
                promote(connection, start(connection, variant, plan, None, by), None, by)
    assert up.call("undeploy", "first").refused(1).startswith("`first` ")


def test_a_reason_may_be_written_in_any_words(up: Up) -> None:
    reason = "ticket [ops-12], see [/var/log] and [bold]"
    assert up.call("switch", "odd", "--to", "twin", "--detach", "--reason", reason).status == 0
    until(lambda: up.state("odd") == "canary")
    ended = up.call("promote", "odd", "--reason", reason)
    assert ended.status == 0, ended.err[-300:]
    assert reason in ended.out
    shown = up.call("history", "odd")
    assert shown.status == 0, shown.err[-300:]
    assert shown.out.count("[ops-12]") == 2


def test_keys_are_made_listed_and_revoked(up: Up) -> None:
    made = up.call("key", "new", "invoice-reader", "--json").json
    assert made["key"].startswith("co-")
    listed = up.call("key", "list", "--json")
    assert {"invoice-reader", "first"} <= {key["name"] for key in listed.json}
    assert made["key"] not in listed.out
    assert up.call("key", "revoke", "invoice-reader", "--json").json == {"revoked": "invoice-reader"}
    assert up.call("key", "revoke", "invoice-reader").refused(2).startswith("No key named `invoice-reader`.")
    assert not up.call("key").refused(2).startswith(" "), "it says what is missing"


def test_status_shows_tasks_traffic_and_deployments(up: Up) -> None:
    up.ask("echo")
    said = until(lambda: _with_traffic(up))
    assert said["address"] == up.address
    tasks = {row["task"]: row for row in said["tasks"]}
    assert set(tasks) == {"echo", *SURE}
    assert tasks["echo"]["incumbent"] == "echo"
    engine = {row["name"]: row for row in said["deployments"]}["echo"]
    assert (engine["state"], engine["backend"], engine["restarts"]) == ("ready", "echo", 0)
    assert engine["pid"] in {process.pid for process in up.engines()}
    shown = up.call("status", "echo")
    assert shown.status == 0
    assert f"{up.address}/v1" in shown.out


def test_models_lists_the_library_and_shows_a_card(tmp_path: Path) -> None:
    listed = changeover(tmp_path, "models", "--json")
    assert listed.status == 0
    cards = {card["id"]: card for card in listed.json["models"]}
    assert cards["smollm2-135m-instruct"]["licence"]["id"] == "Apache-2.0"
    one = changeover(tmp_path, "models", "smollm2-135m-instruct")
    assert "Apache-2.0" in one.out
    assert cards["smollm2-135m-instruct"]["artifacts"][0]["sha256"] in one.out


GROUPS = {
    "key": ("new", "list", "set", "revoke"),
    "team": ("new", "list", "set", "remove"),
    "dataset": ("check", "diff", "import", "from-traffic"),
    "engines": ("list", "install", "remove"),
    "labels": ("export", "import"),
    "evidence": ("pack", "verify", "key"),
    "library": ("sync", "conflicts", "observations", "serve"),
    "licences": ("show", "texts", "accept"),
    "tool": ("new", "add", "show", "check"),
}


@pytest.mark.parametrize(
    "command",
    [
        *([name] for name in COMMANDS if name not in GROUPS),
        *([group, name] for group, names in GROUPS.items() for name in names),
    ],
)
def test_every_command_has_json_and_a_help_with_an_example(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "--json" in text
    assert f"Example: changeover {' '.join(command)}" in " ".join(text.split())


def test_the_commands_are_listed_without_being_asked_for(tmp_path: Path) -> None:
    ended = changeover(tmp_path, "--help")
    assert ended.status == 0
    assert all(f"  {name} " in ended.out for name in COMMANDS)
    assert changeover(tmp_path).status == 2
    assert changeover(tmp_path, "--version").out.startswith("changeover ")


def _with_traffic(up: Up) -> Any:
    said = up.call("status", "--json").json
    return said if {row["task"]: row for row in said["tasks"]}["echo"]["last_day"]["requests"] else None
