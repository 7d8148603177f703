"""What was verified here of each model, worked out from rows that are there anyway, and written down before they go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from changeover.app.at_work import card_behind
from changeover.app.installation import Installation, usable_catalogue
from changeover.core.errors import ChangeoverError
from changeover.core.threads import in_thread
from changeover.evals.queries import newest_verdict_on
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.state_queries import keep_states, reached_states, states_of
from changeover.library.states import Reached, State, Verified
from changeover.serving.parts import EnginePart
from changeover.serving.queries import Deployment, EngineOfVariant, all_deployments, engines_of_variants
from changeover.tasks.queries import newest_answered

log = logging.getLogger(__name__)

EVERY_S = 60.0
"""Between two looks of the running system."""
LATE = timedelta(minutes=15)
"""Longer than a request takes from its beginning until it is recorded."""


@dataclass(frozen=True)
class _Rows:
    """What is known of one card's engines."""

    deployments: list[Deployment]
    variants: list[EngineOfVariant]


def verified_here(installation: Installation, card: Card) -> Verified:
    """What a card has reached, with what has come to it just now.

    Raises:
        StoreError: The store cannot be used.
    """
    note_states(installation, [card])
    with installation.store.read() as connection:
        return Verified(card=card.id, reached=states_of(connection, card.id))


def note_planned(installation: Installation, card: Card, evidence: Mapping[str, Any]) -> list[Reached]:
    """Write down that a model fits here, where somebody asked whether it does and it does.

    Raises:
        StoreError: The store cannot be used.
    """
    planned = Reached(card=card.id, state="planned", at=installation.clock.now(), evidence=evidence)
    return _keep(installation, [planned])


def note_states(
    installation: Installation, cards: Iterable[Card] | None = None, since: datetime | None = None
) -> list[Reached]:
    """Write down what models have reached; gives what is new. Nothing is written where nothing is.

    Args:
        installation: Whose rows are read: deployments, variants, the newest exchanges of tasks, comparisons.
        cards: Only these; None: whichever have engines here.
        since: Exchanges that began earlier were looked at before.

    Raises:
        StoreError: The store cannot be used.
    """
    return _note(installation, installation.catalogue, cards, since)


def _note(
    installation: Installation, catalogue: Catalogue, cards: Iterable[Card] | None, since: datetime | None
) -> list[Reached]:
    wanted = None if cards is None else {card.id for card in cards}
    with installation.store.read() as connection:
        known = reached_states(connection)
        found = [
            reached
            for card, rows in _by_card(connection, catalogue).items()
            if wanted is None or card in wanted
            for reached in _found(connection, card, rows, known, since)
        ]
    return _keep(installation, found)


def _keep(installation: Installation, found: list[Reached]) -> list[Reached]:
    if not found:
        return []
    with installation.store.write() as connection:
        return keep_states(connection, found)


def _by_card(connection: Connection, catalogue: Catalogue) -> dict[str, _Rows]:
    """Deployments and variants of each card: known by their weights, or else by the model's name."""
    rows: dict[str, _Rows] = {}
    cards: dict[tuple[str, str | None], Card | None] = {}

    def rows_of(engine: EnginePart) -> _Rows | None:
        name = (engine.model, engine.weights_digest)
        if name not in cards:
            cards[name] = card_behind(catalogue, engine)
        card = cards[name]
        return None if card is None else rows.setdefault(card.id, _Rows([], []))

    for deployment in all_deployments(connection):
        if (found := rows_of(EnginePart.from_document(deployment.engine))) is not None:
            found.deployments.append(deployment)
    for variant in engines_of_variants(connection):
        if (found := rows_of(variant.engine)) is not None:
            found.variants.append(variant)
    return rows


