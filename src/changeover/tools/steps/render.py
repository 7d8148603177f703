"""`render`: a template of the tool's is filled in."""

from __future__ import annotations

from changeover.core.errors import ContractError
from changeover.tools import expressions
from changeover.tools.declarations import RenderStep
from changeover.tools.load import read_beside
from changeover.tools.steps.run import Run


async def render(step: RenderStep, run: Run) -> str:
    """Fill in a template with every input and result."""
    try:
        return expressions.render(read_beside(run.tool, step.template), run.values)
    except ContractError as exc:
        raise ContractError(f"The step `{step.name}`: `{step.template}`: {exc.message}") from exc
