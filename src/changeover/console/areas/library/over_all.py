"""The library as a whole: what happened and when, and for what it has models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.responses import Response

from changeover.app.coverage import counted_on
from changeover.app.fits import fits_at_all, known
from changeover.app.shelf import shelf_of
from changeover.app.timeline import NEEDS_A_LOOK, Timeline, Told, told, why
from changeover.app.timeline import timeline as timeline_of
from changeover.app.timeline_picture import in_page
from changeover.console.areas.library.held import held
from changeover.console.said import said
from changeover.console.visit import Visit
from changeover.core.errors import ConfigError
from changeover.library.cards import Card
from changeover.library.coverage import LICENCE_CLASSES, OPEN, SCENARIOS, SIZES, UNKNOWN_SIZE, Coverage
from changeover.library.timeline import Continuity, Kind

KIND_TONES: Final[Mapping[Kind, str]] = {
    "followed": "good",
    "licence": "warm",
    "dropped": "bad",
    "moved": "warm",
    "retired": "bad",
}
STATE_TONES: Final[Mapping[str, str]] = {"active": "good", "superseded": "", "retired": "warm", "orphaned": "bad"}
SIZE_FILTERS: Final[Mapping[str, str]] = {"≤ 4 B": "4", "≤ 15 B": "4-15", "≤ 80 B": "15-80", "larger": "80-"}
"""What the list calls the classes of the matrix."""


@dataclass(frozen=True, kw_only=True)
class Year:
    """What happened in it, the newest first."""

    name: str
    """Empty: nobody knows when."""
    told: Sequence[Told]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Who is kept up, and who is not."""

    looked_at: Sequence[tuple[Continuity, str, str]]
    """Those that somebody should know of, each with its tone and why."""
    active: Sequence[str]
    unknown: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Place:
    """A scenario in one size."""

    size: str
    free: int
    other: int
    address: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """A scenario in every size."""

    scenario: str
    places: Sequence[Place]
    unknown: int
    closed: int
    all: int
    open: bool
    """Whether there is an open model for it at all."""


@dataclass(frozen=True, kw_only=True)
class Modality:
    """What is read and written, over all scenarios and sizes."""

    name: str
    counts: Sequence[int]
    """By class of licence."""
    scenarios: Sequence[str]


async def timeline(visit: Visit) -> Response:
    """Releases, successors, licences, ends: a drawing, and everything in words."""
    installation = visit.installation
    family, vendor, task = visit.query("family"), visit.query("vendor"), visit.query("task")
    if task:
        visit.require_task(task)

    def look() -> tuple[Timeline, Markup, list[str], list[str], list[str]]:
        shelf = shelf_of(visit.theirs)
        cards = installation.catalogue.cards()
        whole = timeline_of(shelf, family=family or None, vendor=vendor or None, task=task or None)
        # Names in it were escaped as it was drawn.
        drawn = Markup(in_page(whole.happened, shelf.today, "/library/", partial(said, visit.language)))
        tasks = sorted({name for card in cards for name in shelf.presence(card).tasks})
        return whole, drawn, sorted({c.family for c in cards}), sorted({c.vendor for c in cards}), tasks

    try:
        whole, drawn, families, vendors, tasks = await visit.do(look)
    except ConfigError as wrong:
        asked = {"family": family, "vendor": vendor, "task": task}
        return visit.page("library/no_timeline.html", 404, error=wrong.message, asked=asked)
    return visit.page(
        "library/timeline.html",
        whole=whole,
        drawn=drawn,
        years=years_of(whole),
        models=kept_of(whole.models),
        makers=kept_of(whole.vendors),
        families=families,
        vendors=vendors,
        tasks=tasks,
        asked={"family": family, "vendor": vendor, "task": task},
        tones=KIND_TONES,
        most={(each.index, each.version): each.leaders[0].value for each in whole.led},
    )


def years_of(whole: Timeline) -> list[Year]:
    """What happened by year, the newest first; what has no date comes last."""
    found: dict[str, list[Told]] = {}
    for each in reversed(told(whole.happened)):
        found.setdefault("" if each.event.on is None else str(each.event.on.year), []).append(each)
    return [Year(name=name, told=found[name]) for name in sorted(found, reverse=True)]


def kept_of(found: Sequence[Continuity]) -> Kept:
    """Those that are followed, lost or retired, the worst first; of the others the names."""
    return Kept(
        looked_at=[
            (each, STATE_TONES.get(state, ""), why(each))
            for state in NEEDS_A_LOOK
            for each in found
            if each.state == state
        ],
        active=[each.name for each in found if each.state == "active"],
        unknown=[each.name for each in found if each.state == "unknown"],
    )


async def coverage(visit: Visit) -> Response:
    """Scenario by size, and where there is none."""
    installation, keeping = visit.installation, held(visit)
    allowed = visit.query("policy") == "1" and installation.policy is not None
    here = visit.query("here") == "1"
    machine = await keeping.machine(installation)

    def look() -> Coverage:
        def fits(card: Card) -> bool | None:
            return known(fits_at_all(card, machine))

        return counted_on(shelf_of(installation), fits if here else None, allowed=allowed)

    counted = await visit.do(look)
    narrowed = {"licence": "allow" if allowed else "", "fits": "here" if here else ""}
    return visit.page(
        "library/coverage.html",
        counted=counted,
        sizes=[name for name, _ in SIZES],
        lines=[line_of(counted, scenario, narrowed) for scenario in SCENARIOS],
        modalities=modalities_of(counted),
        classes=LICENCE_CLASSES,
        gaps=len(counted.gaps()),
        policy=installation.policy is not None,
        allowed=allowed,
        here=here,
    )


def line_of(counted: Coverage, scenario: str, narrowed: Mapping[str, str]) -> Line:
    """A scenario's line; each place leads to the models that stand there."""

    def place(size: str) -> Place:
        free, other = counted.place(scenario, size)
        asked = {"scenario": scenario, "size": SIZE_FILTERS[size], **narrowed}
        address = f"/library?{urlencode({name: value for name, value in asked.items() if value})}"
        return Place(size=size, free=free, other=other, address=address)

    return Line(
        scenario=scenario,
        places=[place(name) for name, _ in SIZES],
        unknown=counted.count(scenario=scenario, size=UNKNOWN_SIZE, licences=OPEN),
        closed=counted.count(scenario=scenario, licences=("closed",)),
        all=counted.count(scenario=scenario),
        open=scenario not in counted.missing,
    )


def modalities_of(counted: Coverage) -> list[Modality]:
    """What is read and written, by licence."""
    return [
        Modality(
            name=name,
            counts=[counted.count(modality=name, licences=(each,)) for each in LICENCE_CLASSES],
            scenarios=[scenario for scenario in SCENARIOS if counted.count(scenario=scenario, modality=name)],
        )
        for name in counted.modalities
    ]
