"""Having a candidate up before anything is asked of it: its weights here, its engine asked for, and the wait until it can answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from changeover.app.deploy import deploy, first_plan, run_again
from changeover.app.installation import ECHO, Installation
from changeover.app.licence_checks import check_fetch, licensing_of
from changeover.app.local import gateway_address
from changeover.core.errors import EngineError, UnknownModelError, nearest
from changeover.library.cards import Card
from changeover.serving.queries import ANSWERING, Deployment, all_deployments, find_deployment
from changeover.serving.status import is_refusal

READY_WAIT_S = 600.0
POLL_S = 0.2

Fetch = Callable[[Card], object]
"""Has the weights of a card here that the embedded engine loads, and shows how far that is."""


def ask_for(installation: Installation, name: str, actor: str, fetch: Fetch) -> None:
    """Ask for a deployment of that name: fetch, deploy and start it where needed; `states` tells when it can answer.

    Args:
        installation: Where.
        name: Of a deployment, or of a card.
        actor: Who asks for it.
        fetch: What fetches weights that are not here.

    Raises:
        UnknownModelError: Neither a deployment nor a card has that name.
        EngineError: Memory does not hold it beside what runs.
    """
    if fetched(installation, name, fetch):
        run_again(installation, name, actor)
    else:
        deploy(installation, first_plan(installation, name), actor)


def fetched(installation: Installation, name: str, fetch: Fetch) -> bool:
    """Have the weights of a deployment or card here. Returns whether it is a deployment.

    Raises:
        UnknownModelError: Neither a deployment nor a card has that name.
        LicenceError: The policy or its licence does not allow it here.
    """
    gateway_address(installation.project)
    card = card_to_fetch(installation, name)
    if card is not None:
        fetch(card)
    return card is None and is_deployed(installation, name)


def card_to_fetch(installation: Installation, name: str) -> Card | None:
    """The card of a candidate that is not deployed; None for a deployment, and for the engine without a model.

    Raises:
        UnknownModelError: Neither a deployment nor a card has that name.
        LicenceError: The policy or its licence does not allow it here.
    """
    if name == ECHO or is_deployed(installation, name):
        return None
    cards = {card.id: card for card in installation.catalogue.cards()}
    if name not in cards:
        with installation.store.read() as connection:
            known = {*cards, *(row.name for row in all_deployments(connection))}
        raise UnknownModelError(f"No deployment and no model named `{name}`. {nearest(name, known)}")
    check_fetch(licensing_of(installation), [cards[name]])
    return cards[name]


def is_deployed(installation: Installation, name: str) -> bool:
    """Whether there is a deployment of that name, running or not."""
    with installation.store.read() as connection:
        return any(row.name == name for row in all_deployments(connection))


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
