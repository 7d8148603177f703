"""What the commands of this machine need to find the running system: its address, its lock, the operator's key.

Imports no room above `core`, so that a command that only calls the gateway starts at once.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from changeover.core.errors import ChangeoverError, ConfigError, StoreError
from changeover.core.settings import Project

OPERATOR_KEY_FILE = "operator.key"
SERVER_FILE = "server.json"
LOCK_FILE = "up.lock"
NOT_RUNNING = "Project `{name}` is not running. Start it in another terminal: `changeover up`."


def make_private(directory: Path) -> None:
    """Make a directory that only its owner may read: it holds records and a key."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise StoreError(f"Cannot make `{directory}`: {exc.strerror}.") from exc


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)
    draft.replace(file)


def operator_key(state: Path) -> str:
    """The key with which commands on this machine call the gateway.

    Raises:
        ChangeoverError: The system was never started here.
    """
    try:
        return (state / OPERATOR_KEY_FILE).read_text()
    except OSError as exc:
        raise ChangeoverError(
            "There is no operator key here yet. Start the project once with `changeover up`."
        ) from exc


@contextmanager
def announced(state: Path, address: str) -> Generator[None]:
    """Tell the commands of this project where the gateway listens, for as long as it does."""
    file = state / SERVER_FILE
    write_private(file, json.dumps({"address": address, "pid": os.getpid()}))
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def running_address(state: Path) -> str | None:
    """Where this project's gateway listens; None if it does not run."""
    try:
        server = json.loads((state / SERVER_FILE).read_text())
        os.kill(server["pid"], 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(server["address"])


def gateway_address(project: Project) -> str:
    """Where this project's gateway listens.

    Raises:
        ChangeoverError: It does not run.
    """
    address = running_address(project.state)
    if address is None:
        raise ChangeoverError(NOT_RUNNING.format(name=project.settings.name))
    return address


@contextmanager
def only_one(state: Path) -> Generator[None]:
    """Hold the project's lock: two systems on one project would each start every engine.

    Raises:
        ConfigError: Another process holds it.
    """
    with (state / LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            where = running_address(state)
            at = "" if where is None else f" at {where}"
            raise ConfigError(f"This project is running already{at}. Stop it first (Ctrl-C).") from exc
        yield
