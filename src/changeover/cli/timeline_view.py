"""The timeline on a terminal: a plot, a table, who keeps up what, and who led each version of an index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from rich.text import Text

from changeover.app.observed import last_commits
from changeover.app.shelf import Shelf, open_shelf
from changeover.cli.columns import UNKNOWN, Cell, Columns, hanging, widest
from changeover.cli.frame import note, out, print_json
from changeover.cli.timeline_svg import drawing
from changeover.core.errors import ConfigError, nearest
from changeover.library.cards import Card
from changeover.library.lineage import Model
from changeover.library.successors import successors
from changeover.library.timeline import (
    Continuity,
    Event,
    IndexVersion,
    Kind,
    Reversal,
    State,
    continuity,
    events,
    leaders,
    reversals,
    vendor_continuity,
)

MARKS: dict[Kind, tuple[str, str]] = {
    "released": ("●", ""),
    "followed": ("→", "green"),
    "licence": ("§", "yellow"),
    "dropped": ("✕", "red"),
    "moved": ("≠", "yellow"),
    "retired": ("■", "red"),
    "claim": ("“", "dim"),
}
STATES: dict[State, str] = {
    "active": "green",
    "superseded": "",
    "retired": "yellow",
    "orphaned": "red",
    "unknown": "dim",
}
NEEDS_A_LOOK: tuple[State, ...] = ("orphaned", "retired", "superseded")
EVENTS = Columns(
    names=("when", "", "model", "what"), concessions=(("what", 48), ("model", 24), ("what", 24), ("model", 16))
)
KEPT = Columns(names=("who", "state", "why"), concessions=(("who", 24), ("why", 30)))
LANE = 20
"""Characters of a vendor's name beside its lane."""
MOST_REVERSALS = 6


def run(*, family: str | None, vendor: str | None, task: str | None, svg: Path | None, as_json: bool) -> None:
    """Print the timeline, and draw it."""
    shelf = open_shelf(Path.cwd())
    cards = _chosen(shelf, family, vendor, task)
    commits = last_commits(shelf)
    happened = events(shelf.catalogue, cards)
    kept = [continuity(shelf.catalogue, card, commits.get(card.id), shelf.today) for card in cards]
    names = sorted({card.vendor for card in cards})
    vendors = [vendor_continuity(name, shelf.catalogue.cards(), commits, shelf.today) for name in names]
    led, turned = leaders(cards), reversals(cards)
    if svg is not None:
        svg.write_text(drawing(happened, led, turned, shelf.today), encoding="utf-8")
    if as_json:
        print_json(_document(happened, kept, vendors, led, turned))
        return
    lines = [
        *plot(happened, out.width),
        Text(),
        *event_lines(happened, out.width),
        *kept_lines("vendors", vendors, out.width),
        *kept_lines("models", kept, out.width),
        *leader_lines(led, turned, out.width),
    ]
    for line in lines:
        out.print(line)
    if svg is not None:
        note(f"drawn into {svg}")


def _chosen(shelf: Shelf, family: str | None, vendor: str | None, task: str | None) -> list[Card]:
    """Cards that the options name.

    Raises:
        ConfigError: There is none.
    """
    cards = list(shelf.catalogue.cards())
    if family is not None:
        families = {card.family for card in cards}
        cards = [card for card in cards if card.family.casefold() == family.casefold()]
        if not cards:
            raise ConfigError(f"No family named `{family}`. {nearest(family, families)}")
    if vendor is not None:
        vendors = {card.vendor for card in cards}
        cards = [card for card in cards if vendor.casefold() in card.vendor.casefold()]
        if not cards:
            raise ConfigError(f"No vendor named `{vendor}`. {nearest(vendor, vendors)}")
    if task is not None:
        answering = [card for card in shelf.catalogue.cards() if task in shelf.presence(card).tasks]
        if not answering:
            tasks = {name for card in shelf.catalogue.cards() for name in shelf.presence(card).tasks}
            raise ConfigError(f"No card answers a task `{task}`. {nearest(task, tasks)}")
        following = {each.card.id for card in answering for each in successors(shelf.catalogue, Model(name=card.id))}
        cards = [card for card in cards if card in answering or card.id in following]
    return cards


