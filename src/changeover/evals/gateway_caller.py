"""Asking a variant over HTTP, through the gateway."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from changeover.core.errors import ChangeoverError, NotReadyError, UpstreamError
from changeover.evals.caller import Called, Reply

TRANSPORT_TRIES = 6
"""Only for a gateway that is busy or an engine that is coming up; what a model says is never asked for again."""
RETRY_S = 1.0
RETRY_MOST_S = 8.0
GRACE_S = 30.0
"""Beyond the task's own deadline, which the gateway keeps: against a gateway that says nothing."""


class _Function(msgspec.Struct):
    name: str = ""
    arguments: Any = ""


class _ToolCall(msgspec.Struct):
    function: _Function = msgspec.field(default_factory=_Function)


class _Message(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    message: _Message = msgspec.field(default_factory=_Message)
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Error(msgspec.Struct):
    message: str = "no reason given"
    source: str | None = None


class _Body(msgspec.Struct):
    """The few fields of an answer or of an error envelope that an evaluation reads."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: _Error | None = None


_read = msgspec.json.Decoder(_Body).decode
_write = msgspec.json.Encoder().encode


class GatewayCaller:
    """A client of the gateway with an operator's key. `close` it at the end."""

    def __init__(self, address: str, key: str) -> None:
        # As many connections as the runner has calls under way; it keeps their number, not the pool.
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._url = f"{address}/v1/chat/completions"
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    async def ask(
        self, model: str, messages: Sequence[Mapping[str, Any]], *, timeout_s: float, **parameters: Any
    ) -> Reply:
        """Ask once, whole. See `Caller`."""
        body = _write({"model": model, "messages": messages, **parameters})
        timeout = aiohttp.ClientTimeout(total=timeout_s + GRACE_S)
        for tried in range(1, TRANSPORT_TRIES + 1):
            started = time.perf_counter()
            try:
                async with self._session.post(self._url, data=body, headers=self._headers, timeout=timeout) as response:
                    raw = await response.read()
            except (aiohttp.ClientError, TimeoutError) as exc:
                if tried == TRANSPORT_TRIES:
                    raise NotReadyError(
                        f"The gateway at {self._url} does not answer: {exc or type(exc).__name__}."
                    ) from exc
            else:
                if response.status not in (429, 503):
                    return _reply(response.status, raw, 1000 * (time.perf_counter() - started))
                if tried == TRANSPORT_TRIES:
                    raise NotReadyError(_error(raw).message)
            await asyncio.sleep(min(RETRY_S * 2 ** (tried - 1), RETRY_MOST_S))
        raise AssertionError("the last try returns or raises")

    async def close(self) -> None:
        """Close its connections."""
        await self._session.close()


def _reply(status: int, raw: bytes, duration_ms: float) -> Reply:
    if status != 200:
        error = _error(raw)
        if error.source != "model":
            # A wrong key or an unknown variant is our own mistake and must not count against a model.
            raise ChangeoverError(f"The gateway refused an evaluation: {error.message}")
        return Reply(text=None, error=error.message, duration_ms=duration_ms)
    body = _decoded(raw)
    if not body.choices:
        return Reply(text=None, error="The model's answer has no choice in it.", duration_ms=duration_ms)
    choice, usage = body.choices[0], body.usage or _Usage()
    return Reply(
        text=choice.message.content or "",
        error=None,
        tool_calls=tuple(_called(call) for call in choice.message.tool_calls or ()),
        finish_reason=choice.finish_reason,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        duration_ms=duration_ms,
    )


def _called(call: _ToolCall) -> Called:
    arguments = call.function.arguments
    # Some servers send the arguments as an object instead of as text.
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return Called(name=call.function.name, arguments=text)


def _decoded(raw: bytes) -> _Body:
    try:
        return _read(raw)
    except msgspec.DecodeError as exc:
        raise UpstreamError("The gateway's answer is not JSON of the API's shape.") from exc


def _error(raw: bytes) -> _Error:
    return _decoded(raw).error or _Error()
