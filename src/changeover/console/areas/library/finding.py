"""Finding a model: by what it shall do, in any language, and by what is known of it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

from starlette.responses import Response

from changeover.app.first_call import FirstCall
from changeover.app.fits import Machine, best_of, fits_at_all
from changeover.app.licence_position import why
from changeover.app.model_search import first_calls, nothing_found, search
from changeover.app.model_words import OUTCOME_SAID, billions, short_tokens
from changeover.app.scoring import Scored
from changeover.app.shelf import Presence, Shelf, shelf_of
from changeover.console.areas.library.held import Scoreboard, held
from changeover.console.visit import Visit
from changeover.core.errors import ConfigError, UnknownModelError
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.coverage import SCENARIOS, modality
from changeover.library.fit import Fit
from changeover.library.licences.judgement import OUTCOMES, Judgement
from changeover.library.search.filters import Filters, filtered
from changeover.library.state_queries import reached_states
from changeover.library.states import STATES, State

MOST_HITS: Final = 20
MOST_ROWS: Final = 200
LONGEST_QUERY: Final = 500
SIZES: Final[Mapping[str, tuple[float | None, float | None]]] = {
    "4": (None, 4.0),
    "15": (None, 15.0),
    "80": (None, 80.0),
    "4-15": (math.nextafter(4.0, math.inf), 15.0),
    "15-80": (math.nextafter(15.0, math.inf), 80.0),
    "80-": (math.nextafter(80.0, math.inf), None),
}
"""Billions of parameters, both ends included: at most so many, or one of the classes of the coverage."""
USES: Final[tuple[str, ...]] = ("answers", "deployed", "fetched")
"""What is done with a model now; `STATES` are what was."""
FIT_TONES: Final[Mapping[str, str]] = {"fits": "good", "tight": "warm", "no": "bad", "unknown": ""}
STATE_TONES: Final[Mapping[str, str]] = {"evaluated": "good", "served": "good", "loads": "busy", "planned": ""}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the page is asked for, as the address has it."""

    q: str
    family: str
    vendor: str
    licence: str
    modality: str
    scenario: str
    size: str
    state: str
    fits: bool

    @classmethod
    def of(cls, visit: Visit) -> Asked:
        """What the address says; a size and a state that are not offered ask nothing."""
        size, state = visit.query("size"), visit.query("state")
        return cls(
            q=visit.query("q")[:LONGEST_QUERY],
            family=visit.query("family"),
            vendor=visit.query("vendor"),
            licence=visit.query("licence"),
            modality=visit.query("modality"),
            scenario=visit.query("scenario"),
            size=size if size in SIZES else "",
            state=state if state in (*USES, *STATES) else "",
            fits=visit.query("fits") == "here",
        )

    @property
    def filters(self) -> Filters:
        """Those that the CLI has too."""
        least, most = SIZES.get(self.size, (None, None))
        return Filters(
            family=self.family or None,
            vendor=self.vendor or None,
            licence=self.licence or None,
            modality=self.modality or None,
            scenario=self.scenario or None,
            min_size_b=least,
            max_size_b=most,
        )

    @property
    def narrowed(self) -> bool:
        """Whether any filter is set."""
        return self.fits or bool(self.state) or self.filters != Filters()

    def address(self, path: str = "/library") -> str:
        """Of the same again."""
        texts = ("q", "family", "vendor", "licence", "modality", "scenario", "size", "state")
        said = {name: getattr(self, name) for name in texts}
        asked = {name: value for name, value in (*said.items(), ("fits", "here" if self.fits else "")) if value}
        return f"{path}?{urlencode(asked)}" if asked else path

    @property
    def command(self) -> str | None:
        """The same on the command line; None: it has no such filter."""
        if self.state:
            return None
        parts = ["changeover", "models", *([shlex.quote(self.q)] if self.q else [])]
        for name in ("family", "vendor", "licence", "modality", "scenario"):
            if value := getattr(self, name):
                parts += [f"--{name}", shlex.quote(value)]
        least, most = SIZES.get(self.size, (None, None))
        parts += [] if least is None else ["--min-size", f"{least:g}"]
        parts += [] if most is None else ["--max-size", f"{most:g}"]
        return " ".join([*parts, *(["--fits", "here"] if self.fits else [])])