def plot(happened: Sequence[Event], width: int) -> list[Text]:
    """A lane for each vendor, a column for each month or several."""
    dated = [(event, event.on) for event in happened if event.on is not None and event.kind != "claim"]
    if not dated:
        return [Text("nothing has a date", "dim")]
    first, last = (_month(pick(on for _, on in dated)) for pick in (min, max))
    room = max(12, min(width, 120) - LANE - 2)
    each = -(-(last - first + 1) // room)
    columns = (last - first) // each + 1
    scale = max(1, min(4, room // columns))
    lines: list[Text] = []
    for vendor in sorted({event.vendor for event, _ in dated}):
        lane: dict[int, Event] = {}
        for event, on in dated:
            place = (_month(on) - first) // each
            if event.vendor == vendor and (place not in lane or event.kind != "followed"):
                lane[place] = event
        line = Text(f"{vendor[:LANE]:<{LANE}}  ", "dim", no_wrap=True)
        for place in range(columns):
            mark, colour = MARKS[lane[place].kind] if place in lane else ("·", "dim")
            line.append(mark, colour or "bold")
            line.append(" " * (scale - 1))
        lines.append(line)
    lines.append(_years(first, columns, each, scale))
    used = {event.kind for event, _ in dated}
    legend = "  ".join(f"{mark} {kind}" for kind, (mark, _) in MARKS.items() if kind in used)
    return [*lines, *hanging(" " * (LANE + 2), Text(legend, "dim"), width)]


def _years(first: int, columns: int, each: int, scale: int) -> Text:
    """Where years begin, below the lanes."""
    row = [" "] * (columns * scale + 6)
    for place in range(columns):
        year, month = divmod(first + place * each, 12)
        if place == 0 or month < each:
            label = f"{year}" if month < each else f"{year}-{month + 1:02}"
            if place and "".join(row[place * scale - 1 : place * scale + 1]).strip():
                continue
            row[place * scale : place * scale + len(label)] = label
    return Text(f"{'':<{LANE}}  {''.join(row).rstrip()}", "dim", no_wrap=True)


def _month(day: date) -> int:
    return day.year * 12 + day.month - 1


def event_lines(happened: Sequence[Event], width: int) -> list[Text]:
    """What happened, in order."""
    together: dict[tuple[str | None, Kind, str], list[str]] = {}
    for event in happened:
        # One claim about several models is said once.
        together.setdefault((event.when, event.kind, event.says if event.kind == "claim" else event.model), []).append(
            event.model
        )
    said = {(event.when, event.kind, event.says if event.kind == "claim" else event.model): event for event in happened}
    rows = [
        {
            "when": Cell(event.when or UNKNOWN, "" if event.when else "dim"),
            "": Cell(event.kind, MARKS[event.kind][1]),
            "model": Cell(models[0] + (f" +{len(models) - 1}" if len(models) > 1 else "")),
            "what": Cell(event.says, "dim" if event.kind == "claim" else ""),
        }
        for event, models in ((said[key], models) for key, models in together.items())
    ]
    return _table(EVENTS, rows, width)


def kept_lines(title: str, kept: Sequence[Continuity], width: int) -> list[Text]:
    """Who keeps up what: each that is followed, lost or retired; of the others the names."""
    shown = [each for state in NEEDS_A_LOOK for each in kept if each.state == state]
    rows = [
        {"who": Cell(each.name), "state": Cell(each.state, STATES[each.state]), "why": Cell(_why(each))}
        for each in shown
    ]
    lines = [Text(), Text(title, "bold"), *(_table(KEPT, rows, width) if rows else [])]
    for state in ("active", "unknown"):
        names = [each.name for each in kept if each.state == state]
        if names:
            lines += hanging(f"{state:<8} ", Text(", ".join(names), "dim" if state == "unknown" else ""), width)
    return lines if kept else []


def _why(each: Continuity) -> str:
    proposed = f"; try {', '.join(each.followed_by[:2])}" if each.state == "orphaned" and each.followed_by else ""
    return "; ".join(each.reasons) + proposed


def leader_lines(led: Sequence[IndexVersion], turned: Sequence[Reversal], width: int) -> list[Text]:
    """The best open model of each country on each version of an index, and who changed places from one to the next."""
    if not led:
        return []
    title = Text("best open weights by country; each line is a scale of its own", "bold")
    lines = [Text(), *hanging("", title, width)]
    for each in led:
        lines += hanging("", Text(f"{each.index} {each.version}"), width)
        said = Text()
        for place, leader in enumerate(each.leaders):
            said.append("   " if place else "")
            said.append(f"{leader.country} {leader.value:g}", "bold" if not place else "")
            when = f", {leader.as_of}" if leader.as_of else ""
            said.append(f" {leader.model}{when}", "dim")
        lines += hanging("  ", said, width)
    for turn in turned[:MOST_REVERSALS]:
        then, now = (f"{a:g} : {b:g}" for a, b in (turn.values_before, turn.values_after[::-1]))
        lines += hanging(
            "  turned  ",
            Text(
                f"{turn.led} led {turn.leads} by {then} on {turn.before}; on {turn.after} {turn.leads} leads by {now}"
            ),
            width,
        )
    if len(turned) > MOST_REVERSALS:
        lines.append(Text(f"          and {len(turned) - MOST_REVERSALS} more pairs; `--json` has them", "dim"))
    return lines


def _table(columns: Columns, rows: Sequence[Mapping[str, Cell]], width: int) -> list[Text]:
    headings = {name: Cell(name, "dim") for name in columns.names}
    widths = columns.fitted({name: widest(name, name, rows) for name in columns.names}, width)
    return [columns.line(row, widths) for row in (headings, *rows)]


def _document(
    happened: Iterable[Event],
    kept: Iterable[Continuity],
    vendors: Iterable[Continuity],
    led: Iterable[IndexVersion],
    turned: Iterable[Reversal],
) -> dict[str, Any]:
    return {
        "events": [{"when": event.when, **_event(event)} for event in happened],
        "models": list(kept),
        "vendors": list(vendors),
        "leaders": list(led),
        "reversals": list(turned),
    }


def _event(event: Event) -> dict[str, str]:
    return {"kind": event.kind, "model": event.model, "vendor": event.vendor, "says": event.says}
