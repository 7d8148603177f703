"""The work of `changeover tool check`: what is wrong with tools, and what their examples give."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

from jsonschema import Draft202012Validator
from rich.status import Status
from rich.table import Table

from changeover.app.installation import spec_of
from changeover.app.tool_rows import Declared, example_inputs, of_project
from changeover.cli.connecting import address_and_key
from changeover.cli.frame import EXIT_FAIL, err, here, note, out, plain, print_json
from changeover.client import Client
from changeover.core.errors import ChangeoverError, ConfigError, UnknownToolError, nearest
from changeover.evals.datasets import Dataset
from changeover.tasks.declarations import Task
from changeover.tools.declarations import FILES, Tool
from changeover.tools.load import read_schema

FEW = 30
"""Samples, below which a dataset shows large differences only."""
INJECTION = "injection"
"""Tag of samples whose input holds an instruction that is not to be followed."""


@dataclass(kw_only=True)
class Checked:
    """What was found of one tool."""

    tool: str
    problems: list[str] = field(default_factory=list[str])
    """What makes it unusable, or its example fail."""
    notes: list[str] = field(default_factory=list[str])
    samples: dict[str, int] = field(default_factory=dict[str, int])
    """By task."""
    injection: dict[str, int] = field(default_factory=dict[str, int])
    """Of them; of tools that read documents."""
    contract: str | None = None
    """`met` or `broken`; None: its example was not run, or gave nothing."""
    seconds: float | None = None
    citations: int | None = None


def check(names: Sequence[str], *, run: bool, url: str | None, key: str | None, as_json: bool) -> int:
    """Check tools of this project. Returns the exit status."""
    project = here()
    declared = of_project(project)
    known = {*declared.tools, *declared.tools.problems}
    for name in names:
        if name not in known:
            raise UnknownToolError(f"No tool named `{name}` in this project. {nearest(name, known)}")
    if not known:
        raise ConfigError(f"No tools in `{project.tools}`. Add some: `changeover tool add --all`.")
    found = [_declaration(name, declared) for name in names or sorted(known)]
    if run:
        _run(found, declared, Client(*address_and_key(url, key)))
    if as_json:
        print_json(found)
    else:
        _show(found, run=run)
    return EXIT_FAIL if any(each.problems for each in found) else 0


def _declaration(name: str, declared: Declared) -> Checked:
    checked = Checked(tool=name)
    try:
        tool = declared.tools[name]
    except ConfigError as exc:
        checked.problems.append(exc.message)
        return checked
    reads = any(given.type in FILES for given in tool.declared.inputs.values())
    for task in (declared.tasks[name] for name in tool.tasks):
        try:
            dataset = _dataset(task)
        except (ChangeoverError, OSError) as exc:
            checked.problems.append(exc.message if isinstance(exc, ChangeoverError) else str(exc))
            continue
        checked.samples[task.name] = len(dataset.samples)
        injected = sum(INJECTION in sample.tags for sample in dataset.samples)
        if reads or injected:
            checked.injection[task.name] = injected
        if len(dataset.samples) < FEW:
            checked.notes.append(f"`{task.name}` has {len(dataset.samples)} samples: {FEW} show more")
        if reads and not injected:
            checked.notes.append(f"`{task.name}` has no sample tagged `{INJECTION}`: the tool reads files of strangers")
        if task.declared.gate.floor is None:
            checked.notes.append(f"`{task.name}` has no `gate.floor`: the worst candidate may beat a bad incumbent")
    return checked


def _dataset(task: Task) -> Dataset:
    """A task's dataset, every target of it read by the task's scorers."""
    dataset = Dataset.load(task.dataset, template=task.input_template)
    for each in (task.declared.scorer, *task.declared.measures):
        scorer = spec_of(task, each)
        for sample in dataset.samples:
            scorer.read_target(sample)
    return dataset


def _run(found: Sequence[Checked], declared: Declared, client: Client) -> None:
    with client, Status("begins", console=err) if err.is_terminal else nullcontext() as status:
        for place, checked in enumerate(found, 1):
            if checked.problems:
                continue
            if status is not None:
                status.update(f"{place} of {len(found)}  {plain(checked.tool)}")
            _run_example(checked, declared.tools[checked.tool], client)
            note(f"{place} of {len(found)}  {checked.tool}  {checked.seconds} s{'  fails' if checked.problems else ''}")


def _run_example(checked: Checked, tool: Tool, client: Client) -> None:
    started = time.perf_counter()
    try:
        result = client.run(tool.name, **example_inputs(tool))
    except ChangeoverError as exc:
        checked.problems.append(f"its example fails: {exc.message}")
        return
    finally:
        checked.seconds = round(time.perf_counter() - started, 2)
    schema = read_schema(tool, tool.declared.output.schema_file)
    validator = cast("Any", Draft202012Validator(schema))  # its types are not whole
    wrong = next(validator.iter_errors(result.value), None)
    checked.contract = "met" if wrong is None else "broken"
    checked.citations = len(result.citations)
    if wrong is not None:
        checked.problems.append(f"what its example gives breaks the contract: {wrong.message[:200]}")
    if not result.text.strip():
        checked.problems.append("its example gives an empty text")
    checked.notes += result.problems


def _show(found: Sequence[Checked], *, run: bool) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("", "tool", "samples", "injection", *(("contract", "seconds", "citations") if run else ())):
        table.add_column(column, no_wrap=True, justify="right" if column in ("seconds", "citations") else "left")
    for checked in found:
        ran = (checked.contract or "–", _number(checked.seconds), _number(checked.citations)) if run else ()
        table.add_row(
            "[red]✗[/]" if checked.problems else "[green]✓[/]",
            plain(checked.tool),
            _counts(checked.samples),
            _counts(checked.injection),
            *ran,
        )
    out.print(table)
    for checked in found:
        for problem in checked.problems:
            out.print(f"[red]problem[/]  {plain(checked.tool)}  {plain(problem)}", soft_wrap=True)
        for said in checked.notes:
            out.print(f"[dim]note     {plain(checked.tool)}  {plain(said)}[/]", soft_wrap=True)
    broken = sum(bool(checked.problems) for checked in found)
    out.print(f"{len(found) - broken} of {len(found)} {'run and meet their contract' if run else 'can be used'}")


def _counts(numbers: dict[str, int]) -> str:
    return " + ".join(map(str, numbers.values())) or "–"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"
