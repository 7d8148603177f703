"""`validate`: a value is checked, asked for again where it is wrong, and else mended or refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from changeover.core.errors import ContractError
from changeover.tools.declarations import CallStep, ValidateStep
from changeover.tools.plain import as_json
from changeover.tools.steps.asking import answer_json, ask_text, complaint
from changeover.tools.steps.checks import Check, Fault, prepare
from changeover.tools.steps.places import Path, in_list, text_at, without
from changeover.tools.steps.run import Asked, Run

MOST_ROUNDS = 6
"""Of leaving out: what is left is looked at again."""
MOST_SHOWN = 5
"""Faults that a model, or a person, is told at once."""

Seen = tuple[Any, list[Fault]]
"""A value, and what is wrong with it."""


async def validate(step: ValidateStep, run: Run) -> Any:
    """Check a value; give it as it is, or mended.

    Raises:
        ContractError: It is wrong and stays so; says what.
    """
    checks = [await prepare(check, run) for check in step.checks]
    value, faults = await _look(step, run, checks)
    if faults and step.repair in run.asked:
        value, faults = await _repaired(step, run, checks, (value, faults))
    if not faults:
        return value
    if step.otherwise == "flag" and value is not None:
        for fault in faults[:MOST_SHOWN]:
            run.problem(f"`{step.name}`: {fault.problem}.")
        return value
    if step.otherwise == "drop" and value is not None:
        return await _dropped(step, run, checks, value, faults)
    raise ContractError(f"The step `{step.name}` does not let the answer pass: {_said(faults)}.")


def _said(faults: Sequence[Fault]) -> str:
    more = f" ({len(faults) - MOST_SHOWN} more)" if len(faults) > MOST_SHOWN else ""
    return "; ".join(dict.fromkeys(fault.problem for fault in faults[:MOST_SHOWN])) + more


async def _look(step: ValidateStep, run: Run, checks: Sequence[Check]) -> Seen:
    """The value and what is wrong with it. What cannot be computed is none, and wrong."""
    try:
        value = as_json(run.value(step.value))
    except ContractError as exc:
        return None, [Fault(path=(), problem=exc.message.removesuffix("."))]
    return value, await _faults(checks, value, run)


async def _faults(checks: Sequence[Check], value: Any, run: Run) -> list[Fault]:
    return [fault for check in checks for fault in await check.look(value, run)]


async def _repaired(step: ValidateStep, run: Run, checks: Sequence[Check], first: Seen) -> Seen:
    """Ask again, each time with the last answer and what is wrong with it in sight. The best of all answers stays."""
    called = next(each for each in run.tool.declared.steps if each.name == step.repair)
    assert isinstance(called, CallStep)
    asked = run.asked[called.name]
    best, last, answer = first, first, asked.answer
    kept = run.values[called.name]
    for tries in range(step.tries):
        messages = [*asked.messages, *complaint(answer, _said(last[1]))]
        answer = await ask_text(run, called, f"{step.name}/{tries}", messages)
        run.repairs += 1
        run.progress(tries + 1, step.tries)
        run.values[called.name] = _read(called, answer)
        last = await _look(step, run, checks)
        if best[0] is None or (last[0] is not None and len(last[1]) < len(best[1])):
            best, kept = last, run.values[called.name]
            run.asked[called.name] = Asked(messages=asked.messages, answer=answer)
        if not last[1]:
            break
    run.values[called.name] = kept
    return best


def _read(called: CallStep, text: str) -> Any:
    if called.answer == "text":
        return text
    try:
        return answer_json(text)
    except ValueError:
        return text


async def _dropped(step: ValidateStep, run: Run, checks: Sequence[Check], value: Any, faults: list[Fault]) -> Any:
    """The value without sentences or members at fault; nothing may be left, unless a check is `not-empty`."""
    for _ in range(MOST_ROUNDS):
        if not faults:
            return value
        seen, wrong = value, faults
        bad = await run.compute(lambda seen=seen, wrong=wrong: _bad_sentences(seen, wrong))
        try:
            value = without(value, [fault.path for fault in faults], bad)
        except LookupError:
            break
        for fault in faults[:MOST_SHOWN]:
            run.problem(f"`{step.name}`: something was left out: {fault.problem}.")
        faults = await _faults(checks, value, run)
    raise ContractError(f"The step `{step.name}` does not let the answer pass: {_said(faults)}.")


def _bad_sentences(value: Any, faults: Sequence[Fault]) -> dict[Path, set[int]]:
    """Places of the sentences at fault, of every text outside of lists."""
    bad: dict[Path, set[int]] = {}
    for fault in faults:
        text = None if in_list(fault.path) else text_at(value, fault.path)
        places = None if text is None or fault.check is None else fault.check.bad_sentences(text)
        if places:
            bad.setdefault(fault.path, set()).update(places)
    return bad
