"""How steps ask a task: the message, the asking with its second tries, the answer as text or JSON."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar, cast

import msgspec

from changeover.core.errors import CapacityError, ChangeoverError, ContractError, DatasetError, OverdueError
from changeover.evals.datasets.marked import without_control
from changeover.evals.datasets.render import InputTemplate
from changeover.evals.scorers.json_text import read_json
from changeover.tasks.declarations import find_task
from changeover.tools.caller import Answered
from changeover.tools.declarations import CallStep, MapStep, ReduceStep, ValidateStep
from changeover.tools.expressions import names_in
from changeover.tools.plain import text_of, whole_characters
from changeover.tools.steps.run import Asked, Run

WAITS_S = (0.5, 2.0, 6.0)
"""Before an asking that failed is tried again, where the error does not say how long."""
MOST_WAIT_S = 30.0
ROLES = ("system", "user", "assistant")
"""Of the messages that a tool makes; whoever uses it gives none of the first."""
MOST_PROBLEM = 600
"""Characters of what a model is told of its own answer."""
_BLOCK = re.compile(r"```(?:json)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_FROM = re.compile(r"[\[{]")
MOST_STARTS = 20
"""Places in an answer at which JSON may begin that are tried."""

Asks = CallStep | MapStep | ReduceStep
Member = TypeVar("Member")


async def ask(
    run: Run,
    step: Asks,
    place: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    shown: str | None = None,
    streams: bool = False,
) -> Any:
    """Ask a step's task, and give the answer as the step wants it.

    An answer that should be JSON and is none is shown to the model once; then it is an error, or given on as the text
    that it is where a later step checks it.

    Args:
        run: The run.
        step: Whose task.
        place: Where the answer is kept.
        messages: Without control tokens of chats: see `message_of`.
        shown: What the asking is called in problems.
        streams: Whether pieces of the answer go out as they come.

    Raises:
        ContractError: The answer should be JSON and is none.
        ChangeoverError: The task could not be asked.
    """
    answer = await ask_text(run, step, place, messages, shown=shown, streams=streams)
    if step.answer == "text":
        return answer
    checked, repaired = _checks_later(run, step)
    try:
        return answer_json(answer)
    except ValueError as exc:
        if repaired:
            return answer
        problem = str(exc)
    run.repairs += 1
    answer = await ask_text(run, step, f"{place}/again", [*messages, *complaint(answer, problem)], shown=shown)
    try:
        return answer_json(answer)
    except ValueError as exc:
        if checked:
            return answer
        raise ContractError(
            f"The step `{step.name}`: the answer of `{run.tool.task_of(step)}` cannot be used: {exc}."
        ) from exc


async def ask_text(
    run: Run,
    step: Asks,
    place: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    shown: str | None = None,
    streams: bool = False,
) -> str:
    """Ask a step's task, or take what it answered before the run was interrupted."""
    task = run.tool.task_of(step)

    async def make() -> Any:
        return msgspec.to_builtins(await _patiently(run, task, messages, streams))

    answered = msgspec.convert(await run.once(place, make), Answered)
    run.count(task, answered)
    if answered.cut_off:
        run.cut_off.append(shown or f"`{step.name}`")
    return whole_characters(answered.text).strip()


async def _patiently(run: Run, task: str, messages: Sequence[Mapping[str, Any]], streams: bool) -> Answered:
    """Ask, and again where the error says that it may pass. What was shown already is not begun anew.

    Calls at once share an engine, and each takes longer for it: one that was too late is tried again with no other late
    one beside it.
    """
    said = False
    beside: AbstractAsyncContextManager[Any] = nullcontext()

    def on_text(piece: str) -> None:
        nonlocal said
        said = True
        run.progress(0, None, piece)

    for tries in range(len(WAITS_S) + 1):
        try:
            async with beside:
                return await run.means.caller.ask(task, messages, on_text=on_text if streams else None)
        except ChangeoverError as exc:
            if isinstance(exc, OverdueError):
                beside = run.alone
            if not exc.retryable or said or tries == len(WAITS_S):
                raise
            wait = exc.retry_after_s if isinstance(exc, CapacityError) else WAITS_S[tries]
            if wait > MOST_WAIT_S:  # a budget that is used up is not waited for
                raise
        await asyncio.sleep(wait)
    raise AssertionError("the last try returns or raises")


def message_of(run: Run, step: Asks, **more: Any) -> list[dict[str, Any]]:
    """The user's message of what a step gives: by the task's template, or the text itself.

    Raises:
        ContractError: The template cannot be filled in with these values.
    """
    given = {name: run.value(expression, **more) for name, expression in step.give.items()}
    task = find_task(run.means.tasks, run.tool.task_of(step))
    if task.input_template is None:
        return [_user("\n\n".join(text_of(value) for value in given.values()))]
    try:
        return [_user(_template(task.input_template)(given))]
    except (ValueError, DatasetError) as exc:
        raise ContractError(f"The step `{step.name}`: task `{task.name}`: {exc}.") from exc


