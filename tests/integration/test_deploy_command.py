"""`changeover deploy --dry-run` and `--on`, as a person types them: what is shown, as JSON too, and how it ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.commands import User
from tests.support.projects import open_written, write_project

from changeover.app.planning.again import plan_again
from changeover.app.prepare import deployed_weights
from changeover.cli.main import run_command
from changeover.serving.backends import EchoBackend, Launch
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import add_deployment, all_deployments, find_deployment, keep_tuning
from changeover.serving.tuned import Tuning, this_machine

SMALL = "smollm2-135m-instruct"
OWN = """\
[[cards]]
id = "far"
display_name = "Far"
family = "far"
vendor = "Somebody"
weights = "closed"
licence = { id = "MIT" }
sources = [{ facts = ["everything"], at = "ourselves", grade = "run", checked = 2026-11-30 }]
[[cards.hosted]]
host = "Nearby"
id = "far"
base_url = "http://127.0.0.1:9/v1"
api = "openai"
key_variable = "NEARBY_KEY"
pin = "alias"
snapshots = ["far-2026-01-01", "far-2026-02-02"]
[[cards.hosted]]
host = "Elsewhere"
id = "far"
base_url = "http://127.0.0.1:10/v1"
pin = "alias"
"""


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> User:
    """Somebody where no project is, with no tool of any vendor on the path and no weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CHANGEOVER_CACHE", str(tmp_path / "cache"))
    return User(tmp_path, capsys)


@pytest.fixture
def started(user: User, monkeypatch: pytest.MonkeyPatch) -> User:
    """The same in a project that was started, and does not run."""
    project = write_project(user.project / "project")
    (project / "library").mkdir()
    (project / "library" / "far.toml").write_text(OWN)
    open_written(project).store.close()
    monkeypatch.chdir(project)
    return User(project, user.said)


def files_of(project: Path) -> dict[Path, bytes]:
    """All that a project holds but SQLite's own files beside the database."""
    files = (file for file in project.rglob("*") if file.is_file() and not file.name.endswith(("-shm", "-wal")))
    return {file: file.read_bytes() for file in files}


def test_a_plan_for_other_hardware_gives_its_command_and_starts_nothing(user: User) -> None:
    status, out, _ = user.call("deploy", "deepseek-r1", "--on", "h200x8")
    lines = out.splitlines()
    assert status == 0
    assert lines[0] == "CAN RUN  deepseek-r1 on h200x8"
    (command,) = [line for line in lines if line.startswith("  command")]
    assert "vllm serve deepseek-ai/DeepSeek-R1 " in command
    assert "--tensor-parallel-size 8" in command
    (attach,) = [line for line in lines if line.startswith("  attach")]
    assert "changeover deploy deepseek-ai/DeepSeek-R1 --engine openai --url http://SERVER:" in attach
    assert lines[-1].startswith("Nothing was started: run the command on h200x8.")
    assert list(user.project.iterdir()) == []


def test_the_exit_status_tells_a_plan_that_can_run_from_one_that_lacks_something_or_nobody_can_judge(
    user: User,
) -> None:
    assert user.call("deploy", SMALL, "--dry-run")[0] == 0
    status, out, _ = user.call("deploy", "kimi-k2-instruct", "--dry-run")
    assert status == 1
    assert out.startswith("CANNOT RUN YET  kimi-k2-instruct on this machine")
    assert "--on h800x16" in out, "where it was run by who wrote its recipe"
    status, out, _ = user.call("deploy", "qwen3-omni", "--on", "h200x8")
    assert status == 3
    assert out.startswith("NOT KNOWN  qwen3-omni on h200x8")
    assert "how many parameters `qwen3-omni` has" in out


def test_a_dry_run_as_json_has_everything_and_changes_nothing(started: User) -> None:
    before = files_of(started.project)
    plan = started.json("deploy", SMALL, "--slots", "2", "--dry-run")
    assert (plan["engine"], plan["hardware"], plan["ok"], plan["missing"]) == ("local", "here", True, [])
    assert plan["weights"]["bytes"] > 90_000_000
    assert plan["weights"]["source"].startswith("the package ")
    assert plan["command"] == f"changeover deploy {SMALL} --engine local --slots 2"
    assert (plan["slots"], plan["options"]["slots"]) == (2, 2)
    assert plan["needs_bytes"] < plan["has_bytes"]
    assert plan["ready_s"] > 30
    assert files_of(started.project) == before


def test_a_card_that_is_hosted_is_asked_for_with_its_address_its_key_and_its_dated_name(started: User) -> None:
    status, out, _ = started.call("deploy", "far", "--dry-run")
    assert status == 1
    assert "the environment variable `NEARBY_KEY`, which holds the key and is not set here" in out
    status, out, err = started.call("deploy", "far")
    assert status == 0, "the key has to be where the system starts, and need not be here"
    assert "`NEARBY_KEY`" in err
    assert out.startswith("far  starts with the next `changeover up`")
    elsewhere = started.json("deploy", "far", "--name", "other", "--host", "elsewhere", "--key-env", "OTHER_KEY")
    assert (elsewhere["deployment"], elsewhere["engine"]) == ("other", "openai")
    installation = open_written(started.project)
    with installation.store.read() as connection:
        near, other = find_deployment(connection, "far"), find_deployment(connection, "other")
    installation.store.close()
    assert near.options == {
        "base_url": "http://127.0.0.1:9/v1",
        "model": "far-2026-02-02",
        "api_key_env": "NEARBY_KEY",
    }
    assert (near.model, near.engine["model"]) == ("far", "far-2026-02-02")
    assert (other.options["base_url"], other.options["api_key_env"]) == ("http://127.0.0.1:10/v1", "OTHER_KEY")
    assert other.options["model"] == "far", "there no dated name is known"


