"""The work of `changeover candidates`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from changeover.app.candidates import Candidate, Candidates, Cost, Memory
from changeover.cli.columns import UNKNOWN, Cell, Columns, apart, widest
from changeover.cli.frame import out, print_json
from changeover.cli.running import opened
from changeover.core.clock import span
from changeover.core.sizes import part_of_gib

COLUMNS = Columns(
    names=("candidate", "for", "released", "memory", "licence", "runs here", "calls", "at most", "time", "cost"),
    right=("calls", "at most", "time", "cost"),
    concessions=(
        ("for", 16),
        ("released", 0),
        ("at most", 0),
        ("licence", 10),
        ("memory", 0),
        ("cost", 0),
        ("licence", 0),
        ("time", 0),
        ("for", 0),
        ("runs here", 0),
    ),
)
TITLES = {
    "successor": "newer versions of what answers now",
    "other": "other models that could be tried",
}
NOT_HERE = ("no source", "by a server only")
"""Ways to run that need a person first."""
SHOWN_TASKS = 2


def list_candidates(task: str | None, as_json: bool) -> None:
    """Print what could be tried, successors first."""
    looking = Candidates(opened(), task)
    found = looking.find()
    if as_json:
        print_json({"tasks": looking.tasks, "candidates": found})
        return
    for line in candidate_lines(found, out.width, all_tasks=len(looking.tasks)):
        out.print(line)


def candidate_lines(found: Sequence[Candidate], width: int, *, all_tasks: int) -> list[Text]:
    """Two tables with the same columns, and the next command.

    Of what follows no incumbent and only a server could run, the library has most of its cards: they are counted.
    """
    elsewhere = sum(_only_elsewhere(each) for each in found)
    found = [each for each in found if not _only_elsewhere(each)]
    cells = [_cells(each, all_tasks) for each in found]
    headings = {name: Cell(name, "dim") for name in COLUMNS.names}
    widths = COLUMNS.fitted({name: widest(name, name, cells) for name in COLUMNS.names}, width)
    lines: list[Text] = []
    for relation, title in TITLES.items():
        rows = [row for each, row in zip(found, cells, strict=True) if each.relation == relation]
        if not rows and relation == "successor":
            lines.append(Text("no card of the library is a newer version of what answers now", "dim"))
        if rows:
            lines += [Text(title, "bold"), COLUMNS.line(headings, widths), *(COLUMNS.line(row, widths) for row in rows)]
        if relation == "successor":
            lines.append(Text(""))
    if elsewhere:
        lines.append(Text(f"and {elsewhere} more that only a server could run: `changeover models` lists them", "dim"))
    lines += [Text(f"{task}: {why}", "dim") for task, why in _uncosted(found).items()]
    lines += [
        Text(f"{each.name} cannot serve {task}: {why}", "dim")
        for each in found
        if each.succeeds
        for task, why in each.cannot.items()
    ]
    if not found:
        return [*lines, Text("nothing could be tried: add cards below library/, or deploy a server's model")]
    judged = " · +: and a judge's" if any(each.cost is not None and each.cost.judged for each in found) else ""
    legend = f"calls of a trial, if it is as good{judged} · ≥: its weights alone"
    return [*lines, *apart(Text(legend, "dim"), Text(_following(found), "bold"), width)]


def _only_elsewhere(candidate: Candidate) -> bool:
    return candidate.relation == "other" and candidate.runs == "by a server only"


def _following(found: Sequence[Candidate]) -> str:
    """The next command: for the first newer version, where there is one."""
    newer = next((each for each in found if each.relation == "successor" and each.tasks), None)
    if newer is None:
        return "changeover trial CANDIDATE"
    if newer.runs in NOT_HERE:
        return f"changeover deploy {newer.name} --engine openai --url …"
    return f"changeover trial {newer.name}"


def _uncosted(found: Sequence[Candidate]) -> dict[str, str]:
    return {task: why for each in found for task, why in each.uncosted.items()}


def _cells(candidate: Candidate, all_tasks: int) -> dict[str, Cell]:
    return {
        "candidate": Cell(candidate.name, "bold" if candidate.relation == "successor" else ""),
        "for": Cell(_tasks(candidate, all_tasks)),
        "released": Cell(candidate.released or UNKNOWN, "" if candidate.released else "dim"),
        "memory": Cell(UNKNOWN if candidate.runs == "on a server" else _memory(candidate.memory)),
        "licence": _licence(candidate),
        "runs here": Cell(candidate.runs),
        **{name: Cell(text) for name, text in _cost(candidate.cost).items()},
    }


def _licence(candidate: Candidate) -> Cell:
    if candidate.denied and not candidate.tasks:
        return Cell("denied", "red")
    return Cell(candidate.licence or "unknown", "" if candidate.licence else "dim")


def _tasks(candidate: Candidate, all_tasks: int) -> str:
    """Tasks whose incumbent it follows, and how many more."""
    if not candidate.tasks:
        return f"none of {len(candidate.cannot)}"
    if not candidate.succeeds and len(candidate.tasks) == all_tasks > SHOWN_TASKS:
        return f"all {all_tasks} tasks"
    named = [task for task in candidate.tasks if task in candidate.succeeds] or list(candidate.tasks)
    shown = named[:SHOWN_TASKS]
    more = len(candidate.tasks) - len(shown)
    return ", ".join(shown) + (f" +{more}" if more else "")


def _memory(memory: Memory) -> str:
    if memory.needs is None:
        return "unknown"
    return f"{'' if memory.measured else '≈ '}{part_of_gib(memory.needs, memory.budget)}"


def _cost(cost: Cost | None) -> dict[str, str]:
    """What a trial would cost, in its four columns."""
    if cost is None:
        return dict.fromkeys(("calls", "at most", "time", "cost"), UNKNOWN)
    return {
        "calls": f"{cost.calls:,}{'+' if cost.judged else ''}",
        "at most": f"{cost.most_calls:,}{'+' if cost.judged else ''}",
        "time": UNKNOWN if cost.seconds is None else f"~ {span(max(cost.seconds, 1))}",
        "cost": UNKNOWN if cost.usd is None else f"${cost.usd:.2f}",
    }
