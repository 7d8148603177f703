"""`reduce`: a list becomes one text, in rounds of as many members as fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from changeover.core.errors import ContractError
from changeover.tools.declarations import ReduceStep
from changeover.tools.plain import text_of
from changeover.tools.steps.asking import ask, at_once, message_of
from changeover.tools.steps.run import Run

JOIN = "\n\n"


async def reduce(step: ReduceStep, run: Run) -> Any:
    """Ask about as many members as fit, then about what came of them, until one is left.

    A list of one is that one; an empty list is an empty text.
    """
    members = run.value(step.over)
    if not isinstance(members, (list, tuple)):
        raise ContractError(f"The step `{step.name}`: `over` = `{step.over}` is no list.")
    left = [member for member in cast("Sequence[Any]", members) if text_of(member).strip()]
    if not left:
        return ""
    asked, alone = 0, False
    while len(left) > 1:
        groups = list(_groups(left, step.max_chars))
        if alone and len(groups) == len(left):
            run.problem(f"`{step.name}`: what was to be put together stayed too long, and was cut.")
            half = (step.max_chars - len(JOIN)) // 2
            left = [text_of(member)[:half] for member in left]
            groups = list(_groups(left, step.max_chars))
        alone = len(groups) == len(left)  # no two fit together: each is made shorter by itself
        wanted = [group for group in groups if alone or len(group) > 1]
        answers = iter(await _round(step, run, wanted, asked, last=len(groups) == 1))
        left = [next(answers) if alone or len(group) > 1 else group[0] for group in groups]
        asked += len(wanted)
    return left[0] if step.answer == "json" else text_of(left[0])


async def _round(
    step: ReduceStep, run: Run, groups: Sequence[Sequence[Any]], asked: int, *, last: bool
) -> Sequence[Any]:
    async def one(index: int, group: Sequence[Any]) -> Any:
        joined = JOIN.join(text_of(member).strip() for member in group)
        messages = message_of(run, step, **{step.joined: joined})
        place = f"{step.name}/{asked + index}"
        return await ask(run, step, place, messages, streams=last and run.streams == step.name)

    to_come = 0 if last else max(1, len(groups) // 2)
    return await at_once(run, groups, one, step.at_once, done=asked, of=asked + len(groups) + to_come)


def _groups(members: Sequence[Any], most: int) -> Iterator[list[Any]]:
    """Members beside each other, as many as fit together."""
    group: list[Any] = []
    length = 0
    for member in members:
        size = len(text_of(member).strip())
        if group and length + len(JOIN) + size > most:
            yield group
            group, length = [], 0
        length += size + (len(JOIN) if group else 0)
        group.append(member)
    if group:
        yield group