def test_what_cannot_run_is_refused_before_anything_is_fetched_or_written(started: User) -> None:
    status, _, err = started.call("deploy", "deepseek-r1")
    assert status == 1
    assert "`deepseek-r1` cannot run here with `vllm`: it needs weights of `deepseek-r1`" in err
    assert "`changeover deploy deepseek-r1 --dry-run`" in err
    installation = open_written(started.project)
    with installation.store.read() as connection:
        names = {row.name for row in all_deployments(connection)}
    installation.store.close()
    assert names == {"echo"}
    assert not (started.project.parent / "cache").exists()


def test_a_name_that_is_taken_keeps_its_engine(started: User) -> None:
    assert run_command(["deploy", "twin", "--engine", "echo"]) == 0
    assert run_command(["deploy", "twin"]) == 0, "it is run again by its name alone"
    started.said.readouterr()
    status, _, err = started.call("deploy", "twin", "--engine", "openai", "--url", "http://127.0.0.1:9/v1")
    assert status == 2
    assert "`twin` is deployed already, with the engine `echo`" in err
    assert "--name twin-openai" in err


def test_a_dry_run_of_what_is_deployed_says_how_it_runs_and_refuses_another_engine(started: User) -> None:
    installation = open_written(started.project)
    with installation.store.write() as connection:
        asked = {"name": "mine", "backend": "local", "model": SMALL, "options": {"threads": 1, "slots": 3}}
        add_deployment(connection, **asked, engine={}, actor="ana", now=installation.clock.now())
    plan = started.json("deploy", "mine", "--dry-run")
    assert (plan["deployment"], plan["options"], plan["threads"]) == ("mine", asked["options"], "1")
    with installation.store.write() as connection:
        found = Tuning(machine=this_machine(), slots=3, threads=1, quantisation="Q4_K_M", fastest="Q4_K_M", trials=())
        now = datetime(2026, 11, 30, tzinfo=UTC)
        keep_tuning(connection, found, model=SMALL, backend="local", actor="ana", now=now)
    assert started.json("deploy", "mine", "--dry-run")["threads"] == "1, tuned 2026-11-30"
    assert started.json("deploy", SMALL, "--dry-run")["options"]["threads"] == 1, "the next one gets them too"
    rows = {row["name"]: row for row in started.json("status")["deployments"]}
    assert rows["mine"]["threads"] == "1, tuned 2026-11-30"
    status, _, err = started.call("deploy", "mine", "--engine", "vllm", "--dry-run")
    assert (status, "is deployed already, with the engine `local`" in err) == (2, True)
    installation.store.close()


def test_weights_of_any_engine_that_are_gone_are_fetched_or_said_to_be_made_again(started: User) -> None:
    installation = open_written(started.project)
    with installation.store.write() as connection:
        for engine in ("local", "transformers", "echo"):
            add_deployment(
                connection,
                name=f"on-{engine}",
                backend=engine,
                model=SMALL,
                options={},
                engine={},
                actor="ana",
                now=installation.clock.now(),
            )
    absent = [(each.deployment, each.card.id, each.to_make) for each in deployed_weights(installation)]
    installation.store.close()
    assert absent == [("on-local", SMALL, False), ("on-transformers", SMALL, True)]


def test_a_home_of_an_engine_that_there_is_not_is_refused_with_the_nearest(started: User) -> None:
    settings = started.project / "changeover.toml"
    settings.write_text(settings.read_text() + '\n[engines.homes.vlm]\npython = "/opt/vllm/bin/python"\n')
    status, _, err = started.call("engines", "list")
    assert (status, "`engines.homes.vlm`: no such engine. Did you mean `vllm`?" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("other", "--name", "twin"), "`twin` is deployed already, and is `first`"),
        (("twin", "--option", "dely_s=1"), "`dely_s`: unknown key. Did you mean `delay_s`?"),
        (("twin", "--option", "delay_s=soon"), "`delay_s` = `soon`"),
    ],
)
def test_a_name_that_is_taken_is_not_run_as_if_what_is_asked_for_were_there(
    started: User, arguments: tuple[str, ...], says: str
) -> None:
    assert run_command(["deploy", "first", "--name", "twin", "--engine", "echo", "--option", "delay_s=0.1"]) == 0
    started.said.readouterr()
    status, _, err = started.call("deploy", *arguments)
    assert (status, says in err) == (2, True), err


@pytest.mark.parametrize("flag", ["--host", "--key-env", "--url"])
def test_what_only_another_server_has_is_refused_for_an_engine_that_runs_here(user: User, flag: str) -> None:
    status, _, err = user.call("deploy", SMALL, "--engine", "local", "--dry-run", flag, "NEARBY")
    assert status == 2
    assert f"`{flag}` is" in err
    assert "say `--engine openai` with it" in err


def test_what_is_run_again_may_take_as_long_as_its_engine_says(started: User) -> None:
    class Slow(EchoBackend):
        def launch(self, plan: EnginePlan) -> Launch:
            return replace(super().launch(plan), start_s=240.0)

    assert run_command(["deploy", "twin", "--engine", "echo"]) == 0
    installation = open_written(started.project)
    installation.__dict__["backends"] = {"echo": Slow()}
    with installation.store.read() as connection:
        row = find_deployment(connection, "twin")
    assert plan_again(installation, row).ready_s == installation.project.settings.engines.ready_s + 240
    installation.store.close()
