"""Tools as a list shows them: those of a project, and those that come with the package; who answers their tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from changeover.app.installation import read_tools, was_started
from changeover.app.shipped_tools import baselines, shipped_folder
from changeover.core.settings import Project
from changeover.serving.queries import load_variants
from changeover.store.engine import Store
from changeover.tasks.declarations import Task, load_all_tasks, load_tool_tasks
from changeover.tasks.queries import current_routes
from changeover.tools.declarations import Tool, Tools
from changeover.tools.load import load_tools


@dataclass(frozen=True, kw_only=True)
class TaskRow:
    """A task that a tool asks."""

    name: str
    family: str | None
    """What it is meant for; evidence decides."""
    tier: str | None
    first_incumbent: str | None
    answers: str | None
    """The deployment that answers now; None: nothing of it was applied."""


@dataclass(frozen=True, kw_only=True)
class ToolRow:
    """A tool, or what is wrong with one."""

    name: str
    added: bool
    """Whether it is the project's; else it only comes with the package."""
    problem: str | None = None
    title: str = ""
    description: str = ""
    group: str = "Other"
    tier: str = ""
    tasks: tuple[TaskRow, ...] = ()
    inputs: Mapping[str, str]
    """Types by name."""
    example: Mapping[str, Any]
    chat: bool = False
    baseline: Mapping[str, Any] | None = None
    """What was measured, as it is shipped, of the task that gives its answer: the last one that it asks."""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """The tools of a place, and every task that they may ask."""

    tools: Tools
    tasks: Mapping[str, Task]


def shipped() -> Declared:
    """What comes with the package."""
    return Declared(tools=load_tools(shipped_folder()), tasks=load_tool_tasks(shipped_folder()))


def of_project(project: Project) -> Declared:
    """What a project declares, checked against its tasks."""
    tasks = load_all_tasks(project.tasks, project.tools)
    return Declared(tools=read_tools(project, tasks), tasks=tasks)


def list_tools(project: Project | None) -> list[ToolRow]:
    """Every tool of a project, and those that could be added to it, by group and name."""
    measured = baselines()
    rows: list[ToolRow] = []
    if project is not None:
        own, answering = of_project(project), _answering(project)
        rows += [_row(tool, own.tasks, answering, measured, added=True) for tool in own.tools.values()]
        rows += [
            ToolRow(name=name, added=True, problem=problem.message, inputs={}, example={})
            for name, problem in own.tools.problems.items()
        ]
    known, offered = {row.name for row in rows}, shipped()
    rows += [
        _row(tool, offered.tasks, {}, measured, added=False)
        for tool in offered.tools.values()
        if tool.name not in known
    ]
    return sorted(rows, key=lambda row: (row.group == "Other", row.group, row.name))


def _row(
    tool: Tool,
    tasks: Mapping[str, Task],
    answering: Mapping[str, str],
    measured: Mapping[str, Mapping[str, Any]],
    *,
    added: bool,
) -> ToolRow:
    declared = tool.declared
    return ToolRow(
        name=tool.name,
        added=added,
        title=declared.title,
        description=declared.description,
        group=declared.group,
        tier=declared.tier,
        tasks=tuple(_task(name, tasks.get(name), answering) for name in tool.tasks),
        inputs={name: given.type for name, given in declared.inputs.items()},
        example=declared.example,
        chat=declared.chat is not None,
        baseline=next((measured[name] for name in reversed(tool.tasks) if name in measured), None),
    )


def _task(name: str, task: Task | None, answering: Mapping[str, str]) -> TaskRow:
    declared = None if task is None else task.declared
    return TaskRow(
        name=name,
        family=None if declared is None else declared.family,
        tier=None if declared is None else declared.tier,
        first_incumbent=None if declared is None else declared.first_incumbent,
        answers=answering.get(name),
    )


def _answering(project: Project) -> dict[str, str]:
    """The deployment that answers each task of a project."""
    if not was_started(project):
        return {}
    store = Store.open(project.store_url)
    try:
        with store.read() as connection:
            routes = current_routes(connection)
            variants = load_variants(connection, [route.incumbent for route in routes.values()])
    finally:
        store.close()
    return {name: variants[route.incumbent].deployment for name, route in routes.items()}


def example_inputs(tool: Tool) -> dict[str, Any]:
    """A tool's example as the client takes it: files as paths, a text that is in a file as text."""
    declared = tool.declared

    def read(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [read(name, each) for each in value]  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(value, str) or not value.startswith("@"):
            return value
        file: Path = tool.folder / value[1:]
        return file.read_text() if declared.inputs[name].type in ("text", "list") else file

    return {name: read(name, value) for name, value in declared.example.items()}
