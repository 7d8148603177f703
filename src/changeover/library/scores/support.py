"""Supportability: how easily somebody gets help with a model, by engines, recipes, files, upkeep and licence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from statistics import median
from typing import Final

from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.licences.judgement import Judgement
from changeover.library.licences.terms import Acceptance, Duty, HostingIsDistribution
from changeover.library.lineage import Model
from changeover.library.scores.engines import Registry
from changeover.library.scores.parts import Part, Score, is_stale
from changeover.library.scores.signals import Signals
from changeover.library.successors import line_of, successors

COMMON_ENGINES: Final = 5
"""vLLM, SGLang, transformers, llama.cpp and Ollama: a model that all of them run has the whole part."""
RECIPE_ALONE: Final = 1 / 3
"""A documented launch that names no hardware on which it was run."""
VERIFIED_KINDS: Final = 3
"""Kinds of hardware on which a recipe was verified, from which on it has the whole part."""
COMMIT_HALVES_DAYS: Final = 180
GAP_HALVES_DAYS: Final = 365
REPLY_HALVES_HOURS: Final = 72
THE_CARDS: Final = "the cards of its line"
"""Source of what follows from several cards."""
ALIVE: Final = timedelta(days=365)
"""A model that nothing follows is kept up if it was released, or its repository changed, within this time."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Engines and one model."""

    runs: tuple[str, ...]
    """Engines that list it themselves."""
    dropped: tuple[tuple[str, str], ...]
    """Engines that did once, each with the last version."""
    asked: tuple[str, ...]
    """Installed engines that were asked, with their versions; for the others the card speaks."""
    known: bool
    """Whether anything is known."""


def supportability(
    card: Card,
    catalogue: Catalogue,
    signals: Signals,
    judgement: Judgement,
    today: date,
    registries: Sequence[Registry] = (),
) -> Score:
    """How well a model is supported, 0 to 100.

    Args:
        card: The model.
        catalogue: Its line and its licence.
        signals: Last commit and discussions.
        judgement: Of its licence under the organisation's policy.
        today: What is old is so by it.
        registries: What engines that are installed here say; they stand above the card.
    """
    parts = (
        _engines(card, listing(card, registries)),
        _recipe(card),
        _code(card),
        _files(card),
        _commit(card, signals, today),
        _cadence(card, catalogue, today),
        _closed(card, signals, today),
        _reply(card, signals, today),
        _clear(card, catalogue, judgement),
        _allowed(card, catalogue, judgement),
        _continuity(card, catalogue, signals, today),
    )
    return Score(model=card.id, parts=parts)


def listing(card: Card, registries: Sequence[Registry] = ()) -> Listing:
    """Which engines list a model. The vendor's own code is none, and neither is running a repository's code in one."""
    in_transformers = card.architecture.in_transformers
    runs = {each.engine for each in card.engines if each.until is None} - {"repository"}
    dropped = {each.engine: each.until for each in card.engines if each.until is not None}
    if in_transformers is not None:
        runs = runs | {"transformers"} if in_transformers else runs - {"transformers"}
    known = bool(card.engines) or in_transformers is not None
    asked: list[str] = []
    embedded = any(each.engine == "llama.cpp" and each.knows(card) is not None for each in registries)
    for registry in registries:
        if registry.engine == "gguf" and embedded:
            continue  # the engine itself was asked, and the library of its format may be newer
        knows, last = registry.knows(card), registry.dropped_after(card)
        engine = "llama.cpp" if registry.engine == "gguf" else registry.engine
        if knows is None and last is None:
            continue
        known = True
        asked.append(f"{registry.engine} {registry.version}")
        if knows:
            runs.add(engine)
            dropped.pop(engine, None)
        elif last is not None:
            runs.discard(engine)
            dropped[engine] = last
    return Listing(
        runs=tuple(sorted(runs - dropped.keys())),
        dropped=tuple(sorted(dropped.items())),
        asked=tuple(asked),
        known=known,
    )


def _engines(card: Card, found: Listing) -> Part:
    name, weight = "engines that list it", 25.0
    if not found.known:
        return Part(name=name, weight=weight, value=None, says="no engine is known")
    said = [", ".join(found.runs) if found.runs else "none"]
    said += [f"{engine} dropped it after {last}" for engine, last in found.dropped]
    value = min(1.0, max(0, len(found.runs) - len(found.dropped)) / COMMON_ENGINES)
    part = _of_card(card, "engines", name, weight, value, "; ".join(said))
    return replace(part, source=f"asked here: {', '.join(found.asked)}; else {part.source}") if found.asked else part


