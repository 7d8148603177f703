"""A running system follows what is applied, and a project on PostgreSQL is a project like any other."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from sqlalchemy import func, select
from tests.support import postgres
from tests.support.processes import PATIENCE_S, Up, load, start, system, until
from tests.support.projects import TASK, write_project

from changeover.store.schema import exchanges, usage

WORKERS = "ready_wait_s = 5\nworkers = {count}"


def status_of(up: Up, task: str) -> int:
    try:
        with urllib.request.urlopen(up.request(task), timeout=PATIENCE_S) as response:
            response.read()
            return response.status
    except urllib.error.HTTPError as error:
        error.read()
        return error.code


def declare(up: Up, name: str, old: str = "", new: str = "") -> Path:
    file = up.project / "tasks" / f"{name}.toml"
    file.write_text(TASK.format(timeout_s=20, record="full", bake_s=300, steps="").replace(old, new))
    return file


@pytest.mark.parametrize("count", [1, 2])
def test_every_process_that_answers_follows_what_is_applied(tmp_path: Path, count: int) -> None:
    with system(write_project(tmp_path / "p", gateway=WORKERS.format(count=count))) as up:
        until(lambda: up.ready("echo"))
        file = declare(up, "fresh")
        assert status_of(up, "fresh") == 404, "a file alone changes nothing"
        assert up.call("apply").status == 0
        began = time.monotonic()
        until(lambda: all(status_of(up, "fresh") == 200 for _ in range(4 * count)))
        assert time.monotonic() - began < 5, "it takes a quarter of a second where nothing else runs"

        file.write_text(file.read_text().replace("timeout_s", "timeuot_s"))
        assert "Did you mean `timeout_s`?" in up.call("apply").refused(2)
        assert status_of(up, "fresh") == 200

        file.unlink()
        assert up.call("apply").status == 0
        until(lambda: all(status_of(up, "fresh") == 404 for _ in range(4 * count)))
        assert status_of(up, "echo") == 200


def test_a_system_that_is_started_again_on_a_broken_file_answers_as_before(tmp_path: Path) -> None:
    directory = write_project(tmp_path / "p", ("echo", "other"))
    up = start(directory)
    up.stop()
    file = directory / "tasks" / "echo.toml"
    file.write_text(file.read_text().replace("timeout_s", "timeuot_s"))
    with system(directory, key=up.key) as again:
        until(lambda: again.ready("echo"))
        assert again.ask("echo") == "hello there"
        assert again.ask("other") == "hello there"
        assert "`timeuot_s`: unknown key. Did you mean `timeout_s`?" in again.log()
        ended = again.call("status")
        assert ended.status == 0
        assert "left out: " in ended.err


def test_a_project_on_postgresql_starts_answers_switches_records_and_starts_again(
    tmp_path: Path, postgres_url: str
) -> None:
    directory = postgres.keep_in(write_project(tmp_path / "p"), postgres_url)
    file = directory / "tasks" / "echo.toml"
    file.write_text(file.read_text().replace("margin = 0.05", "margin = 0.3"))
    up = start(directory)
    try:
        until(lambda: up.ready("echo"))
        assert up.ask() == "hello there"
        assert up.call("deploy", "twin", "--engine", "echo").status == 0
        with load(up, "echo") as seen:
            ended = up.call("switch", "echo", "--to", "twin")
            assert ended.status == 0, ended
            assert up.routed() == ("twin", None)
            until(lambda: up.answering() == "twin")
        assert seen.failed == []
    finally:
        up.stop()
    assert postgres.PASSWORD not in up.log()
    with system(directory, key=up.key) as again:
        until(lambda: again.ready("twin"))
        assert again.answering() == "twin"
        with again.opened() as installation, installation.store.read() as connection:
            recorded = connection.execute(select(func.count()).select_from(exchanges)).scalar_one()
        assert recorded > seen.requests


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_a_postgresql_that_goes_away_under_load_fails_no_request_and_loses_no_count(
    tmp_path: Path, own_postgres: postgres.Server, ending: str
) -> None:
    url = own_postgres.fresh()
    with system(postgres.keep_in(write_project(tmp_path / "p"), url)) as up:
        until(lambda: up.ready("echo"))
        with load(up, "echo") as seen:
            until(lambda: seen.requests > 30)
            getattr(own_postgres, ending)()
            gone_at = seen.requests
            until(lambda: seen.requests > gone_at + 60)
            own_postgres.start()
            back_at = seen.requests
            until(lambda: seen.requests > back_at + 30)
        assert seen.failed == []
        with up.opened() as installation:

            def counted() -> tuple[int, int]:
                with installation.store.read() as connection:
                    rows = connection.execute(select(func.count()).select_from(exchanges)).scalar_one()
                    used = connection.execute(select(func.coalesce(func.sum(usage.c.requests), 0))).scalar_one()
                return rows, int(used)

            until(lambda: counted() == (seen.requests, seen.requests))
    assert postgres.PASSWORD not in up.log()


def test_a_postgresql_that_falls_silent_under_load_fails_no_request(
    tmp_path: Path, own_postgres: postgres.Server
) -> None:
    with system(postgres.keep_in(write_project(tmp_path / "p"), own_postgres.fresh())) as up:
        until(lambda: up.ready("echo"))
        with load(up, "echo") as seen:
            until(lambda: seen.requests > 30)
            with own_postgres.frozen():
                until(lambda: "answering from revision" in up.log())
                silent_at = seen.requests
                until(lambda: seen.requests > silent_at + 60)
            until(lambda: "the store is back" in up.log())
        assert seen.failed == []
