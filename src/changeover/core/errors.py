"""Every error a person or an application can meet, as one tree.

ChangeoverError              500  not retryable
├── ConfigError               --  a declaration or setting is wrong; nothing was applied
├── StoreError               503  the database cannot be used; retryable
├── RequestError             400  the caller can fix it
│   ├── AuthenticationError  401  no key, or not a key of this installation
│   ├── ContextOverflow      400  longer than a model takes; names both numbers
│   ├── PermissionError_     403  the key may not do this
│   ├── UnsupportedError     400  no engine of the task can do that; says which could
│   ├── NoTemplateError      400  a base model was asked for a chat; says how it is asked
│   ├── UnknownTaskError     404  lists the known tasks
│   ├── UnknownToolError     404  lists the known tools
│   └── DocumentError        422  a file cannot be read, or is not what a tool takes
├── UnknownModelError         --  no card of that name; names the nearest
├── ArtifactError             --  weights are missing, damaged or not what their digest says
├── LicenceError             403  the policy or a licence does not allow this; names the clause
├── SourceError              502  a hub or a list of models cannot be used; retryable
├── EngineError               --  an engine could not be started
├── DatasetError              --  a dataset or sample cannot be used
├── JudgeError                --  a judge may not or could not judge
├── GateError                 --  the evidence does not allow this
├── CapacityError            429  too much at once; carries `retry_after_s`
│   └── NotReadyError        503  no engine can answer yet; carries `retry_after_s`
├── ContractError             502  a tool's answer broke its contract, and could not be mended; retryable
└── UpstreamError            502  a model's engine failed; retryable unless it said otherwise
    └── OverdueError         504  the time of a task or a tool was over before its answer was whole

`source` says who failed, for the reader of an error: the gateway, or the model behind it.
A message says what was wrong, with the value in backticks, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Literal

Source = Literal["gateway", "model"]


class ChangeoverError(Exception):
    """Anything this system reports in its own words."""

    status: int = 500
    """HTTP status at the edge."""
    code: str = "internal_error"
    """Stable, machine readable."""
    retryable: bool = False
    source: Source = "gateway"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ConfigError(ChangeoverError):
    """A declaration or a setting is wrong. Nothing of it was applied."""

    code = "config_error"


class StoreError(ChangeoverError):
    """The database is gone, locked, full or of another version."""

    status = 503
    code = "store_unavailable"
    retryable = True


class RequestError(ChangeoverError):
    """The caller can fix it."""

    status = 400
    code = "invalid_request"


class AuthenticationError(RequestError):
    """No key was sent, or one that this installation never issued."""

    status = 401
    code = "invalid_api_key"


class PermissionError_(RequestError):
    """The key is known and may not do this."""

    status = 403
    code = "permission_denied"


class ContextOverflow(RequestError):
    """Prompt and answer together are longer than the model takes.

    `prompt_tokens` is what the request has and `context_tokens` what the model takes; None where the engine did not say.
    """

    code = "context_length_exceeded"
    source = "model"

    def __init__(self, name: str, *, prompt_tokens: int | None, context_tokens: int | None) -> None:
        has = "an unknown number of" if prompt_tokens is None else f"`{prompt_tokens}`"
        takes = "fewer, together with its answer" if context_tokens is None else f"`{context_tokens}` with its answer"
        super().__init__(
            f"The request has {has} tokens and `{name}` takes {takes}. Shorten the messages, or ask for a shorter answer."
        )
        self.prompt_tokens = prompt_tokens
        self.context_tokens = context_tokens


class UnsupportedError(RequestError):
    """The request needs what the engines of its task surely cannot do. Nobody was asked, and nothing was left out of it."""

    code = "unsupported"


class NoTemplateError(RequestError):
    """A base model was asked for a chat: it has no chat template, and can only go on with a text."""

    code = "no_chat_template"

    def __init__(self, who: str) -> None:
        super().__init__(
            f"{who} has no chat template: it is a base model, which goes on with a text. Ask it by `/v1/completions`, or "
            "have a model answer that was made for chats."
        )


class UnknownTaskError(RequestError):
    """The `model` field names no task that this key may call."""

    status = 404
    code = "unknown_task"


class UnknownToolError(RequestError):
    """No tool of that name that this key may use."""

    status = 404
    code = "unknown_tool"


class DocumentError(RequestError):
    """A file is empty, encrypted, broken, too large, or of a kind that is not read."""

    status = 422
    code = "document_refused"


class ContractError(ChangeoverError):
    """What came out of a tool breaks its contract, and asking again did not help. It is given to nobody."""

    status = 502
    code = "contract_broken"
    retryable = True
    source = "model"


class UnknownModelError(ChangeoverError):
    """The library has no card of that name."""

    status = 404
    code = "unknown_model"


class ArtifactError(ChangeoverError):
    """Weights are missing, damaged, hostile, or not what their digest says. Nothing of them is kept."""

    code = "artifact_refused"


class LicenceError(ChangeoverError):
    """The organisation's policy, or a licence under it, does not allow this; names the clause."""

    status = 403
    code = "licence_refused"


