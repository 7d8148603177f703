"""Live traffic before scorers: a recorded request as a sample, its answer as an answer. Nobody said what is right."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, cast

import msgspec

from changeover.core.errors import ConfigError
from changeover.evals.answers import Answer, ToolCall
from changeover.evals.datasets import Message, Sample
from changeover.evals.datasets.samples import Role
from changeover.evals.sandbox import Outcome
from changeover.evals.scorers import ScorerSpec
from changeover.evals.scorers.base import Means

_ROLES: Mapping[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""Results of tools are left out: they are nobody's words."""
OWN_CODE = "function"
"""The scorer that runs a file of the project's."""


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None


class _Call(msgspec.Struct):
    function: _Function = msgspec.field(default_factory=_Function)


class _Said(msgspec.Struct):
    content: Any = None
    tool_calls: list[_Call] | None = None


class _Asked(msgspec.Struct):
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None


class _NoSandbox:
    async def run(self, code: str, *, deadline_s: float = 0, memory_bytes: int = 0, output_bytes: int = 0) -> Outcome:
        del code, deadline_s, memory_bytes, output_bytes
        return Outcome(status="unavailable", stderr="no code is run beside live traffic")


NO_SANDBOX = _NoSandbox()
NOTHING = Means(sandbox=NO_SANDBOX)
"""For scorers that only compute."""


def check_live(spec: ScorerSpec, key: str, *, judged: bool) -> None:
    """Check that a scorer can look at an answer that nobody has given a target.

    Args:
        spec: The scorer.
        key: Where the task names it, for the message.
        judged: Whether it may ask a judge, compare two answers, and run the project's own code. What looks at every
            answer in the gateway may not.

    Raises:
        ConfigError: It cannot.
    """
    why = None
    if spec.needs_target:
        why = "reads a target, and live requests have none"
    elif spec.cost == "sandbox":
        why = "runs code that models wrote, which is done in evaluations only"
    elif spec.reads_prices:
        why = "reads prices, which say nothing of an answer"
    elif not judged and spec.kind == "pair":
        why = "compares two answers, and here is one"
    elif not judged and spec.judges:
        why = "asks a judge, and every answer is looked at"
    elif not judged and OWN_CODE in spec.names:
        why = "runs code of the project's, and the gateway runs none"
    if why is not None:
        raise ConfigError(
            f"`{key}`: `{spec.name}` {why}. Name one that needs none of this, such as `language` with `language = "
            '"ja"`, `refusal` with `refuse = false`, or `shape`.'
        )


def asked_of(id: str, request: bytes | str) -> Sample:
    """What was asked, as far as scorers read it: texts; pictures, sound and results of tools are left out.

    Raises:
        ValueError: It is no chat request.
    """
    asked = msgspec.json.decode(request, type=_Asked)
    messages: list[Message] = []
    for message in asked.messages:
        role = _ROLES.get(str(message.get("role")))
        text = text_of(message.get("content"))
        if role is not None and text is not None:
            messages.append(Message(role=role, content=text))
    return Sample(id=id, input=tuple(messages), target="", tools=tuple(asked.tools or ()))


def answer_of(message: bytes | str, *, finish_reason: str | None = None, **known: Any) -> Answer:
    """An assistant's message, as JSON, as an answer.

    Args:
        message: As it is recorded.
        finish_reason: As the API reports it.
        known: What else is known of the answer.

    Raises:
        ValueError: It is no message.
    """
    said = msgspec.json.decode(message, type=_Said)
    calls = tuple(
        ToolCall(name=call.function.name or "", arguments=_arguments(call.function.arguments))
        for call in said.tool_calls or ()
    )
    return Answer(text=text_of(said.content) or "", tool_calls=calls, finish_reason=finish_reason, **known)


def text_of(content: Any) -> str | None:
    """The text of a message's content, which may come in parts; None if it has none."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [cast("dict[str, Any]", part) for part in cast("list[Any]", content) if isinstance(part, dict)]
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    return "\n".join(cast("Sequence[str]", texts)) if texts else None


def _arguments(given: Any) -> str:
    if isinstance(given, str):
        return given
    return "" if given is None else msgspec.json.encode(given).decode()


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never waits, as those of scorers that only compute.

    Raises:
        RuntimeError: It waited.
    """
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    work.close()
    raise RuntimeError("a scorer that should only compute waited for something")
