"""The evidence pack as a user meets it: written where the system runs, checked where nothing of it is."""

from __future__ import annotations

import json
import re
import shutil
import stat
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.support.processes import Up, changeover, load, start
from tests.support.projects import write_project

from changeover.app.local import operator_key
from changeover.rollouts.pack.sign import KEY_FILE

OTLP = "canary-otlp-5c1b7a90de"
GENERATED = re.compile(rb"(?<![A-Za-z0-9])(?:co|engine)-[A-Za-z0-9_-]{40,}|PRIVATE KEY")
"""Keys and engines' secrets as the system makes them, and the head of the signing key."""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Generator[Up]:
    """A system that reports to a collector with a secret, and calls another server (itself) with a key."""
    project = write_project(tmp_path_factory.mktemp("pack") / "p", tasks=("echo", "sure"))
    task = project / "tasks" / "echo.toml"
    task.write_text(task.read_text().replace("margin = 0.05", "margin = 0.3"))
    first = start(project)
    first.stop()
    settings = project / "changeover.toml"
    text = settings.read_text().replace("port = 0", f"port = {first.address.rpartition(':')[2]}")
    collector = 'otlp_endpoint = "http://127.0.0.1:9/v1/traces"\notlp_headers_env = "CANARY_OTLP"\n'
    settings.write_text(f"{text}[telemetry]\n{collector}")
    environment = {"CANARY_OTLP": f"authorization={OTLP}", "CANARY_KEY": first.key}
    it = start(project, key=first.key, environment=environment)
    try:
        yield it
    finally:
        it.stop()


@pytest.fixture(scope="module")
def pack(up: Up) -> Path:
    """Of a rollout under load, whose candidate is another server's."""
    address = f"{up.address}/v1"
    deployed = up.call(
        "deploy", "sure", "--name", "new", "--engine", "openai", "--url", address, "--key-env", "CANARY_KEY"
    )
    assert deployed.status == 0, deployed
    with load(up, "echo"):
        switched = up.call("switch", "echo", "--to", "new", "--reason", "try it")
    assert switched.status == 0, switched
    written = up.call("evidence", "echo", "--out", "pack")
    assert written.status == 0, written
    assert "changeover evidence verify pack" in written.out
    return up.project / "pack"


@pytest.fixture
def elsewhere(pack: Path, tmp_path: Path) -> Path:
    """An empty directory, far from any project, that only a copy of the pack lies in."""
    shutil.copytree(pack, tmp_path / "theirs")
    return tmp_path


def test_a_pack_is_verified_where_nothing_else_is(up: Up, elsewhere: Path) -> None:
    key = up.call("evidence", "key").out.strip()
    bare = {"PATH": "", "HOME": str(elsewhere / "nobody")}
    checked = changeover(elsewhere, "evidence", "verify", "theirs", "--key", key, env=bare)
    assert checked.status == 0, checked
    lines = checked.out.splitlines()
    assert lines[-1].endswith("none is wrong")
    assert all(line[0] in "✓–" for line in lines[:-1])
    assert len({len(re.split(r"(?<=  )(?! )", line)[0]) for line in lines[:-1]}) == 1, "aligned"
    said = changeover(elsewhere, "evidence", "verify", "theirs", "--json", env=bare)
    assert (said.status, said.json["holds"], said.json["manifest"]["task"]) == (0, True, "echo")
    assert {check["name"]: check["holds"] for check in said.json["checks"]}["key"] is None
    assert [file.name for file in elsewhere.iterdir()] == ["theirs"], "nothing is written"


def test_a_pack_that_was_changed_is_told_from_it(elsewhere: Path) -> None:
    file = elsewhere / "theirs" / "samples.jsonl"
    file.write_text(file.read_text().replace('"candidate_score":1.0', '"candidate_score":0.5', 1))
    checked = changeover(elsewhere, "evidence", "verify", "theirs")
    assert checked.status == 1
    wrong = [line for line in checked.out.splitlines() if line.startswith("✗")]
    assert any("`samples.jsonl` was changed" in line for line in wrong)
    assert any("in the record" in line for line in wrong)
    assert changeover(elsewhere, "evidence", "verify", "theirs", "--json").json["holds"] is False


def test_no_secret_is_in_a_pack(up: Up, pack: Path) -> None:
    full = up.call("evidence", "1", "--out", "full", "--with-content", "--json")
    assert full.status == 0, full
    secrets = {
        "collector's": OTLP,
        "application's": up.key,
        "operator's": operator_key(up.project / ".changeover"),
        "signing": (up.project / ".changeover" / KEY_FILE).read_text().splitlines()[1],
    }
    assert stat.S_IMODE((up.project / ".changeover" / KEY_FILE).stat().st_mode) == 0o600
    for file in (*pack.iterdir(), *(up.project / "full").iterdir()):
        held = file.read_bytes()
        assert [name for name, secret in secrets.items() if secret.encode() in held] == [], file
        assert not GENERATED.search(held), file
    assert b"please say ok" in (up.project / "full" / "datasets.json").read_bytes()
    assert b"please say ok" not in b"".join(file.read_bytes() for file in pack.iterdir())
    assert json.loads((pack / "bundles.json").read_bytes())["bundles"][1]["document"]["engine"]["backend"] == "openai"


def test_what_is_wrong_with_a_call_is_said_in_one_line(up: Up, pack: Path) -> None:
    assert "is not empty" in up.call("evidence", "echo", "--out", "pack").refused(2)
    assert "No rollout 99" in up.call("evidence", "99", "--out", "other").refused(1)
    assert "No rollout" not in up.call("evidence", "nothing", "--out", "other").refused(2)
    assert "has had no rollout" in up.call("evidence", "sure", "--out", "other").refused(1)
    assert "is no directory" in up.call("evidence", "verify", "other").refused(2)
    assert "is no public key" in up.call("evidence", "verify", "pack", "--key", "abc").refused(2)
    assert "--out" in up.call("evidence", "echo").refused(2)
    assert not (up.project / "other").exists()


def test_each_of_its_commands_explains_itself(up: Up) -> None:
    for arguments, shown in (
        (("verify",), "--key"),
        (("12",), "--with-content"),
        ((), "verify"),
        (("key",), "public key"),
    ):
        helped = up.call("evidence", *arguments, "--help")
        assert (helped.status, shown in helped.out) == (0, True), helped