def _recipe(card: Card) -> Part:
    name, weight = "documented recipe", 15.0
    dropped = {each.engine for each in card.engines if each.until is not None}
    recipes = [recipe for recipe in card.recipes if recipe.engine not in dropped]
    if not recipes:
        return Part(name=name, weight=weight, value=None, says="none is known")
    kinds = sorted({kind for recipe in recipes for kind in recipe.verified_hardware})
    value = RECIPE_ALONE + (1 - RECIPE_ALONE) * min(1.0, len(kinds) / VERIFIED_KINDS)
    said = f"verified on {', '.join(kinds)}" if kinds else "documented, on no hardware that it names as verified"
    return _of_card(card, "recipes", name, weight, value, said)


def _code(card: Card) -> Part:
    remote = card.architecture.remote_code
    said = {None: "not known", True: "its repository brings code that an engine would run", False: "none"}[remote]
    value = None if remote is None else float(not remote)
    return _of_card(card, "architecture", "no remote code", 7.5, value, said)


def _files(card: Card) -> Part:
    pickle = card.architecture.pickle
    name, weight = "no pickle", 7.5
    if pickle is None and card.artifacts:
        kinds = ", ".join(sorted({artifact.format for artifact in card.artifacts}))
        return _of_card(card, "artifacts", name, weight, 1.0, f"its files are {kinds}")
    said = {None: "not known", True: "its weights run code when they are read", False: "its weights are data"}[pickle]
    value = None if pickle is None else float(not pickle)
    return _of_card(card, "architecture", name, weight, value, said)


def _commit(card: Card, signals: Signals, today: date) -> Part:
    name, weight = "last commit", 7.5
    seen = signals.of(card.id, "signals.last_commit")
    day = _day(None if seen is None else seen.value)
    if seen is None or day is None:
        return Part(name=name, weight=weight, value=None, says="not known")
    age = max(0, (today - day).days)
    return Part(
        name=name,
        weight=weight,
        value=_halved(age, COMMIT_HALVES_DAYS),
        says=f"{day}, {age} days ago",
        source=f"{seen.source}: {seen.locator}",
        as_of=seen.as_of,
        stale=is_stale(seen.as_of, today),
    )


def _cadence(card: Card, catalogue: Catalogue, today: date) -> Part:
    name, weight = "releases in its line", 7.5
    dates = sorted(
        {each.released for each in catalogue.cards() if line_of(each) == line_of(card) and each.released is not None}
    )
    dates = [day for day in dates if day <= today]
    if not dates:
        return Part(name=name, weight=weight, value=None, says="no date is known")
    ends = [*dates[1:], today]
    gap = median((after - before).days for before, after in zip(dates, ends, strict=True))
    return Part(
        name=name,
        weight=weight,
        value=_halved(gap, GAP_HALVES_DAYS),
        says=f"{len(dates)} known, the newest of {dates[-1]}; {gap:.0f} days apart, with the time since",
        source=THE_CARDS,
    )


def _closed(card: Card, signals: Signals, today: date) -> Part:
    name, weight = "discussions closed", 5.0
    closed = signals.number(card.id, ["signals.discussions_closed"])
    opened = signals.number(card.id, ["signals.discussions_open"])
    if closed is None or opened is None or closed.value + opened.value == 0:
        return Part(name=name, weight=weight, value=None, says="not known")
    return Part(
        name=name,
        weight=weight,
        value=closed.value / (closed.value + opened.value),
        says=f"{closed.value:.0f} of {closed.value + opened.value:.0f}",
        source=closed.source,
        as_of=closed.as_of,
        stale=is_stale(closed.as_of, today),
    )


def _reply(card: Card, signals: Signals, today: date) -> Part:
    name, weight = "first reply", 5.0
    reading = signals.number(card.id, ["signals.first_reply_hours"])
    if reading is None:
        return Part(name=name, weight=weight, value=None, says="not known")
    return Part(
        name=name,
        weight=weight,
        value=_halved(reading.value, REPLY_HALVES_HOURS),
        says=f"after {reading.value:.0f} hours, the median",
        source=reading.source,
        as_of=reading.as_of,
        stale=is_stale(reading.as_of, today),
    )


