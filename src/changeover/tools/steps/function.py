"""`function`: a Python function of the organisation's own."""

from __future__ import annotations

from typing import Any

from changeover.core.errors import RequestError
from changeover.tools.declarations import FunctionStep
from changeover.tools.functions import Bounds, RefusedValueError, call_function
from changeover.tools.load import beside
from changeover.tools.plain import as_json
from changeover.tools.steps.run import Run


async def function(step: FunctionStep, run: Run) -> Any:
    """Call a function with what the step gives it.

    Raises:
        RequestError: It refuses a value before any model has said a word: then the caller gave it.
    """
    given = {name: as_json(run.value(expression)) for name, expression in step.give.items()}
    bounds = Bounds(seconds=step.timeout_s, memory_mib=step.memory_mib)

    async def make() -> Any:
        file = beside(run.tool, step.file)
        value = await call_function(file, step.call, bounds, folder=run.tool.folder, keywords=given)
        return {"value": value}

    try:
        return (await run.once(f"{step.name}/0", make))["value"]
    except RefusedValueError as refused:
        if run.answered:
            raise
        raise RequestError(f"What was given cannot be used: {refused.reason.rstrip('.')}.") from refused
