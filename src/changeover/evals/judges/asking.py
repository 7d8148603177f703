"""Asking a judge one question until it can be understood."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from changeover.core.digest import canonical_json
from changeover.core.errors import JudgeError
from changeover.evals.datasets import UNLABELLED, Sample
from changeover.evals.judges.parse import read_reason
from changeover.evals.judges.prompts import Questions
from changeover.evals.scorers.base import Case, Means

Verdict = TypeVar("Verdict")

_SHOWN = 120


class JudgeTarget(BaseModel):
    """A text, or an object; what a judge is shown of it is the text or the key `reference`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    reference: str | None = None
    """An ideal answer. Other keys are for other scorers and are not shown."""


@dataclass(frozen=True)
class Understood(Generic[Verdict]):
    """A reply that says something."""

    verdict: Verdict
    reason: str
    next_repeat: int
    """The first asking that has not been made yet."""


async def ask(
    means: Means,
    task: str,
    questions: Questions,
    read: Callable[[str], Verdict | None],
    *,
    first_repeat: int = 0,
) -> Understood[Verdict]:
    """Ask, and once more in other words where the reply cannot be understood. A verdict is never guessed.

    Raises:
        JudgeError: There is nobody to ask, it could not answer, or neither reply says anything.
    """
    if means.judge is None:
        raise JudgeError(f"The judge `{task}` cannot be asked here: only scores that are kept can be shown.")
    reply = ""
    for repeat, messages in enumerate(questions, start=first_repeat):
        reply = (await means.judge.ask(task, messages, repeat=repeat)).text
        verdict = read(reply)
        if verdict is not None:
            return Understood(verdict, read_reason(reply), repeat + 1)
    said = " ".join(reply.split())
    raise JudgeError(
        f"The judge `{task}` gave no verdict, asked twice; it said: `{said[:_SHOWN]}{'…' if len(said) > _SHOWN else ''}`."
    )


def is_repeated(sample: Sample, digests: Sequence[str], share: float) -> bool:
    """Whether this judgement is among those that are asked for again: by its hash, the same on every run."""
    key = canonical_json([sample.id, sorted(digests)])
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) < share * 2**64


def reference_of(case: Case[Any, JudgeTarget], *, wanted: bool) -> str | None:
    """The ideal answer that the judge is shown, where there is one. What somebody once answered is none."""
    return case.target.reference or None if wanted and UNLABELLED not in case.sample.tags else None


def text_target(text: str) -> dict[str, str]:
    """A target that is a plain text is the ideal answer."""
    return {"reference": text}
