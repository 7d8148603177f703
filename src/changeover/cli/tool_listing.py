"""The work of `changeover tools` and `changeover tool show`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from changeover.app.tool_rows import ToolRow, list_tools, of_project, shipped
from changeover.cli.columns import Cell, Columns, widest
from changeover.cli.frame import out, plain, print_json
from changeover.core.errors import UnknownToolError, nearest
from changeover.core.settings import find_project
from changeover.tools.declarations import Tool

COLUMNS = Columns(
    names=("tool", "title", "answered by", "tier", "small models", "example"),
    concessions=(("example", 0), ("small models", 0), ("title", 18), ("tier", 0), ("answered by", 24), ("title", 0)),
)
NOT_ADDED = "not added"


def list_all(as_json: bool) -> None:
    """Print every tool."""
    project = find_project(Path.cwd())
    rows = list_tools(project)
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
        return
    lines = [(row, _lines(row)) for row in rows if row.problem is None]
    cells = [line for _, tool in lines for line in tool]
    widths = COLUMNS.fitted({name: widest(name, name, cells) for name in COLUMNS.names}, out.width) if cells else {}
    if cells:
        out.print(COLUMNS.line({name: Cell(name, "dim") for name in COLUMNS.names}, widths))
    for group, members in groupby(lines, key=lambda pair: pair[0].group):
        out.print(f"[bold]{plain(group)}[/]")
        for _, tool in members:
            for line in tool:
                out.print(COLUMNS.line(line, widths))
    for row in rows:
        if row.problem is not None:
            out.print(f"[red]broken[/]  {plain(row.name)}  {plain(row.problem)}", soft_wrap=True)
    _ending(rows, in_project=project is not None)


def show(name: str, as_json: bool) -> None:
    """Print one tool whole."""
    project = find_project(Path.cwd())
    rows = {row.name: row for row in list_tools(project)}
    if name not in rows:
        raise UnknownToolError(f"No tool named `{name}`. {nearest(name, rows)}")
    row = rows[name]
    places = of_project(project) if project is not None and row.added else shipped()
    tool = places.tools[name]  # of one that is broken this says why
    if as_json:
        declared = tool.declared.model_dump(mode="json", exclude_unset=True)
        print_json({**dataclasses.asdict(row), "folder": tool.folder, "digest": tool.digest, "declared": declared})
        return
    out.print(f"[bold]{plain(row.name)}[/]  {plain(row.title)}" + ("" if row.added else f"  [yellow]{NOT_ADDED}[/]"))
    out.print(plain(row.description), soft_wrap=False)
    out.print(f"[dim]{plain(row.group)} · tier {row.tier} · {plain(tool.folder)}[/]\n")
    for title, lines in (
        ("takes", _inputs(tool)),
        ("does", _steps(tool)),
        ("asks", _tasks(row)),
        ("gives", _gives(tool)),
    ):
        for number, line in enumerate(lines):
            out.print(f"[dim]{title if number == 0 else '':<7}[/]{line}")
    added = "" if row.added else f"changeover tool add {row.name} && "
    out.print(f"\n[dim]try[/]    {added}changeover run {row.name} --example")


def _lines(row: ToolRow) -> list[dict[str, Cell]]:
    """A line of the tool, with its first task; one more for each further task."""
    style = "" if row.added else "dim"
    answered = [_answered(row, place) for place in range(len(row.tasks))] or [Cell("no task")]
    first = {
        "tool": Cell(row.name, style or "bold"),
        "title": Cell(row.title, style),
        "answered by": answered[0],
        "tier": Cell(row.tier, "yellow" if row.tier == "high" and row.added else style),
        "small models": Cell(_baseline(row), style),
        "example": Cell(", ".join(_examples(row)), "dim"),
    }
    more = [{**{name: Cell("") for name in COLUMNS.names}, "answered by": cell} for cell in answered[1:]]
    return [first, *more]


def _answered(row: ToolRow, place: int) -> Cell:
    task = row.tasks[place]
    short = task.name.removeprefix(f"{row.name}.")
    meant = "" if task.family is None else f" ({task.family})"
    if not row.added:
        return Cell(f"{NOT_ADDED}: {short}{meant}", "dim")
    if task.answers is None:
        return Cell(f"{short}{meant}: not applied", "yellow")
    return Cell(f"{short}{meant}: {task.answers}")


def _baseline(row: ToolRow) -> str:
    """The best of what was measured, in points of 100, and the floor below which nothing is promoted."""
    results: list[dict[str, Any]] = [] if row.baseline is None else list(row.baseline.get("results") or ())
    if row.baseline is None or not results:
        return "–"
    best = max(results, key=lambda result: result["score"])
    floor = row.baseline.get("floor")
    return f"{100 * best['score']:.0f} {best['model']}" + ("" if floor is None else f", floor {100 * floor:.0f}")


def _examples(row: ToolRow) -> Iterable[str]:
    """What the tool's example gives: files by their names, texts by those of their inputs."""
    for name, value in row.example.items():
        for each in value if isinstance(value, list) else [value]:  # pyright: ignore[reportUnknownVariableType]
            if isinstance(each, str) and each.startswith("@"):
                yield each[1:]
            elif row.inputs.get(name) in ("text", "conversation"):
                yield name
                break


def _ending(rows: list[ToolRow], *, in_project: bool) -> None:
    own = sum(row.added for row in rows)
    more = len(rows) - own
    if not in_project:
        out.print(
            f"\n{more} tool{'' if more == 1 else 's'} come{'s' if more == 1 else ''} with changeover. In a project: changeover tool add NAME, or --all"
        )
    elif more:
        out.print(f"\n{own} in this project; {more} more with changeover: changeover tool add NAME, or --all")
    else:
        out.print(f"\n{own} in this project. Run one: changeover run NAME --example")


def _inputs(tool: Tool) -> list[str]:
    lines: list[str] = []
    for name, given in tool.declared.inputs.items():
        kind = f"one of {', '.join(given.choices)}" if given.choices else given.type
        default = f"{given.default:g}" if isinstance(given.default, float) else given.default
        may = "" if not given.optional else "; optional" if default is None else f"; else {default}"
        lines.append(f"{plain(name)}  [dim]{plain(kind)}{plain(may)}[/]  {plain(given.description)}")
    return lines


def _steps(tool: Tool) -> list[str]:
    asks = [getattr(step, "task", None) for step in tool.declared.steps]
    return [
        f"{plain(step.name)}  [dim]{step.do}{'' if task is None else f' {plain(task)}'}[/]"
        for step, task in zip(tool.declared.steps, asks, strict=True)
    ]


def _tasks(row: ToolRow) -> list[str]:
    return [
        f"{plain(task.name)}  [dim]meant for {plain(task.family or 'any')}; begins with {plain(task.first_incumbent)}; "
        f"answered by {plain(task.answers or 'nobody yet')}[/]"
        for task in row.tasks
    ]


def _gives(tool: Tool) -> list[str]:
    output = tool.declared.output
    cites = "" if output.citations is None else ", citations"
    return [f"{plain(', '.join(output.value))}  [dim]as {plain(output.schema_file)} says; text{cites}[/]"]
