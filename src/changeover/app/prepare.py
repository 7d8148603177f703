"""What has to be in the store before anything can answer: keys, deployments, first routes."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from changeover.app.adapting import engine_of
from changeover.app.apply import apply
from changeover.app.changed_engine import bare, note_changed_engine
from changeover.app.installation import ECHO, Installation
from changeover.app.local import OPERATOR_KEY_FILE, write_private
from changeover.core.actors import SYSTEM
from changeover.core.errors import ChangeoverError
from changeover.gateway.keys import Keyring, Role, count_keys, issue_key, was_issued
from changeover.library.artifacts import Artifact, embeddable
from changeover.library.cards import Card
from changeover.library.pull import present
from changeover.serving.bundles import EnginePart, differences
from changeover.serving.deployments import plan_from_row
from changeover.serving.queries import all_deployments, forget_states
from changeover.serving.weights import pending
from changeover.tasks.queries import current_routes

log = logging.getLogger(__name__)

LOCAL_OPERATOR = "local operator"
"""Name of the key of the commands on one machine."""


def first_cards(installation: Installation) -> list[Card]:
    """Models that tasks without a route need before they can have one, and whose weights are not here."""
    with installation.store.read() as connection:
        routed = current_routes(connection)
    names = [task.declared.first_incumbent for task in installation.tasks.values() if task.name not in routed]
    return _absent(installation, [name for name in names if name != ECHO])


@dataclass(frozen=True)
class Absent:
    """Weights of a deployment that shall run, which are not here any more."""

    deployment: str
    card: Card
    artifact: Artifact
    to_make: bool
    """They are made of the artifact, in the environment of an engine and in some minutes."""


def deployed_weights(installation: Installation) -> list[Absent]:
    """Weights of deployments that shall run and are not here any more. The others can start without them."""
    cache = installation.project.cache
    with installation.store.read() as connection:
        rows = all_deployments(connection)
    cards = {card.id: card for card in installation.catalogue.cards()}
    found: list[Absent] = []
    for row in rows:
        card = cards.get(row.model)
        if row.desired != "running" or card is None:
            continue
        try:
            plan = plan_from_row(row, installation.catalogue, cache)
        except ChangeoverError:
            continue  # the fleet says why in its row
        artifact = next((each for each in card.artifacts if each.sha256 == plan.weights_digest), None)
        making = pending(plan)
        if artifact is not None and (making or (plan.making is None and not present(artifact, cache))):
            found.append(Absent(row.name, card, artifact, to_make=making is not None))
    return found


def _absent(installation: Installation, names: list[str]) -> list[Card]:
    cards = [installation.catalogue.card(name) for name in dict.fromkeys(names)]
    cache = installation.project.cache
    found = [(card, embeddable(card.artifacts)) for card in cards]
    return [card for card, artifact in found if artifact is not None and not present(artifact, cache)]


def first_keys(installation: Installation) -> str | None:
    """Make the operator's key of this machine, and the first application key, which is returned to be shown once."""
    file = installation.project.state / OPERATOR_KEY_FILE
    if not _is_known(installation, file):
        write_private(file, _issue(installation, LOCAL_OPERATOR, "admin"))
    with installation.store.read() as connection:
        known = count_keys(connection, "application")
    return None if known else _issue(installation, "first", "application")


def first_admin_key(installation: Installation) -> str | None:
    """Make the administrator's key, once in the life of a store: the way in from another machine. To be shown once."""
    with installation.store.read() as connection:
        known = was_issued(connection, "admin", beside=LOCAL_OPERATOR)
    return None if known else _issue(installation, "admin", "admin")


def _is_known(installation: Installation, file: Path) -> bool:
    """Whether a file holds a key of this store: not so after the store was put back from a backup, or made anew."""
    keyring = Keyring()
    keyring.reload(installation.store)
    return file.is_file() and keyring.find(file.read_bytes()) is not None


def _issue(installation: Installation, name: str, role: Role) -> str:
    with installation.store.write() as connection:
        return issue_key(connection, name=name, role=role, now=installation.clock.now())


def prepare(installation: Installation) -> None:
    """Bring routes and deployments in line with the declarations and with the engines that are installed now.

    Weights must be here: see `first_cards`. Broken declarations change nothing: what was applied last goes on.
    """
    with installation.store.write() as connection:
        forget_states(connection, installation.clock.now())
    _follow_engines(installation)
    if not installation.problems:
        apply(installation, SYSTEM)
        return
    for problem in installation.problems:
        log.error("%s", problem)
    log.error("answering by the declarations that were applied last")


def _follow_engines(installation: Installation) -> None:
    """Notice engines that are not what they were when their variants were measured.

    Those that are stopped too: one would come back as another bundle under a verdict that is not about it.
    """
    with installation.store.read() as connection:
        rows = all_deployments(connection)
    for row in rows:
        before = EnginePart.from_document(row.engine)
        try:
            now = engine_of(installation, plan_from_row(row, installation.catalogue, installation.project.cache))
        except ChangeoverError:
            continue  # It will not start either, and the fleet says why in its row; the others must.
        if now == replace(before, observed=None):
            continue  # What was observed of it cannot be described, and is still true.
        changes = "; ".join(differences(bare(before), bare(now)))
        note_changed_engine(installation, row.name, now, f"the engine of {row.name} changed ({changes}); not measured")