@lru_cache(maxsize=256)
def _template(text: str) -> InputTemplate:
    return InputTemplate(text)


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": without_control(text)}


def conversation_of(step: CallStep, given: Any) -> list[dict[str, Any]]:
    """The messages of a conversation; nothing in them can end a turn.

    Raises:
        ContractError: It is no list of messages that ends with the user's.
    """
    messages: list[dict[str, Any]] = []
    for message in cast("list[Any]", given) if isinstance(given, list) else []:
        fields = cast("dict[str, Any]", message) if isinstance(message, dict) else {}
        role, content = fields.get("role"), fields.get("content")
        if role not in ROLES or not isinstance(content, str):
            raise ContractError(
                f"The step `{step.name}`: `messages` holds what is no message: `role` is one of {', '.join(ROLES)}, and "
                "`content` a text."
            )
        messages.append({"role": role, "content": without_control(content)})
    if not messages or messages[-1]["role"] != "user":
        raise ContractError(f"The step `{step.name}`: `messages` must end with a message of the user.")
    return messages


def complaint(answer: str, problem: str) -> list[dict[str, Any]]:
    """The turns that show a model its own answer and what is wrong with it."""
    words = (
        f"This answer cannot be used: {problem[:MOST_PROBLEM]}. Answer again as you were asked, without that mistake."
    )
    return [{"role": "assistant", "content": without_control(answer) or "…"}, _user(words)]


def answer_json(answer: str) -> Any:
    """Read an answer that should be JSON: alone, in a fenced block, or after some words.

    Raises:
        ValueError: There is none in it; says why.
    """
    try:
        return read_json(answer)
    except (ValueError, RecursionError) as exc:
        first = str(exc) or "it is nested too deeply"
    for block in _BLOCK.findall(answer):
        try:
            return read_json(block)
        except (ValueError, RecursionError):
            continue
    decoder = json.JSONDecoder(parse_constant=_no_number)
    for start in islice(_FROM.finditer(answer), MOST_STARTS):
        try:
            return decoder.raw_decode(answer, start.start())[0]
        except ValueError:
            continue
        except RecursionError:
            break
    raise ValueError(f"it is no JSON ({first})")


def _no_number(name: str) -> Any:
    raise ValueError(f"`{name}` is no JSON number")


def _checks_later(run: Run, step: Asks) -> tuple[bool, bool]:
    """Whether a later step checks what a step gives, and whether it asks again itself."""
    later = [
        each
        for each in run.tool.declared.steps[run.number :]
        if isinstance(each, ValidateStep) and step.name in names_in(each.value)
    ]
    return bool(later), any(each.repair == step.name and each.tries for each in later)


async def call(step: CallStep, run: Run) -> Any:
    """Ask a task once."""
    said = None if step.messages is None else conversation_of(step, run.value(step.messages))
    messages = said or message_of(run, step)
    value = await ask(run, step, f"{step.name}/0", messages, streams=run.streams == step.name)
    run.asked[step.name] = Asked(
        messages=messages, answer=value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    )
    run.progress(1, 1)
    return value


async def map_over(step: MapStep, run: Run) -> list[Any]:
    """Ask a task for each member of a list."""
    members = run.value(step.over)
    if not isinstance(members, (list, tuple)):
        raise ContractError(f"The step `{step.name}`: `over` = `{step.over}` is no list.")
    several = list(cast("Sequence[Any]", members))

    async def one(index: int, member: Any) -> Any:
        messages = message_of(run, step, **{step.each: member, "index": index})
        shown = f"`{step.name}`, {index + 1} of {len(several)}"
        return await ask(run, step, f"{step.name}/{index}", messages, shown=shown)

    return await at_once(run, several, one, step.at_once)


async def at_once(
    run: Run,
    members: Sequence[Member],
    work: Callable[[int, Member], Awaitable[Any]],
    most: int,
    *,
    done: int = 0,
    of: int | None = None,
) -> list[Any]:
    """Work on several members, so many at once, with progress after each. The first failure ends the others.

    Args:
        run: The run.
        members: What is worked on.
        work: Is given the place of a member, from 0, and the member.
        most: At once.
        done: Of the step, before.
        of: Of the step; None: as many as members.
    """
    results: list[Any] = [None] * len(members)
    waiting = iter(enumerate(members))
    finished = done

    async def worker() -> None:
        nonlocal finished
        for index, member in waiting:
            results[index] = await work(index, member)
            finished += 1
            run.progress(finished, max(finished, of or len(members)))

    workers = [asyncio.ensure_future(worker()) for _ in range(min(most, len(members)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for each in workers:
            each.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return results
