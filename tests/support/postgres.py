"""A real PostgreSQL server for tests: made for them on a directory of its own, and gone at their end."""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

USER = "changeover"
PASSWORD = "canary-8d1f-password"
"""Looked for where no secret may be."""
PATIENCE_S = 30.0
ACCOUNTS = ("postgres", "nobody")
"""Whom the server may run as where the tests run as root, which it refuses."""


def binaries() -> Path | None:
    """Directory of the newest server that is installed here."""
    found = [Path(each).parent for each in glob.glob("/usr/lib/postgresql/*/bin/initdb")]
    if on_path := shutil.which("initdb"):
        found.append(Path(on_path).resolve().parent)
    return max(found, key=lambda bin: int(bin.parent.name) if bin.parent.name.isdigit() else 0, default=None)


def missing() -> str | None:
    """Why there can be no server here; None if there can."""
    if binaries() is None:
        return "no PostgreSQL server is installed: `apt-get install postgresql` brings it"
    if os.geteuid() == 0 and _account() is None:
        return f"PostgreSQL does not run as root, and there is no account {' or '.join(ACCOUNTS)}"
    return None


@dataclass
class Server:
    """One server. `stop` and `start` as often as wanted; what was committed is there again."""

    directory: Path
    port: int
    _process: subprocess.Popen[bytes] | None = None
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def fresh(self) -> str:
        """Address of a new, empty database."""
        name = f"test_{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection of the tests' own, each statement for itself."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=database, autocommit=True
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        bin = binaries()
        assert bin is not None
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.directory,
            "fsync": "off",
            "shared_buffers": "16MB",
            "max_connections": 100,
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [bin / "postgres", "-D", self.directory / "data", *settings], stdout=log, stderr=log, **_unprivileged()
            )
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.connect().close()
                return
            except psycopg.OperationalError:
                gone = self._process.poll() is not None or time.monotonic() > deadline
                assert not gone, (self.directory / "server.log").read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        """Stop it as its administrator does: at once, connections closed, nothing lost."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """As a machine that fails: no word to anybody. Sessions end with it."""
        self._end(signal.SIGQUIT)

    @contextmanager
    def frozen(self) -> Generator[None]:
        """Neither an answer nor a refusal for the length of the block: connections stay open and silent."""
        processes = self._processes()
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _processes(self) -> list[int]:
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def keep_in(project: Path, url: str) -> Path:
    """Let a project that `write_project` wrote keep its state at an address."""
    with (project / "changeover.toml").open("a") as settings:
        settings.write(f'[store]\nurl = "{url}"\n')
    return project


@contextmanager
def server() -> Generator[Server]:
    """A server of its own for the length of the block."""
    bin = binaries()
    assert bin is not None, missing()
    # Not below pytest's directories: those are closed to every other account.
    directory = Path(tempfile.mkdtemp(prefix="changeover-pg-"))
    made = Server(directory, _free_port())
    try:
        (directory / "password").write_text(PASSWORD)
        account = _account()
        if account is not None:
            for path in (directory, directory / "password"):
                os.chown(path, account.pw_uid, account.pw_gid)
        command = [bin / "initdb", "-D", directory / "data", "-U", USER, "-A", "scram-sha-256", "--no-sync"]
        command += ["--pwfile", directory / "password", "-E", "UTF8", "--locale", "C"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=directory, **_unprivileged())
        made.start()
        yield made
    finally:
        made.kill()  # nothing of it is wanted any more
        shutil.rmtree(directory, ignore_errors=True)


def _account() -> pwd.struct_passwd | None:
    """Whom the server runs as; None: as these tests do."""
    if os.geteuid() != 0:
        return None
    for name in ACCOUNTS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None


def _unprivileged() -> dict[str, Any]:
    account = _account()
    return {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
