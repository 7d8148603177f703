"""Both scores of cards, and what stands beside them, by everything that this installation knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from changeover.app.at_work import AtWork
from changeover.app.installation import Installation
from changeover.app.licence_checks import licensing_of
from changeover.gateway.usage_queries import usage_lines
from changeover.library.cards import Card
from changeover.library.licences.judgement import Judgement
from changeover.library.queries import newest_signals
from changeover.library.scores.engines import Registry
from changeover.library.scores.familiarity import OwnUse, familiarity
from changeover.library.scores.flags import flags
from changeover.library.scores.parts import Flag, Score
from changeover.library.scores.signals import Signals
from changeover.library.scores.support import supportability

BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
"""Nothing was counted before this."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One card, judged."""

    card: Card
    familiarity: Score
    support: Score
    flags: tuple[Flag, ...]
    judgement: Judgement


class Scores:
    """Scores cards; what they are held against is read once."""

    def __init__(self, installation: Installation, registries: Sequence[Registry] = ()) -> None:
        """Read signals and use.

        Args:
            installation: The project.
            registries: What engines that are installed here say.
        """
        self._installation = installation
        self._registries = registries
        self._signals = signals_of(installation)
        self._own = own_use(installation)

    @property
    def today(self) -> date:
        """By what old is old."""
        return self._installation.clock.now().date()

    def of(self, card: Card, *, task: str | None = None) -> Scored:
        """Both scores of a card, its flags, and what the policy says of it for a task."""
        judgement = licensing_of(self._installation).card(card, task)
        known = (card, self._installation.catalogue, self._signals, judgement, self.today, self._registries)
        return Scored(
            card=card,
            familiarity=familiarity(card, self._signals, self._own, self.today),
            support=supportability(*known),
            flags=flags(*known),
            judgement=judgement,
        )


def signals_of(installation: Installation) -> Signals:
    """Signals that ship with the package, and newer ones that were brought here."""
    with installation.store.read() as connection:
        found = newest_signals(connection)
    every = [each for of_card in found.values() for each in of_card.values()]
    return Signals(every, installation.catalogue.cards())


def own_use(installation: Installation) -> Mapping[str, OwnUse]:
    """What was done here with each card so far: tasks that it answers now, calls, and who called."""
    with installation.store.read() as connection:
        at_work = AtWork.read(connection, installation.catalogue)
        until = installation.clock.now() + timedelta(hours=1)
        lines = usage_lines(connection, ("deployment", "key"), BEFORE, until, internal=False)
    calls: dict[str, int] = {}
    keys: dict[str, set[str]] = {}
    for line in lines:
        deployment, key = line.of
        if (card := at_work.cards.get(deployment)) is not None:
            calls[card.id] = calls.get(card.id, 0) + line.requests
            keys.setdefault(card.id, set()).add(key)
    return {
        id: OwnUse(tasks=len(at_work.tasks_of.get(id, ())), calls=calls.get(id, 0), keys=len(keys.get(id, set())))
        for id in sorted({*at_work.tasks_of, *calls})
    }
