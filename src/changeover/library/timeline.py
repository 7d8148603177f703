"""What happened to models and when, who still keeps them up, and which open model led each version of an index.

Undated events are kept without a date. What nobody knows makes nobody an orphan.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import combinations, pairwise
from typing import Final, Literal

from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.facts import Figure
from changeover.library.lineage import Model
from changeover.library.successors import successors

LONG: Final = timedelta(days=365)
"""Without a commit for so long, nobody is known to keep a model up."""

Kind = Literal["released", "followed", "licence", "dropped", "moved", "retired", "claim"]
State = Literal["active", "superseded", "retired", "orphaned", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a model."""

    on: date | None
    """None: when is not known."""
    to_month: bool
    """Whether only the month is known; then `on` is its first day."""
    kind: Kind
    model: str
    vendor: str
    says: str
    """One line, without the model's name."""

    @property
    def when(self) -> str | None:
        """The date as exactly as it is known."""
        return None if self.on is None else f"{self.on:%Y-%m}" if self.to_month else self.on.isoformat()


@dataclass(frozen=True, kw_only=True)
class Continuity:
    """Whether somebody still keeps a model up, or a vendor its models."""

    name: str
    """Of the model or of the vendor."""
    state: State
    reasons: tuple[str, ...]
    followed_by: tuple[str, ...] = ()
    """Cards that could take its place."""


@dataclass(frozen=True, kw_only=True)
class Leader:
    """The best open model of a country on one version of an index."""

    country: str
    model: str
    value: float
    as_of: date | None
    variant: str | None
    source: str


@dataclass(frozen=True, kw_only=True)
class IndexVersion:
    """One version of an index. Its figures mean nothing beside those of another one."""

    index: str
    version: str
    leaders: tuple[Leader, ...]
    """Best first; each country once."""


@dataclass(frozen=True, kw_only=True)
class Reversal:
    """Two models whose order is another on the next version of an index."""

    index: str
    before: str
    after: str
    """Versions."""
    led: str
    leads: str
    """Models: who was ahead on `before`, and who is on `after`."""
    values_before: tuple[float, float]
    """Of `led` and of `leads`."""
    values_after: tuple[float, float]


def events(catalogue: Catalogue, cards: Iterable[Card]) -> list[Event]:
    """What happened to some cards, oldest first; what has no date comes last."""
    found = [event for card in cards for event in _events(catalogue, card)]
    return sorted(found, key=lambda event: (event.on is None, event.on or date.max, event.model, event.kind))


def continuity(catalogue: Catalogue, card: Card, last_commit: date | None, today: date) -> Continuity:
    """Whether somebody still keeps a model up.

    Args:
        catalogue: Where its successors are looked for.
        card: The model.
        last_commit: To its repository, as the newest observation says; None: unknown.
        today: Against which `LONG` is measured.
    """
    following = tuple(each.card.id for each in successors(catalogue, Model(name=card.id)))
    dropped = [f"{each.engine} dropped it after {each.until}" for each in card.engines if each.until is not None]
    quiet = last_commit is not None and today - last_commit > LONG
    commit = [] if last_commit is None else [f"last commit on {last_commit}"]
    if card.retired is not None and card.retired <= today:
        state, reasons = "retired", [f"retired on {card.retired}"]
    elif dropped or (quiet and not following):
        state, reasons = "orphaned", [*dropped, *(commit if quiet else [])]
    elif following:
        state, reasons = "superseded", [f"followed by {following[0]}", *(commit if quiet else [])]
    elif commit and not quiet:
        state, reasons = "active", commit
    elif card.released is not None and today - card.released <= LONG:
        state, reasons = "active", [f"released on {card.released_on}"]
    else:
        state, reasons = "unknown", ["no successor, and its last commit is not known"]
    return Continuity(name=card.id, state=state, reasons=tuple(reasons), followed_by=following)


def vendor_continuity(vendor: str, cards: Iterable[Card], last_commits: Mapping[str, date], today: date) -> Continuity:
    """Whether a vendor still releases or keeps up its models. `last_commits` by id of the card."""
    cards = [card for card in cards if card.vendor == vendor]
    released = {card.released: card.id for card in cards if card.released is not None}
    committed = {last_commits[card.id]: card.id for card in cards if card.id in last_commits}
    newest = max(released, default=None)
    latest = max((*released, *committed), default=None)
    said = [] if newest is None else [f"newest card {released[newest]}, {newest:%Y-%m}"]
    if latest is not None and latest in committed and latest not in released:
        said.append(f"last commit on {latest}")
    if cards and all(card.retired is not None and card.retired <= today for card in cards):
        return Continuity(name=vendor, state="retired", reasons=("all of its models are retired",))
    if latest is not None and today - latest <= LONG:
        return Continuity(name=vendor, state="active", reasons=tuple(said))
    if cards and all(card.id in last_commits for card in cards):
        return Continuity(name=vendor, state="orphaned", reasons=(*said, f"no commit for {LONG.days} days"))
    return Continuity(name=vendor, state="unknown", reasons=(*said, "nothing newer is known here"))


