"""Backup, restore and upgrade as the pages on operation say, on running systems under load."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select
from tests.support import postgres
from tests.support.exchanges import exchange
from tests.support.pages import ROOT, blocks_of
from tests.support.processes import PATIENCE_S, Load, Up, load, start, system, until
from tests.support.projects import write_project
from tests.support.shell import Shell

from changeover.store import migrations
from changeover.store.engine import Store
from changeover.store.migrate import migrate
from changeover.store.schema import REVISION, exchanges
from changeover.tasks.queries import add_exchanges, recent_exchanges

BACKUP = [block.text for block in blocks_of(ROOT / "docs" / "guides" / "backup.md") if "ranby" in block.says]


def test_a_backup_that_was_taken_under_load_goes_on_where_it_was_taken(tmp_path: Path) -> None:
    copy, restore, *_ = BACKUP
    shell = Shell(write_project(tmp_path / "p"))
    with system(shell.directory) as up:
        until(lambda: up.ready("echo"))
        with load(up, "echo") as seen:
            until(lambda: seen.requests > 20)
            assert shell.run(copy) == (0, "")
        assert seen.failed == []
        # In a process of its own, for SQLite keeps what it knows of a file for as long as its process has it open.
        assert up.call("key", "new", "later").status == 0
    assert shell.run(restore) == (0, "")
    with system(shell.directory, key=up.key) as again:
        until(lambda: again.ready("echo"))
        assert again.ask() == "hello there", "the key of before opens it"
        with again.opened() as installation, installation.store.read() as connection:
            kept = connection.execute(select(func.count()).select_from(exchanges)).scalar_one()
        assert 0 < kept <= seen.requests + 1
        assert "later" not in shell.run("changeover key list")[1], "what came after the copy is lost"


def test_a_dump_of_postgresql_is_restored_into_an_empty_database(
    tmp_path: Path, postgres_server: postgres.Server
) -> None:
    old, new = (postgres_server.fresh() for _ in range(2))
    store = Store.connect(old)
    assert migrate(store)
    with store.write() as connection:
        add_exchanges(connection, [exchange("req_1"), exchange("req_2")])
    store.close()
    bin = postgres.binaries()
    assert bin is not None
    addresses = {"DATABASE_URL": old, "NEW_DATABASE_URL": new}
    plain = {name: url.replace("postgresql+psycopg", "postgresql") for name, url in addresses.items()}
    shell = Shell(tmp_path, environment={**plain, "PATH": f"{bin}{os.pathsep}{os.environ['PATH']}"})
    for block in BACKUP[2:]:
        assert shell.run(block) == (0, "")
    restored = Store.open(new)
    with restored.read() as connection:
        assert {each.id for each in recent_exchanges(connection, "echo")} == {"req_1", "req_2"}
    restored.close()


@contextmanager
def spread(gates: Sequence[Up]) -> Generator[Load]:
    """Callers behind something that tries the next gateway where a connection is refused, and nowhere else."""
    seen, stop, turn = Load(), threading.Event(), itertools.count()

    def call() -> None:
        while not stop.is_set():
            first = next(turn)
            for number in range(len(gates)):
                gate = gates[(first + number) % len(gates)]
                try:
                    with urllib.request.urlopen(gate.request(), timeout=PATIENCE_S) as response:
                        response.read()
                    break
                except urllib.error.URLError as exc:
                    if not isinstance(exc.reason, ConnectionRefusedError):
                        seen.failed.append(repr(exc))
                        break
            else:
                seen.failed.append("refused everywhere")
            seen.requests += 1
            stop.wait(0.01)

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the commit before the newest migration came, from the history of this repository."""
    newest = (Path(migrations.__file__).parent / "versions").glob(f"v{REVISION}_*.py")
    came = _git("log", "--format=%H", "--max-count=1", "--diff-filter=A", "--", *map(str, newest))
    before = came and _git("rev-parse", "--verify", "--quiet", f"{came}^")
    if not before:
        pytest.skip("neither tried nor proven: this checkout has no history, so there is no former version to run")
    directory = tmp_path_factory.mktemp("former")
    archive = directory / "src.tar"
    assert _git("archive", f"--output={archive}", before, "src") == ""
    with tarfile.open(archive) as packed:
        packed.extractall(directory, filter="data")
    return directory / "src"


def _git(*arguments: str) -> str | None:
    """What git says; None where it says nothing of use, or is not here."""
    try:
        done = subprocess.run(("git", *arguments), cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def test_gateways_of_the_former_version_are_replaced_one_after_the_other_and_no_caller_sees_it(
    tmp_path: Path, postgres_url: str, former: Path
) -> None:
    projects = [postgres.keep_in(write_project(tmp_path / name), postgres_url) for name in ("one", "two")]
    theirs = {"PYTHONPATH": str(former)}
    gates = [start(projects[0], environment=theirs)]
    gates.append(start(projects[1], key=gates[0].key, environment=theirs))
    store = Store.connect(postgres_url)
    try:
        for gate in gates:
            until(lambda gate=gate: _answers(gate))
        assert store.revision() == f"{int(REVISION) - 1:04}", "it is the former version that answers"
        with spread(gates) as seen:
            _more(seen)
            gates[0].stop(signal.SIGTERM)
            gates[0] = start(projects[0], key=gates[0].key)
            assert store.revision() == REVISION, "the first of the new version migrates, under the other one"
            until(lambda: _answers(gates[0]))
            _more(seen)
            gates[1].stop(signal.SIGTERM)
            _more(seen)
        assert seen.failed == []
        gates[0].stop(signal.SIGTERM)
        with store.read() as connection:
            kept = connection.execute(select(func.count()).select_from(exchanges)).scalar_one()
        assert kept >= seen.requests, "what the former version records is kept, by the new schema too"
    finally:
        store.close()
        for gate in gates:
            gate.stop()


def _more(seen: Load) -> None:
    """Wait until callers have asked some times more."""
    before = seen.requests
    until(lambda: seen.requests > before + 30)


def _answers(gate: Up) -> bool:
    try:
        return gate.ask() == "hello there"
    except (urllib.error.URLError, subprocess.SubprocessError):
        return False
