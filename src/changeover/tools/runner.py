"""Runs a tool: its inputs checked, its steps in their order, its output held to the contract."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from changeover.core.errors import ContractError, OverdueError
from changeover.core.threads import in_thread
from changeover.gateway.contract.structured import Expectation
from changeover.tools.declarations import (
    ASKING,
    CallStep,
    ReduceStep,
    StepDeclaration,
    Tool,
    ValidateStep,
)
from changeover.tools.expressions import names_in
from changeover.tools.inputs import output_schema, read_inputs
from changeover.tools.means import Means
from changeover.tools.plain import as_json, listed, text_of, whole_characters
from changeover.tools.steps.asking import call, map_over
from changeover.tools.steps.cite import cite
from changeover.tools.steps.extract import extract, read_file
from changeover.tools.steps.function import function
from changeover.tools.steps.knowledge import folders_of
from changeover.tools.steps.look_up import look_up
from changeover.tools.steps.reduce import reduce
from changeover.tools.steps.render import render
from changeover.tools.steps.run import Run
from changeover.tools.steps.split import split
from changeover.tools.steps.validate import validate
from changeover.tools.tables import rows_of
from changeover.tools.values import Citation, File, Found, Outcome, Progress, StepTook

MOST_QUOTE = 300
_STEPS: Mapping[str, Callable[[Any, Run], Awaitable[Any]]] = {
    "extract": extract,
    "split": split,
    "call": call,
    "map": map_over,
    "reduce": reduce,
    "look-up": look_up,
    "cite": cite,
    "validate": validate,
    "render": render,
    "function": function,
}


async def run_tool(
    tool: Tool,
    given: Mapping[str, Any],
    means: Means,
    *,
    on_progress: Callable[[Progress], None],
    stream: bool = False,
) -> Outcome:
    """Run a tool on inputs.

    Args:
        tool: What to run.
        given: Inputs by name, as they came: JSON values, and `File`s.
        means: What it may use.
        on_progress: Told before each step, and after each of its calls and pages.
        stream: Whether progress shall carry the pieces of the last answer as they are written.

    Raises:
        RequestError: An input is missing, unknown, or not what is declared; names it, and the limit.
        DocumentError: A file cannot be read.
        ContractError: What came out breaks the tool's contract.
        OverdueError: The tool's time is over.
        ChangeoverError: A task could not be asked, as the gateway reports it.
    """
    inputs = await in_thread(partial(read_inputs, tool, given), means.pool)
    run = Run(
        tool=tool,
        means=means,
        inputs=inputs,
        values={**inputs, "knowledge": folders_of(tool)},
        report=on_progress,
        streams=streamed(tool) if stream else None,
    )
    run.values["problems"] = run.problems
    seconds = tool.declared.timeout_s
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            await _read_tables(run)
            took = [each for step in enumerate(tool.declared.steps, start=1) if (each := await _step(run, *step))]
            return await _outcome(run, took)
    except TimeoutError as exc:
        if not deadline.expired():
            raise
        raise OverdueError(
            f"`{tool.name}` did not end within its {seconds:g} s: it was at step {run.number} of "
            f"{len(tool.declared.steps)}. Give it less, or raise its `timeout_s`."
        ) from exc


def streamed(tool: Tool) -> str | None:
    """The step whose answer is the output's text, as it is written; None: something may still change it."""
    steps = {step.name: step for step in tool.declared.steps}
    step = steps.get(tool.declared.output.text.strip())
    while isinstance(step, ValidateStep) and step.otherwise == "flag" and step.repair is None:
        step = steps.get(step.value.strip())
    if not isinstance(step, CallStep | ReduceStep) or step.answer != "text":
        return None
    asking = [each for each in tool.declared.steps if isinstance(each, ASKING)]
    later = (each for each in tool.declared.steps if isinstance(each, ValidateStep))
    held = any(
        each.repair == step.name or (each.otherwise == "fail" and step.name in names_in(each.value)) for each in later
    )
    return step.name if asking[-1] is step and not held else None


async def _read_tables(run: Run) -> None:
    """Tables that came as files become rows."""
    for name, declared in run.tool.declared.inputs.items():
        value = run.inputs[name]
        if declared.type == "table" and isinstance(value, File):
            document = await read_file(run, f"inputs.{name}", value, declared)
            run.read[name] = document
            run.values[name] = await run.compute(partial(rows_of, document))


async def _step(run: Run, number: int, step: StepDeclaration) -> StepTook | None:
    """Do one step; None: it was left out."""
    run.begin(number, step)
    run.values[step.name] = None
    if step.when is not None and not run.value(step.when):
        return None
    begun = time.monotonic()
    run.values[step.name] = await _STEPS[step.do](step, run)
    run.end()
    seconds = round(time.monotonic() - begun, 3)
    return StepTook(name=step.name, do=step.do, calls=run.calls, seconds=seconds, repairs=run.repairs)


async def _outcome(run: Run, took: list[StepTook]) -> Outcome:
    """What the run gives, once it meets the contract."""
    tool, output = run.tool, run.tool.declared.output
    run.step = None
    value = {key: as_json(run.value(expression)) for key, expression in output.value.items()}
    schema = await run.compute(partial(output_schema, tool))
    problem = await Expectation(schema=schema).problem_of(json.dumps(value))
    if problem is not None:
        raise ContractError(f"What `{tool.name}` made breaks its contract: {problem}.")
    cited = None if output.citations is None else run.value(output.citations)
    return Outcome(
        tool=tool.name,
        digest=tool.digest,
        value=value,
        text=whole_characters(text_of(run.value(output.text))),
        citations=_citations(cited),
        problems=list(run.problems),
        steps=took,
        answered_by=run.answered_by(),
    )


def _citations(cited: Any) -> list[Citation]:
    """Citations, of passages that were looked up too."""
    found: list[Citation] = []
    for each in listed(cited):
        if isinstance(each, Citation):
            found.append(each)
        elif isinstance(each, Found):
            page = each.pages[0] if each.pages else None
            found.append(
                Citation(
                    claim=each.question,
                    document=each.document,
                    page=page,
                    label=each.label,
                    quote=each.text[:MOST_QUOTE],
                    score=each.score,
                    supported=True,
                )
            )
    return found