def leaders(cards: Iterable[Card]) -> list[IndexVersion]:
    """The best open model of each country, for each version of each index that names its version; oldest first."""
    best: dict[tuple[str, str], dict[str, Leader]] = {}
    for card, figure in _open_figures(cards):
        if card.country is None:
            continue
        row = best.setdefault((figure.index, str(figure.version)), {})
        if card.country not in row or row[card.country].value < figure.value:
            row[card.country] = Leader(
                country=card.country,
                model=card.id,
                value=figure.value,
                as_of=figure.as_of,
                variant=figure.variant,
                source=figure.source,
            )
    return [
        IndexVersion(index=index, version=version, leaders=tuple(sorted(row.values(), key=lambda each: -each.value)))
        for (index, version), row in sorted(best.items(), key=lambda each: (each[0][0], version_order(each[0][1])))
    ]


def reversals(cards: Iterable[Card]) -> list[Reversal]:
    """Open models of different vendors that changed places between two versions of an index that both were measured on."""
    cards = list(cards)
    vendors = {card.id: card.vendor for card in cards}
    values: dict[str, dict[str, dict[str, float]]] = {}
    for card, figure in _open_figures(cards):
        row = values.setdefault(figure.index, {}).setdefault(str(figure.version), {})
        row[card.id] = max(figure.value, row.get(card.id, figure.value))
    found: list[Reversal] = []
    for index, versions in sorted(values.items()):
        for before, after in pairwise(sorted(versions, key=version_order)):
            then, now = versions[before], versions[after]
            both = sorted((id for id in then if id in now), key=lambda id: -then[id])
            found += [
                Reversal(
                    index=index,
                    before=before,
                    after=after,
                    led=a,
                    leads=b,
                    values_before=(then[a], then[b]),
                    values_after=(now[a], now[b]),
                )
                for a, b in combinations(both, 2)
                if vendors[a] != vendors[b] and then[a] > then[b] and now[a] < now[b]
            ]
    return found


def version_order(version: str) -> tuple[tuple[int, ...], str]:
    """Sorts versions by their numbers: 2.2 before 3.0 before 10."""
    return tuple(int(part) for part in re.findall(r"\d+", version)), version


def _open_figures(cards: Iterable[Card]) -> Iterator[tuple[Card, Figure]]:
    for card in cards:
        if card.weights == "open":
            yield from ((card, figure) for figure in card.figures if figure.version is not None)


def _events(catalogue: Catalogue, card: Card) -> Iterator[Event]:
    def event(kind: Kind, on: date | None, says: str, *, to_month: bool = False) -> Event:
        return Event(on=on, to_month=to_month, kind=kind, model=card.id, vendor=card.vendor, says=says)

    if card.released is not None:
        size = "" if card.parameters_b is None else f"{card.parameters_b:g} B, "
        terms = card.licence_id or ("closed" if card.weights == "closed" else "licence unknown")
        yield event("released", card.released, f"{size}{terms}", to_month=card.released_to == "month")
    for successor in successors(catalogue, Model(name=card.id)):
        if successor.named:
            after = successor.card
            yield event("followed", after.released, f"by {after.id}", to_month=after.released_to == "month")
    if card.licence is not None:
        terms = [former.id for former in card.licence.former] + [card.licence.id]
        for former, later in zip(card.licence.former, terms[1:], strict=True):
            yield event("licence", former.until, f"{former.id} → {later}")
    for engine in card.engines:
        if engine.until is not None:
            yield event("dropped", None, f"by {engine.engine}: {engine.until} was the last version that ran it")
    for hosted in card.hosted:
        if hosted.moved is not None or hosted.now is not None:
            name = f"{hosted.host}'s `{hosted.id}`" if hosted.id else hosted.host
            yield event("moved", hosted.moved, f"{name} answers with {hosted.now or 'another model'}")
    if card.retired is not None:
        yield event("retired", card.retired, "the vendor no longer supports it")
    for claim in card.claims:
        yield event("claim", claim.said_on, f"{claim.said_by}: “{claim.words}”")
