"""What of a task's contract can be seen in an answer alone: whether it says anything, declines, or fails a check.

Looked at by the recorder, in its thread and after the answer, and only while a rollout may need it. The first thing that
is wrong is the exchange's `violation`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property

import msgspec

from changeover.core.errors import ChangeoverError
from changeover.evals.answers import Answer
from changeover.evals.live import NOTHING, answer_of, asked_of, at_once
from changeover.evals.scorers import Score, ScorerSpec, score
from changeover.gateway.assembled import finish_in, message_in
from changeover.tasks.declarations import ScorerDeclaration

log = logging.getLogger(__name__)

EMPTY = "empty"
NOT_IN_SHAPE = "structured_output_failed"
"""Also the code of the error that the caller gets."""
WRONG_BELOW = 0.5
MOST_CHARACTERS = 30_000
"""Of an answer that is looked at; a longer one is only known not to be empty. Whatever it says, a check of so many takes
less than a second of the recorder's thread; of three times as many some take ten times as long."""
LONGEST_CODE = 40
_REFUSES_NOT = ScorerDeclaration(name="refusal", options={"refuse": False})


class Checks:
    """What one task's answers are looked at for."""

    def __init__(self, declared: Sequence[ScorerDeclaration]) -> None:
        """Nothing is loaded before the first answer is looked at.

        Args:
            declared: The task's own; whether it declines is always looked at.
        """
        self._declared = declared
        self._broken: set[str] = set()

    @cached_property
    def _specs(self) -> tuple[ScorerSpec, ...]:
        own = {each.name for each in self._declared}
        every = [*self._declared] if _REFUSES_NOT.name in own else [_REFUSES_NOT, *self._declared]
        found: list[ScorerSpec] = []
        for declared in every:
            try:
                found.append(ScorerSpec(name=declared.name, options=declared.options))
            except ChangeoverError as exc:  # applied by another version
                log.error("checks: answers are not looked at with `%s`: %s", declared.name, exc)
        return tuple(found)

    def violation(self, id: str, request: bytes, answer: Answer) -> str | None:
        """What is wrong with an answer: `empty`, or the name of the first scorer that gives it less than half.

        What cannot be scored says nothing against the answer.

        Args:
            id: The request's.
            request: Its body.
            answer: What the model said.
        """
        if answer.tool_calls:
            return None  # what was asked for is the call; its text is beside the point
        if not answer.text.strip():
            return EMPTY
        if len(answer.text) > MOST_CHARACTERS:
            return None
        try:
            sample = asked_of(id, request)
        except ValueError:
            return None
        for spec in self._specs:
            try:
                result: Score = at_once(score(spec, sample, answer, NOTHING))
            except Exception:  # a scorer's bug must not stop the record
                if spec.name not in self._broken:
                    self._broken.add(spec.name)
                    log.exception("checks: `%s` failed on `%s`; it is said once", spec.name, id)
                continue
            if result.error is None and result.value < WRONG_BELOW:
                return spec.name[:LONGEST_CODE]
        return None


class _Choice(msgspec.Struct):
    message: msgspec.Raw
    finish_reason: str | None = None


class _Whole(msgspec.Struct):
    choices: list[_Choice]


def said(raw: bytes, *, stream: bool) -> Answer:
    """The first choice of a chat answer, as it was sent.

    Raises:
        ValueError: It is of an odd shape.
    """
    if stream:
        return answer_of(msgspec.json.encode(message_in(raw)), finish_reason=finish_in(raw))
    choices = msgspec.json.decode(raw, type=_Whole).choices
    if not choices:
        raise ValueError("it has no choice")
    return answer_of(bytes(choices[0].message), finish_reason=choices[0].finish_reason)