class SourceError(ChangeoverError):
    """A hub or a list of models gave nothing that can be used. Nothing of it was written."""

    status = 502
    code = "source_failed"
    retryable = True


class EngineError(ChangeoverError):
    """An engine could not be started or described."""

    code = "engine_error"
    source = "model"


class DatasetError(ChangeoverError):
    """A dataset or one of its samples cannot be used."""

    code = "dataset_error"


class JudgeError(ChangeoverError):
    """A judge may not judge these variants, or could not be asked."""

    code = "judge_error"


class GateError(ChangeoverError):
    """The evidence, or the state of the rollout, does not allow this."""

    status = 409
    code = "not_allowed"


class CapacityError(ChangeoverError):
    """Too much at once; try again after `retry_after_s` seconds."""

    status = 429
    code = "over_capacity"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotReadyError(CapacityError):
    """No engine can answer this task yet."""

    status = 503
    code = "not_ready"


class UpstreamError(ChangeoverError):
    """A model's engine refused, failed, stalled or broke off.

    `upstream_status` is what the engine answered, None when it did not answer at all. One that was not `reached` has seen
    nothing of the request.
    """

    status = 502
    code = "model_failed"
    retryable = True
    source = "model"

    def __init__(
        self, message: str, *, upstream_status: int | None = None, retryable: bool = True, reached: bool = True
    ) -> None:
        super().__init__(message)
        self.upstream_status = upstream_status
        self.retryable = retryable
        self.reached = reached


class OverdueError(UpstreamError):
    """The time that a task or a tool has, its `timeout_s`, was over before its answer was whole."""

    status = 504


MOST_NAMES = 50
"""Names that an error message lists whole."""
NEAR = 5


def nearest(name: str, known: Iterable[str]) -> str:
    """End an error message with the nearest known name and all of them; of very many only with those that are near.

    >>> nearest("sumarise", ["summarise", "code"])
    'Did you mean `summarise`? Known: code, summarise.'
    >>> nearest("gpt-9", [])
    'None is known yet.'
    >>> nearest("m7", [f"m{number}" for number in range(80)])
    'Did you mean `m7`? Near: m70, m71, m72, m73, m74. 80 are known.'
    """
    names = sorted(known)
    if not names:
        return "None is known yet."
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"Did you mean `{close[0]}`? " if close else ""
    if len(names) > MOST_NAMES:
        begins = [each for each in names if name and each.startswith(name)]
        near = dict.fromkeys((*begins, *get_close_matches(name, names, n=NEAR, cutoff=0.5)))
        others = ", ".join([each for each in near if each not in close][:NEAR])
        return f"{hint}{f'Near: {others}. ' if others else ''}{len(names)} are known."
    return f"{hint}Known: {', '.join(names)}."
