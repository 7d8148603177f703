"""Leaving and arriving as a user does it: a project that has switched goes on elsewhere with the same answers."""

from __future__ import annotations

import json
import re
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.postgres import PASSWORD
from tests.support.processes import Up, command, load, start, system, until
from tests.support.projects import write_project

from changeover.app.local import operator_key
from changeover.core.digest import sha256_text
from changeover.evals.queries import recent_comparisons
from changeover.rollouts.pack.sign import KEY_FILE

SECRETS = re.compile(rb"(?<![A-Za-z0-9])(?:co|engine)-[A-Za-z0-9_-]{40,}|PRIVATE KEY")
TEXT = "please say ok, and remember the canary-4417"


@dataclass(frozen=True)
class Left:
    """A project that was used, and what it gave out when it was stopped."""

    project: Path
    key: str
    export: Path
    """A ZIP file."""
    comparison: str
    known: Any
    """What its commands said of it."""


def told(project: Path, comparison: str) -> dict[str, Any]:
    """All that must be the same elsewhere, as the commands tell it."""
    history = command(project, "history", "echo", "--json").json
    replayed = command(project, "compare", "--replay", comparison, "--json").json
    verified = command(project, "evidence", "echo", "--out", "pack")
    assert verified.status == 0, verified
    checked = command(project, "evidence", "verify", "pack", "--json")
    assert checked.status == 0, checked
    return {
        "history": history,
        "replay": replayed,
        "checks": [[check["name"], check["holds"]] for check in checked.json["checks"]],
        "differences": command(project, "diff", "echo", "new", "--json").json,
    }


def answer(up: Up) -> tuple[Any, dict[str, str]]:
    """What a caller gets, and who it was, as the headers say."""
    body = {"model": "echo", "messages": [{"role": "user", "content": TEXT}]}
    request = urllib.request.Request(
        f"{up.address}/v1/chat/completions",
        json.dumps(body).encode(),
        {"authorization": f"Bearer {up.key}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        names = ("x-changeover-deployment", "x-changeover-bundle", "x-changeover-variant", "x-changeover-revision")
        told = {name: response.headers[name] for name in names if response.headers[name] is not None}
        return json.load(response)["choices"][0]["message"]["content"], told


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    project = write_project(
        tmp_path_factory.mktemp("moving") / "p", steps="[[steps]]\ncanary = 0.5\nrequests = 3\n", bake_s=86_400
    )
    task = project / "tasks" / "echo.toml"
    task.write_text(task.read_text().replace("margin = 0.05", "margin = 0.3"))
    (project / "policy.toml").write_text("monthly_users = 12\n")
    up = start(project)
    try:
        deployed = up.call("deploy", "new", "--engine", "echo")
        assert deployed.status == 0, deployed
        with load(up, "echo"):
            switched = up.call("switch", "echo", "--to", "new", "--reason", "it is newer")
        assert switched.status == 0, switched
        said, headers = answer(up)
        assert headers["x-changeover-deployment"] == "new"
        with up.opened() as installation, installation.store.read() as connection:
            [comparison, *_] = recent_comparisons(connection, "echo")
    finally:
        up.stop()
    known = {**told(project, comparison.id), "answer": said, "headers": headers}
    given = command(project, "export", "--out", "../left.zip")
    assert given.status == 0, given
    assert "changeover import" in given.out
    return Left(project, up.key, project.parent / "left.zip", comparison.id, known)


def test_an_export_goes_on_in_a_new_directory_with_the_same_answers(left: Left, tmp_path: Path) -> None:
    brought = command(tmp_path, "import", str(left.export), "--into", "there")
    assert brought.status == 0, brought
    assert "changeover key new" in brought.out
    there = tmp_path / "there"
    assert (there / "policy.toml").read_text() == "monthly_users = 12\n"
    check_goes_on(left, there)


def test_an_export_goes_on_in_postgresql_with_the_same_answers(left: Left, tmp_path: Path, postgres_url: str) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "changeover.toml").write_text(f'name = "moved"\n[gateway]\nport = 0\n[store]\nurl = "{postgres_url}"\n')
    brought = command(there, "import", str(left.export), "--json")
    assert brought.status == 0, brought
    assert brought.json["rows"]["routes"] > 1
    check_goes_on(left, there)
    # And out of there once more: neither the address nor its password is in it.
    assert command(there, "export", "--out", str(tmp_path / "again")).status == 0
    for path in (tmp_path / "again").rglob("*"):
        if path.is_file():
            assert PASSWORD.encode() not in path.read_bytes(), path
    assert command(tmp_path, "import", "again", "--into", "back").status == 0
    assert told(tmp_path / "back", left.comparison)["history"] == left.known["history"]


def check_goes_on(left: Left, there: Path) -> None:
    expected = dict(left.known)
    said, headers = expected.pop("answer"), expected.pop("headers")
    assert told(there, left.comparison) == expected
    with system(there) as up:
        assert up.key, "the first start makes a key, for those of the export open nothing"
        until(lambda: up.ready("new"))
        assert answer(up) == (said, headers)
        history = up.call("history", "echo", "--json").json
    assert history == left.known["history"], "starting changes nothing"


def test_keys_go_along_only_if_that_is_asked_for(left: Left, tmp_path: Path) -> None:
    assert command(left.project, "export", "--with-keys", "--out", str(tmp_path / "keys")).status == 0
    assert command(tmp_path, "import", "keys", "--into", "there").status == 0
    with system(tmp_path / "there", key=left.key) as up:
        assert up.key == left.key, "no other first key is made"
        until(lambda: up.ready("new"))
        assert answer(up)[0] == left.known["answer"]
    with zipfile.ZipFile(left.export) as archive:
        assert sha256_text(left.key).encode() not in archive.read("tables/keys.jsonl")


def test_no_secret_is_given_out(left: Left) -> None:
    never = [
        left.key.encode(),
        operator_key(left.project / ".changeover").encode(),
        (left.project / ".changeover" / KEY_FILE).read_bytes().splitlines()[1],
    ]
    with zipfile.ZipFile(left.export) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            assert not SECRETS.search(content), name
            assert not any(secret in content for secret in never), name


def test_without_content_nothing_that_anybody_said_is_given_out(left: Left, tmp_path: Path) -> None:
    assert command(left.project, "export", "--without-content", "--out", str(tmp_path / "bare")).status == 0
    with zipfile.ZipFile(left.export) as archive:
        assert b"canary-4417" in archive.read("tables/exchanges.jsonl")
    for path in (tmp_path / "bare").rglob("*"):
        if path.is_file():
            assert b"canary-4417" not in path.read_bytes(), path
    rows = [json.loads(line) for line in (tmp_path / "bare" / "tables" / "answers.jsonl").read_text().splitlines()]
    assert rows
    assert not any("text" in row for row in rows)
    assert command(tmp_path, "import", "bare", "--into", "there").status == 0
    there = tmp_path / "there"
    assert command(there, "history", "echo", "--json").json == left.known["history"]
    assert command(there, "compare", "--replay", left.comparison, "--json").json == left.known["replay"]


def test_a_running_system_can_be_exported_and_nothing_is_imported_into_it(left: Left, tmp_path: Path) -> None:
    with system(left.project, key=left.key) as up:
        with load(up, "echo"):
            assert up.call("export", "--out", str(tmp_path / "running.zip")).status == 0
        assert "not empty" in up.call("import", str(tmp_path / "running.zip")).refused(2)
    assert command(tmp_path, "import", "running.zip", "--into", "there").status == 0
