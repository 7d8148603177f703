"""Runs a tool: its inputs checked, its steps in their order, its output held to the contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from changeover.tools.declarations import Tool
from changeover.tools.means import Means
from changeover.tools.values import Outcome, Progress


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
        ChangeoverError: A task could not be asked, as the gateway reports it.
    """
    raise NotImplementedError
