"""One model: every fact with where it was read, and what this installation may do and did with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.responses import Response

from changeover.app.candidates import Candidate, Candidates
from changeover.app.card_rows import (
    Row,
    Section,
    found_of,
    licence_facts,
    sections_of,
    sections_of_accelerator,
    short_value,
)
from changeover.app.first_call import FirstCall, first_call
from changeover.app.fit_words import rows_of
from changeover.app.fits import HERE, Machine, Use, best_of, judged_here, judged_on
from changeover.app.installation import Installation
from changeover.app.licence_position import Standing, policy_line, reasons_beside, standing_of
from changeover.app.model_words import OUTCOME_SAID, REASON_SAID, billions, short_tokens
from changeover.app.scoring import Scored
from changeover.app.shelf import Shelf, shelf_of
from changeover.app.whole_card import WholeCard, whole_card
from changeover.console.areas.library.finding import FIT_TONES, STATE_TONES
from changeover.console.areas.library.held import held
from changeover.console.areas.library.kin import HIGH, WIDE, family_of
from changeover.console.visit import Visit
from changeover.core.errors import ConfigError, UnknownModelError
from changeover.library.accelerators import Accelerator
from changeover.library.artifacts import embeddable
from changeover.library.cards import Card
from changeover.library.facts import FactSource
from changeover.library.fit import Fit, Hardware, parse_hardware
from changeover.library.licences.judgement import Judgement, Reason
from changeover.library.licences.words import place
from changeover.library.scores.parts import Part, Score
from changeover.library.successors import unfit
from changeover.serving.queries import Deployment, all_deployments

HELLO: Final = "Say what you can do"
"""What the commands of a card ask it, in place of a query."""
LONGEST_SOURCE: Final = 34
COMMITTED: Final = re.compile(
    r"github:(?P<repository>[\w.-]+/[\w.-]+)@(?P<commit>[0-9a-f]{7,40})(?: (?P<path>[\w./+-]+))?(?![\w./+-])"
)
"""How cards write a file, or a directory, of a commit."""
OF_FACTS: Final = ("model", "speech", "running", "weights", "hosted", "figures", "not found")
"""Sections that stand in the table of facts; the others have panels of their own."""
MOST_CONTEXT: Final = 10_000_000
MOST_AT_ONCE: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where something was read."""

    at: str
    href: str | None
    """None: it is no address."""
    shown: str
    grade: str | None
    checked: date | None


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A line of the card with its sources."""

    row: Row
    sources: Sequence[Source]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Lines about one thing."""

    section: Section
    facts: Sequence[Fact]


@dataclass(frozen=True, kw_only=True)
class Clause:
    """One reason, with where it stands."""

    reason: Reason
    mark: str
    tone: str
    where: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """An outcome in general or for one task, with its reasons."""

    task: str | None
    words: str
    tone: str
    reasons: Sequence[Clause]

    @property
    def decide(self) -> list[Clause]:
        """Those that ask something, or raise a doubt."""
        return [each for each in self.reasons if each.reason.outcome != "allow" or each.reason.warning]

    @property
    def notes(self) -> list[Clause]:
        """What would count if something else were so."""
        return [each for each in self.reasons if each not in self.decide]


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """A verdict on some hardware with its figures."""

    fit: Fit
    tone: str
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """Whether it fits one accelerator, and a node of them."""

    accelerator: Accelerator
    one: Fit
    node: Fit | None
    node_cards: int | None
    memory: str | None


@dataclass(frozen=True, kw_only=True)
class Input:
    """A part of a score."""

    part: Part
    points: float | None
    source: Source | None


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """A score with its inputs."""

    score: Score
    inputs: Sequence[Input]


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Which hardware the page is asked about."""

    on: str
    use: Use

    @property
    def hardware(self) -> bool:
        """Whether any other than this machine's, or any other use."""
        return self.on not in ("", HERE)


async def card(visit: Visit) -> Response:
    """The whole card."""
    name, installation = visit.parameter("card"), visit.theirs
    accelerator = _accelerator(installation, name)
    if accelerator is not None:
        sections = [facts_of(section) for section in sections_of_accelerator(accelerator)]
        return visit.page("library/accelerator.html", accelerator=accelerator, sections=sections)
    about = installation.catalogue.card(name)
    ask, keeping = _ask(visit), held(visit)
    machine = await keeping.machine(installation)
    values = await visit.do(lambda: _values(visit, about, ask, machine))
    scores = keeping.scoreboard
    scored = scores.of.get(about.id) if scores is not None and scores.fresh(visit.installation) else None
    return visit.page("library/card.html", **values, scored=None if scored is None else _scored_values(scored))


def _tried_as(card: Card, deployments: Sequence[str]) -> str | None:
    """The name by which it can be tried on tasks: of a deployment, or its own where it would be deployed; None: it cannot."""
    if unfit(card) is not None:
        return None
    if card.id in deployments or embeddable(card.artifacts) is not None:
        return card.id
    return deployments[0] if deployments else None


