"""The timeline on a terminal: a plot, a table, who keeps up what, and who led each version of an index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from rich.text import Text

from changeover.app.shelf import open_shelf
from changeover.app.timeline import NEEDS_A_LOOK, Timeline, timeline, told, why
from changeover.app.timeline_picture import drawing
from changeover.cli.columns import UNKNOWN, Cell, Columns, hanging, widest
from changeover.cli.frame import note, out, print_json
from changeover.library.timeline import Continuity, Event, IndexVersion, Kind, Reversal, State

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
    whole = timeline(shelf, family=family, vendor=vendor, task=task)
    if svg is not None:
        svg.write_text(drawing(whole.happened, whole.led, whole.turned, shelf.today), encoding="utf-8")
    if as_json:
        print_json(_document(whole))
        return
    lines = [
        *plot(whole.happened, out.width),
        Text(),
        *event_lines(whole.happened, out.width),
        *kept_lines("vendors", whole.vendors, out.width),
        *kept_lines("models", whole.models, out.width),
        *leader_lines(whole.led, whole.turned, out.width),
    ]
    for line in lines:
        out.print(line)
    if svg is not None:
        note(f"drawn into {svg}")


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
    rows = [
        {
            "when": Cell(each.event.when or UNKNOWN, "" if each.event.when else "dim"),
            "": Cell(each.event.kind, MARKS[each.event.kind][1]),
            "model": Cell(each.models[0] + (f" +{len(each.models) - 1}" if len(each.models) > 1 else "")),
            "what": Cell(each.event.says, "dim" if each.event.kind == "claim" else ""),
        }
        for each in told(happened)
    ]
    return _table(EVENTS, rows, width)


def kept_lines(title: str, kept: Sequence[Continuity], width: int) -> list[Text]:
    """Who keeps up what: each that is followed, lost or retired; of the others the names."""
    shown = [each for state in NEEDS_A_LOOK for each in kept if each.state == state]
    rows = [
        {"who": Cell(each.name), "state": Cell(each.state, STATES[each.state]), "why": Cell(why(each))}
        for each in shown
    ]
    lines = [Text(), Text(title, "bold"), *(_table(KEPT, rows, width) if rows else [])]
    for state in ("active", "unknown"):
        names = [each.name for each in kept if each.state == state]
        if names:
            lines += hanging(f"{state:<8} ", Text(", ".join(names), "dim" if state == "unknown" else ""), width)
    return lines if kept else []


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


def _document(whole: Timeline) -> dict[str, Any]:
    return {
        "events": [{"when": event.when, **_event(event)} for event in whole.happened],
        "models": list(whole.models),
        "vendors": list(whole.vendors),
        "leaders": list(whole.led),
        "reversals": list(whole.turned),
    }


def _event(event: Event) -> dict[str, str]:
    return {"kind": event.kind, "model": event.model, "vendor": event.vendor, "says": event.says}