@dataclass(frozen=True, kw_only=True)
class Row:
    """A model in the list."""

    card: Card
    size: str | None
    context: str | None
    modality: str
    judgement: Judgement
    outcome: str
    tone: str
    because: str
    """Why the policy says so, in a few words."""
    fit: Fit
    fit_tone: str
    scored: Scored | None
    """None: not worked out yet."""
    presence: Presence
    state: State
    state_tone: str
    matched: tuple[str, ...]
    """What the query and the card are both about."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was found."""

    rows: Sequence[Row]
    count: int
    """Of all that passed; the rows may be fewer."""
    unknown: Mapping[str, int]
    """Cards that a filter left out because nobody knows the fact, by fact."""
    calls: Sequence[FirstCall] = ()
    nearest: bool = False
    """Whether no card says a word of the query, and these are only near to it in meaning."""
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the filters offer."""

    families: Sequence[str]
    vendors: Sequence[str]
    licences: Sequence[str]
    modalities: Sequence[str]
    scenarios: Sequence[str]


async def library(visit: Visit) -> Response:
    """Search and list."""
    asked = Asked.of(visit)
    if asked.q in {card.id for card in visit.installation.catalogue.cards()}:
        return visit.go(f"/library/{quote(asked.q, safe='')}")
    return await _shown(visit, asked, "library/library.html", wait=visit.query("scores") == "now")


async def results(visit: Visit) -> Response:
    """The rows with their scores, which take a moment."""
    return await _shown(visit, Asked.of(visit), "library/results.html", wait=True)


async def _shown(visit: Visit, asked: Asked, template: str, *, wait: bool) -> Response:
    keeping, installation = held(visit), visit.installation
    machine = await keeping.machine(installation)
    scores = await keeping.scored(installation) if wait else keeping.scoreboard

    def look() -> tuple[Answer, bool]:
        with installation.store.read() as connection:
            reached = furthest(reached_states(connection))
        shelf = shelf_of(visit.theirs)
        fresh = scores is not None and scores.fresh(installation)
        return found(shelf, asked, machine, reached, scores), fresh

    answer, fresh = await visit.do(look)
    return visit.page(
        template,
        asked=asked,
        answer=answer,
        fresh=fresh,
        choices=choices_of(installation.catalogue),
        count=len(installation.catalogue.cards()),
        policy=installation.policy is not None,
        uses=USES,
        states=STATES,
        outcomes=OUTCOMES,
    )


def found(
    shelf: Shelf, asked: Asked, machine: Machine, reached: Mapping[str, State], scores: Scoreboard | None
) -> Answer:
    """What passes the filters, ranked for the query where there is one."""
    fits = {card.id: best_of(fits_at_all(card, machine)) for card in shelf.catalogue.cards()}
    judged = {card.id: shelf.judgement(card) for card in shelf.catalogue.cards()}
    cards = [card for card in shelf.catalogue.cards() if _in_state(asked.state, card, shelf, reached)]

    def fit_here(card: Card) -> bool | None:
        verdict = fits[card.id].verdict
        return None if verdict == "unknown" else verdict != "no"

    def row(card: Card, matched: tuple[str, ...] = ()) -> Row:
        scored = None if scores is None else scores.of.get(card.id)
        return _row(shelf, card, judged[card.id], fits[card.id], scored, reached.get(card.id, "declared"), matched)

    try:
        passed = filtered(
            cards, asked.filters, outcome=lambda card: judged[card.id].outcome, fits=fit_here if asked.fits else None
        )
        if not asked.q:
            ordered = sorted(passed.cards, key=lambda card: (not shelf.presence(card).at_all, card.id))
            return Answer(rows=[row(card) for card in ordered[:MOST_ROWS]], count=len(ordered), unknown=passed.unknown)
        answer = search(shelf, asked.q, passed, MOST_HITS)
        if not answer.hits:
            raise nothing_found(asked.q)
    except (ConfigError, UnknownModelError) as problem:
        return Answer(rows=(), count=0, unknown={}, error=problem.message)
    return Answer(
        rows=[row(hit.card, hit.scenarios) for hit in answer.hits],
        count=len(answer.hits),
        unknown=passed.unknown,
        calls=first_calls(shelf, answer),
        nearest=not answer.said,
    )


def furthest(reached: Iterable[tuple[str, State]]) -> dict[str, State]:
    """The furthest state of each card."""
    found: dict[str, State] = {}
    for card, state in reached:
        if card not in found or STATES.index(state) > STATES.index(found[card]):
            found[card] = state
    return found


def choices_of(catalogue: Catalogue) -> Choices:
    """What the filters offer: what some card has."""
    cards = catalogue.cards()

    def every(values: Callable[[Card], Iterable[str | None]]) -> list[str]:
        return sorted({value for card in cards for value in values(card) if value}, key=str.casefold)

    return Choices(
        families=every(lambda card: [card.family]),
        vendors=every(lambda card: [card.vendor]),
        licences=every(lambda card: [card.licence_id]),
        modalities=every(lambda card: [f"in:{name}" for name in card.modalities_in])
        + every(lambda card: [f"out:{name}" for name in card.modalities_out]),
        scenarios=[name for name in SCENARIOS if any(name in card.scenarios for card in cards)],
    )


def _in_state(wanted: str, card: Card, shelf: Shelf, reached: Mapping[str, State]) -> bool:
    if not wanted:
        return True
    if wanted in USES:
        use = shelf.presence(card)
        return bool({"answers": use.tasks, "deployed": use.deployments, "fetched": use.fetched}[wanted])
    return reached.get(card.id, "declared") == wanted


def _row(
    shelf: Shelf,
    card: Card,
    judgement: Judgement,
    fit: Fit,
    scored: Scored | None,
    state: State,
    matched: tuple[str, ...],
) -> Row:
    words, tone = OUTCOME_SAID[judgement.outcome]
    return Row(
        card=card,
        size=billions(card.parameters_b),
        context=None if card.context_tokens is None else short_tokens(card.context_tokens),
        modality=modality(card),
        judgement=judgement,
        outcome=words,
        tone=tone,
        because=why(judgement),
        fit=fit,
        fit_tone=FIT_TONES[fit.verdict],
        scored=scored,
        presence=shelf.presence(card),
        state=state,
        state_tone=STATE_TONES.get(state, ""),
        matched=matched,
    )