def _accelerator(installation: Installation, name: str) -> Accelerator | None:
    return next((one for one in installation.catalogue.accelerators() if one.id == name), None)


def _values(visit: Visit, about: Card, ask: Ask, machine: Machine) -> Mapping[str, Any]:
    installation = visit.theirs
    shelf = shelf_of(installation)
    whole = as_seen(visit, whole_card(shelf, about))
    standing = standing_of(installation, about)
    here = [_fitting(fit) for fit in judged_here(about, machine, installation.catalogue, shelf.cache, ask.use)]
    asked, problem = _asked(shelf, about, ask)
    words, tone = OUTCOME_SAID[whole.judgement.outcome]
    best = best_of([each.fit for each in here])
    deployed = _deployments(installation, whole)
    return {
        "card": about,
        "whole": whole,
        "size": billions(about.parameters_b),
        "context": None if about.context_tokens is None else short_tokens(about.context_tokens),
        "outcome": words,
        "outcome_tone": tone,
        "policy": policy_line(installation.policy),
        "standing": standing,
        "verdicts": verdicts_of(standing),
        "read": read_in(standing),
        "family": family_of(whole, installation.catalogue),
        "box": (WIDE, HIGH),
        "here": here,
        "best": best,
        "best_tone": FIT_TONES[best.verdict],
        "state_tone": STATE_TONES.get(whole.state, ""),
        "ask": ask,
        "asked": asked,
        "problem": problem,
        "elsewhere": elsewhere_of(about, installation),
        "tones": FIT_TONES,
        "quantisations": sorted({each.quantisation for each in about.artifacts}),
        "facts": facts_of_card(whole),
        "claims": [(claim, source_of(claim.where), found_of(claim)) for claim in about.claims],
        "deployments": deployed,
        "tried_as": _tried_as(about, [row.name for row in deployed]),
        "call": _call(shelf, about),
        "short_value": short_value,
    }


def as_seen(visit: Visit, whole: WholeCard) -> WholeCard:
    """The card without what was found of it on tasks that whoever looks does not see, and without who asked for it."""
    if visit.person.tasks is None:
        return whole
    reached = tuple(
        replace(
            each,
            evidence={
                name: value
                for name, value in each.evidence.items()
                if name != "asked_by" and visit.person.may_see(str(each.evidence["task"]))
            }
            if "task" in each.evidence
            else {name: value for name, value in each.evidence.items() if name not in ("asked_by", "deployment")},
        )
        for each in whole.reached
    )
    return replace(whole, reached=reached)


def _ask(visit: Visit) -> Ask:
    context, at_once = visit.number("context"), visit.number("concurrency")
    use = Use(
        context=context if context and context <= MOST_CONTEXT else None,
        concurrency=at_once if at_once and at_once <= MOST_AT_ONCE else None,
        quantisation=visit.query("quantisation")[:40] or None,
    )
    return Ask(on=visit.query("on")[:80], use=use)


def _asked(shelf: Shelf, about: Card, ask: Ask) -> tuple[Fitting | None, str | None]:
    """The answer for other hardware, or what was wrong with the question."""
    if not ask.hardware:
        return None, None
    try:
        hardware = parse_hardware(ask.on, shelf.catalogue)
    except (ConfigError, UnknownModelError) as wrong:
        return None, wrong.message
    return _fitting(judged_on(about, hardware, shelf.catalogue, ask.use)), None


def _fitting(fit: Fit) -> Fitting:
    nothing = fit.quantisation is None and fit.verdict == "no"
    return Fitting(
        fit=fit, tone=FIT_TONES[fit.verdict], rows=[("", note) for note in fit.notes] if nothing else rows_of(fit)
    )


def elsewhere_of(about: Card, installation: Installation) -> list[Elsewhere]:
    """Every accelerator that the library knows: one of it, and a usual node."""
    found: list[Elsewhere] = []
    for one in installation.catalogue.accelerators():
        cards = one.per_node if one.per_node and one.per_node > 1 else None
        found.append(
            Elsewhere(
                accelerator=one,
                one=judged_on(about, Hardware(one, 1), installation.catalogue),
                node=None if cards is None else judged_on(about, Hardware(one, cards), installation.catalogue),
                node_cards=cards,
                memory=None if one.memory_gib is None else f"{round(one.memory_gib, 1):g} GiB",
            )
        )
    return found


def facts_of_card(whole: WholeCard) -> list[Facts]:
    """The table of facts: the licence's own stand among them, what the policy makes of it does not."""
    licence = Section(about="licence", rows=tuple(licence_facts(whole.card)))
    sections = [section for section in sections_of(whole) if section.about in OF_FACTS]
    return [facts_of(section) for section in (sections[0], licence, *sections[1:])]


def facts_of(section: Section) -> Facts:
    """Lines with their sources as a page names them; one place, grade and day is said once."""
    facts = [
        Fact(row=row, sources=list(dict.fromkeys(source_of(source) for source in row.sources))) for row in section.rows
    ]
    return Facts(section=section, facts=facts)


