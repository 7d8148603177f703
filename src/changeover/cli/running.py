"""Talking to the running system: the project, its tasks, and waiting for its engines."""

from __future__ import annotations

import time
from collections.abc import Iterable

from changeover.app.fetching import Terms
from changeover.app.installation import Installation, open_installation
from changeover.app.readiness import READY_WAIT_S, Fetch, ask_for, states
from changeover.cli.frame import actor, err, here, note, plain
from changeover.cli.signature import later
from changeover.serving.progress import Progress as Start
from changeover.serving.queries import ANSWERING
from changeover.tasks.applied import removed_tasks
from changeover.tasks.declarations import find_task

weights = later("changeover.cli.weights")
"""Progress bars and what fetches, for the few times when something has to be fetched."""


def opened() -> Installation:
    """The installation that the working directory lies in. Tasks that are broken are named, and left out."""
    installation = open_installation(here())
    for problem in installation.problems:
        note(f"left out: {problem.message}")
    return installation


def check_task(installation: Installation, name: str) -> None:
    """Refuse a name that no task has. One that was removed counts: its route, its rollout and its history stay.

    Raises:
        UnknownTaskError: There is none.
        ConfigError: Its file is broken.
    """
    with installation.store.read() as connection:
        removed = removed_tasks(connection)
    if name not in removed:
        find_task(installation.tasks, name)


def ensure_running(installation: Installation, name: str) -> None:
    """Have a deployment of that name up: fetch, deploy and start it where needed. `name` may be a card's.

    Raises:
        UnknownModelError: Neither a deployment nor a card has that name.
        EngineError: It did not come up, or memory does not hold it beside what runs.
    """
    ask_for(installation, name, actor(), fetch_of(installation))
    wait_ready(installation, [name])


def fetch_of(installation: Installation) -> Fetch:
    """What fetches a card's weights with a bar."""
    project = installation.project
    return lambda card: weights().fetch([card], project.cache, Terms.of(project))


def wait_ready(installation: Installation, names: Iterable[str], timeout_s: float = READY_WAIT_S) -> None:
    """Wait until deployments can answer, and say meanwhile what they do.

    Raises:
        EngineError: One failed, or was not ready in time; says why, and where its log is.
    """
    deadline = time.monotonic() + timeout_s
    for name in names:
        said = ""
        with err.status(f"{name}: starting") as status:
            for row in states(installation, name, deadline - time.monotonic()):
                if row.state in ANSWERING:
                    break
                status.update(f"{name}: {row.state}  {plain(row.detail)}")
                if row.detail not in ("", said) and Start.read(row.detail) is None and not err.is_terminal:
                    note(f"{name}: {row.state}  {row.detail}")
                said = row.detail