def _clear(card: Card, catalogue: Catalogue, judgement: Judgement) -> Part:
    name, weight = "licence clear", 5.0
    if card.licence is None:
        return _of_card(card, "licence", name, weight, None, "no licence is known")
    terms = [catalogue.licence(id) for id in (card.licence.id, *card.licence.also)]
    warned = next((reason.says for reason in judgement.reasons if reason.warning), None)
    if terms[0] is None:
        value, said = 0.0, f"what {card.licence.id} asks is not known as data"
    elif warned is not None:
        value, said = 0.5, warned
    elif terms[0].osi_approved:
        value, said = 1.0, f"{card.licence.id}, approved by the OSI"
    else:
        value, said = 0.5, f"{card.licence.id}, a text of its own"
    return _of_card(card, "licence", name, weight, value, said)


def _allowed(card: Card, catalogue: Catalogue, judgement: Judgement) -> Part:
    name, weight = "licence allowed here", 5.0
    if card.licence is None:
        return _of_card(card, "licence", name, weight, None, "no licence is known")
    if judgement.outcome == "deny":
        return Part(name=name, weight=weight, value=0.0, says="denied", source=_clause(judgement))
    if judgement.outcome == "person":
        return Part(name=name, weight=weight, value=0.25, says="needs a person", source=_clause(judgement))
    if not judgement.policy and _depends(card, catalogue):
        said = "depends on the organisation, which has no policy.toml"
        return Part(name=name, weight=weight, value=None, says=said)
    said = "allowed with duties" if judgement.outcome == "duties" else "allowed"
    if judgement.policy:
        return Part(name=name, weight=weight, value=1.0, says=said, source="policy.toml and the licence")
    return _of_card(card, "licence", name, weight, 1.0, f"{said} to anybody")


def _continuity(card: Card, catalogue: Catalogue, signals: Signals, today: date) -> Part:
    name, weight = "the vendor goes on", 10.0
    following = successors(catalogue, Model(name=card.id))
    follower = following[0].card.id if following else card.lineage.successor
    if card.retired is not None and card.retired <= today:
        said = f"retired on {card.retired}" + (f"; {follower} follows" if follower else "")
        return _of_card(card, "retired", name, weight, 0.5 if follower else 0.0, said)
    if follower is not None:
        return _of_card(card, "lineage", name, weight, 1.0, f"{follower} follows it")
    moved = last_sign(card, signals)
    if moved is None:
        return Part(name=name, weight=weight, value=None, says="neither a successor nor a date is known")
    alive = today - moved <= ALIVE
    said = f"nothing follows it; the last sign of it is of {moved}"
    return _of_card(card, "released", name, weight, 1.0 if alive else 0.5, said)


def last_sign(card: Card, signals: Signals) -> date | None:
    """When it was released or its repository changed last, as far as that is known."""
    seen = signals.of(card.id, "signals.last_commit")
    days = [day for day in (card.released, _day(None if seen is None else seen.value)) if day is not None]
    return max(days, default=None)


def _depends(card: Card, catalogue: Catalogue) -> bool:
    """Whether a licence allows one organisation what it does not allow another."""
    ids = () if card.licence is None else (card.licence.id, *card.licence.also)
    terms = [each for id in ids if (each := catalogue.licence(id)) is not None]
    return not terms or any(
        not isinstance(condition, Duty | HostingIsDistribution | Acceptance)
        for each in terms
        for condition in each.conditions
    )


def _clause(judgement: Judgement) -> str:
    """Where the words of the reason that decided were read; a rule of the policy has no other source."""
    reason = judgement.deciding
    return (None if reason is None else reason.source) or "policy.toml"


def _halved(amount: float, halves: float) -> float:
    return 2.0 ** (-amount / halves)


def _day(value: object) -> date | None:
    """The day of a signal, which is an ISO date or begins with one."""
    try:
        return date.fromisoformat(str(value)[:10]) if value is not None else None
    except ValueError:
        return None


def _of_card(card: Card, fact: str, name: str, weight: float, value: float | None, says: str) -> Part:
    """A part that a fact of the card decides: where that was read, and when; the best reading stands first on a card."""
    source = next((each for each in card.sources if each.says(fact)), None)
    if source is None:
        return Part(name=name, weight=weight, value=value, says=says, source=THE_CARDS)
    return Part(name=name, weight=weight, value=value, says=says, source=source.at, as_of=source.checked)