def _found(
    connection: Connection, card: str, rows: _Rows, known: set[tuple[str, State]], since: datetime | None
) -> Iterator[Reached]:
    """What a card's rows show that is not known yet. A later state shows an earlier one that nobody saw."""
    missing = {state for state in ("planned", "loads", "served", "evaluated") if (card, state) not in known}
    later: Reached | None = None
    for state, look in (
        ("evaluated", lambda: _evaluated(connection, card, rows)),
        ("served", lambda: _served(connection, card, rows, since)),
        ("loads", lambda: _loads(card, rows)),
        ("planned", lambda: _planned(card, rows)),
    ):
        if state not in missing:
            continue
        found = look()
        if found is None and later is not None and state in ("loads", "planned"):
            shown = {"shown_by": later.state, **{key: later.evidence[key] for key in _ENGINE if key in later.evidence}}
            found = Reached(card=card, state=state, at=later.at, evidence=shown)
        if found is not None:
            later = found
            yield found


_ENGINE = ("deployment", "engine", "engine_version", "weights", "quantisation")


def _described(deployment: str, engine: EnginePart) -> dict[str, Any]:
    """Which engine it was, as evidence."""
    return {
        "deployment": deployment,
        "engine": engine.engine or engine.backend,
        "engine_version": engine.engine_version,
        "weights": engine.weights_digest,
        "quantisation": engine.quantisation,
    }


def _planned(card: str, rows: _Rows) -> Reached | None:
    first = min(rows.deployments, key=lambda each: each.created_at, default=None)
    if first is None:
        return None
    evidence = {"deployment": first.name, "backend": first.backend, "asked_by": first.created_by}
    return Reached(card=card, state="planned", at=first.created_at, evidence=evidence)


def _loads(card: str, rows: _Rows) -> Reached | None:
    """Memory is written down once an engine could answer, and stays in the row when it has gone."""
    ready = [each for each in rows.deployments if each.state == "ready" or each.memory_bytes is not None]
    first = min(ready, key=lambda each: each.updated_at, default=None)
    if first is None:
        return None
    evidence = {
        **_described(first.name, EnginePart.from_document(first.engine)),
        "memory_bytes": first.memory_bytes,
        "said": first.detail if first.state == "ready" else None,
    }
    return Reached(card=card, state="loads", at=first.updated_at, evidence=evidence)


def _served(connection: Connection, card: str, rows: _Rows, since: datetime | None) -> Reached | None:
    by_id = {variant.id: variant for variant in rows.variants}
    for task in sorted({variant.task for variant in rows.variants}):
        ids = [variant.id for variant in rows.variants if variant.task == task]
        if (answered := newest_answered(connection, task, ids, since)) is None:
            continue
        id, named, at = answered
        variant = by_id[named]
        evidence = {
            **_described(variant.deployment, variant.engine),
            "task": task,
            "variant": variant.id,
            "bundle": variant.bundle,
            "exchange": id,
        }
        return Reached(card=card, state="served", at=at, evidence=evidence)
    return None


def _evaluated(connection: Connection, card: str, rows: _Rows) -> Reached | None:
    by_id = {variant.id: variant for variant in rows.variants}
    found = newest_verdict_on(connection, {variant.task for variant in rows.variants}, list(by_id))
    if found is None or found.ended_at is None:
        return None
    variant = by_id[found.candidate] if found.candidate in by_id else by_id[found.incumbent]
    evidence = {
        **_described(variant.deployment, variant.engine),
        "task": found.task,
        "variant": variant.id,
        "bundle": variant.bundle,
        "comparison": found.id,
        "role": "candidate" if found.candidate in by_id else "incumbent",
        "dataset": found.dataset,
        "verdict": found.verdict,
    }
    return Reached(card=card, state="evaluated", at=found.ended_at, evidence=evidence)


class VerifiedStates:
    """Notes them beside the running system: what a model reached stays known when its exchanges are deleted."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._looked: datetime | None = None

    async def run(self) -> None:
        """Look for ever. What cannot be read now is read later."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await in_thread(self.look)
            except ChangeoverError as exc:
                log.warning("library: what was verified here is noted later: %s", exc)

    def look(self) -> list[Reached]:
        """Note once, with the cards as they are now.

        Raises:
            StoreError: The store cannot be used.
        """
        now = self._installation.clock.now()
        found = _note(self._installation, usable_catalogue(self._installation.project), None, self._looked)
        # An exchange is written a little after it began; those that were under way are looked at again.
        self._looked = now - LATE
        for each in found:
            log.info("library: %s %s", each.card, each.state)
        return found