def source_of(source: FactSource | str) -> Source:
    """A place: an address as a link with the name of its host or repository, anything else in so many characters."""
    at, grade, checked = (source, None, None) if isinstance(source, str) else (source.at, source.grade, source.checked)
    href = at.split()[0] if at.startswith(("https://", "http://")) else None
    shown = (urlsplit(href).hostname or at).removeprefix("www.") if href else at
    if (committed := COMMITTED.match(at)) is not None:
        shown, path = committed["repository"], committed["path"] or ""
        kind = "blob" if path and not path.endswith("/") else "tree"
        href = f"https://github.com/{shown}/{kind}/{committed['commit']}/{path}"
    if len(shown) > LONGEST_SOURCE:
        shown = f"{shown[: LONGEST_SOURCE - 1]}…"
    return Source(at=at, href=href, shown=shown, grade=grade, checked=checked)


def verdicts_of(standing: Standing) -> list[Verdict]:
    """In general, then for each task for which it is otherwise."""
    judged = (standing.general, *standing.tasks.values())
    return [_verdict(each, standing.general) for each in judged]


def read_in(standing: Standing) -> list[tuple[str, Source]]:
    """Where the words of licences were read, each place once."""
    judged = (standing.general, *standing.tasks.values())
    reasons = [reason for each in judged for reason in each.reasons if reason.source and reason.licence]
    places = dict.fromkeys((str(reason.licence), str(reason.source), reason.grade) for reason in reasons)
    return [(licence, replace(source_of(source), grade=grade)) for licence, source, grade in places]


def _verdict(judgement: Judgement, general: Judgement) -> Verdict:
    words, tone = OUTCOME_SAID[judgement.outcome]
    reasons = [_clause(reason) for reason in reasons_beside(judgement, general)]
    return Verdict(task=judgement.task, words=words, tone=tone, reasons=reasons)


def _clause(reason: Reason) -> Clause:
    mark, tone = ("warns", "warm") if reason.warning else REASON_SAID[reason.outcome]
    where = "" if reason.licence is None else reason.licence
    if reason.licence and reason.clause:
        where = f"{place(reason)} of {reason.licence}"
    return Clause(
        reason=reason,
        mark=mark,
        tone="" if tone == "soft" else tone,
        where=where,
    )


def _deployments(installation: Installation, whole: WholeCard) -> list[Deployment]:
    names = set(whole.presence.deployments)
    if not names:
        return []
    with installation.store.read() as connection:
        return [row for row in all_deployments(connection) if row.name in names]


def _call(shelf: Shelf, about: Card) -> FirstCall:
    return first_call(shelf, about, HELLO, ())


async def scores(visit: Visit) -> Response:
    """Both scores with every input."""
    installation, keeping = visit.installation, held(visit)
    about = installation.catalogue.card(visit.parameter("card"))
    board = await keeping.scored(installation)
    values = _scored_values(board.of[about.id])
    alone = not visit.request.headers.get("hx-request")
    template = "library/one_part.html" if alone else "library/scores.html"
    return visit.page(template, card=about, scored=values, registries=board.registries, part="scores")


def _scored_values(scored: Scored) -> Mapping[str, Any]:
    return {"support": _scoring(scored.support), "familiarity": _scoring(scored.familiarity), "flags": scored.flags}


def _scoring(score: Score) -> Scoring:
    inputs = [
        Input(part=part, points=score.points(part), source=source_of(part.source) if part.source else None)
        for part in score.parts
    ]
    return Scoring(score=score, inputs=inputs)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A task that it could, or could not, take over."""

    task: str
    incumbent: str
    follows: str | None
    """Why it is thought to be what comes after the incumbent."""
    denied: str | None
    cannot: str | None


async def replaces(visit: Visit) -> Response:
    """Which incumbents it could be tried against."""
    installation = visit.theirs
    about = installation.catalogue.card(visit.parameter("card"))

    def look() -> tuple[Candidate | None, list[Place], str | None]:
        looking = Candidates(installation)
        found = looking.of(about)
        deployed = [row.name for row in _deployments(installation, whole_card(shelf_of(installation), about))]
        return found, [] if found is None else places_of(found, looking), _tried_as(about, deployed)

    candidate, places, tried_as = await visit.do(look)
    plain = [each for each in places if not (each.follows or each.denied or each.cannot)]
    alone = not visit.request.headers.get("hx-request")
    return visit.page(
        "library/one_part.html" if alone else "library/replaces.html",
        card=about,
        candidate=candidate,
        tried_as=tried_as,
        places=[each for each in places if each not in plain],
        plain=plain,
        part="replaces",
    )


def places_of(candidate: Candidate, looking: Candidates) -> list[Place]:
    """Tasks that it could serve, those first whose incumbent it follows; then those that it cannot."""

    def place_of(task: str) -> Place:
        denied = candidate.denied.get(task)
        return Place(
            task=task,
            incumbent=looking.incumbent(task).deployment,
            follows=candidate.succeeds.get(task),
            denied=denied,
            cannot=None if denied else candidate.cannot.get(task),
        )

    return [place_of(task) for task in (*candidate.tasks, *sorted(candidate.cannot))]
