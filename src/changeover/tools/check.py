"""Checking a tool against the tasks that it asks."""

from __future__ import annotations

from collections.abc import Mapping

from changeover.core.errors import ConfigError, DatasetError, nearest
from changeover.evals.datasets.render import InputTemplate
from changeover.tasks.declarations import Task
from changeover.tools.declarations import ASKING, CallStep, MapStep, ReduceStep, Tool

TIERS = ("low", "medium", "high")
RECORDS = ("off", "metadata", "redacted", "full")
"""From the least that is kept to the most."""
PLAIN = frozenset({"text"})
"""What a task without an input template is given."""


def check_tool(tool: Tool, tasks: Mapping[str, Task]) -> None:
    """See that every task that a tool asks is declared and takes what the tool gives it.

    Raises:
        ConfigError: What is wrong: the file, the step, and what to do.
    """
    for place, step in enumerate(tool.declared.steps):
        if isinstance(step, ASKING):
            try:
                _check_step(tool, step, tasks)
            except ConfigError as exc:
                raise ConfigError(f"{tool.folder}/tool.toml: `steps[{place}]` (`{step.name}`): {exc.message}") from exc


def _check_step(tool: Tool, step: CallStep | MapStep | ReduceStep, tasks: Mapping[str, Task]) -> None:
    name = tool.task_of(step)
    try:
        task = tasks[name]
    except KeyError:
        raise ConfigError(
            f"no task `{step.task}`. {nearest(name, tasks)} Declare it in `tasks/{step.task}.toml`."
        ) from None
    if TIERS.index(task.declared.tier) < TIERS.index(tool.declared.tier):
        raise ConfigError(
            f"task `{name}` is of tier `{task.declared.tier}` and the tool of tier `{tool.declared.tier}`. "
            "Raise the task's: it is what is switched."
        )
    kept, may_be = task.declared.record, tool.declared.record
    if RECORDS.index(kept) > RECORDS.index(may_be):
        raise ConfigError(
            f'task `{name}` has `record = "{kept}"`, which keeps more than the tool says: `record = "{may_be}"`. Lower the '
            "task's, or raise the tool's: those who use it go by that."
        )
    if isinstance(step, CallStep) and step.messages is not None:
        return
    wanted = variables_of(task)
    given = step.give.keys()
    for key in sorted(given - wanted):
        raise ConfigError(f"task `{name}` takes no `{key}`. {nearest(key, wanted)}")
    for key in sorted(wanted - given):
        raise ConfigError(f"task `{name}` needs `{key}`: give it, as in `give = {{ {key} = … }}`.")


def variables_of(task: Task) -> frozenset[str]:
    """What a task is given: the variables of its input template, or one text.

    Raises:
        ConfigError: The template is broken.
    """
    if task.input_template is None:
        return PLAIN
    try:
        return InputTemplate(task.input_template).names
    except DatasetError as exc:
        raise ConfigError(f"{task.file}: `input`: {exc.message}") from exc
