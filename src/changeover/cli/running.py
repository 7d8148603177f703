"""Talking to the running system: where it listens, and waiting for its engines."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from changeover.app.deploy import deploy, first_plan, run_again
from changeover.app.installation import ECHO, Installation, open_installation
from changeover.app.licence_checks import check_fetch, licensing_of
from changeover.app.local import running_address
from changeover.cli.frame import NOT_RUNNING, actor, err, here, note, plain
from changeover.cli.signature import later
from changeover.core.errors import ChangeoverError, EngineError, UnknownModelError, nearest
from changeover.core.settings import Project
from changeover.serving.progress import Progress as Start
from changeover.serving.queries import ANSWERING, Deployment, all_deployments, find_deployment
from changeover.serving.status import is_refusal
from changeover.tasks.applied import removed_tasks
from changeover.tasks.declarations import find_task

weights = later("changeover.cli.weights")
"""Progress bars and what fetches, for the few times when something has to be fetched."""

READY_WAIT_S = 600.0
POLL_S = 0.2


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


def gateway_address(project: Project) -> str:
    """Where this project's gateway listens.

    Raises:
        ChangeoverError: It does not run.
    """
    address = running_address(project.state)
    if address is None:
        raise ChangeoverError(NOT_RUNNING.format(name=project.settings.name))
    return address


def ensure_running(installation: Installation, name: str) -> None:
    """Have a deployment of that name up: fetch, deploy and start it where needed. `name` may be a card's.

    Raises:
        UnknownModelError: Neither a deployment nor a card has that name.
        EngineError: It did not come up, or memory does not hold it beside what runs.
    """
    if fetched(installation, name):
        run_again(installation, name, actor())
    else:
        deploy(installation, first_plan(installation, name), actor())
    wait_ready(installation, [name])


def fetched(installation: Installation, name: str) -> bool:
    """Have the weights of a deployment or card here. Returns whether it is a deployment.

    Raises:
        UnknownModelError: Neither a deployment nor a card has that name.
    """
    gateway_address(installation.project)
    with installation.store.read() as connection:
        deployed = [row.name for row in all_deployments(connection)]
    if name in deployed:
        return True
    cards = [card.id for card in installation.catalogue.cards()]
    if name not in (*cards, ECHO):
        raise UnknownModelError(f"No deployment and no model named `{name}`. {nearest(name, {*deployed, *cards})}")
    if name != ECHO:
        project = installation.project
        check_fetch(licensing_of(installation), [installation.catalogue.card(name)])
        weights().fetch([installation.catalogue.card(name)], project.cache, weights().Terms.of(project))
    return False


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


def states(installation: Installation, name: str, timeout_s: float) -> Iterator[Deployment]:
    """A deployment as it is, again and again until it can answer; that is the last.

    Raises:
        EngineError: It failed, its server refused to answer, or it was not ready in time; says why, and where its log is.
    """
    deadline = time.monotonic() + timeout_s
    log = installation.project.state / "logs" / f"{name}.log"
    while True:
        with installation.store.read() as connection:
            row = find_deployment(connection, name)
        if row.state in ANSWERING:
            yield row
            return
        gateway_address(installation.project)  # nothing starts once the system has gone
        if row.state == "failed":
            raise EngineError(f"`{name}` does not start: {row.detail.rstrip('.')}. Its log: {log}")
        if is_refusal(row.detail):
            raise EngineError(
                f"`{name}`: its server {row.detail.rstrip('.')}. Look at its address, its key and the model's name there: it "
                f"is asked again until it answers, or until `changeover undeploy {name}`."
            )
        if time.monotonic() > deadline:
            raise EngineError(f"`{name}` is not ready after {timeout_s:.0f} s ({row.detail}). Its log: {log}")
        yield row
        time.sleep(POLL_S)
