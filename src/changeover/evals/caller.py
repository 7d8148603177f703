"""Asking a variant through the gateway: evaluations take the same path that serves traffic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
import msgspec

from changeover.core.errors import ChangeoverError, NotReadyError, UpstreamError

TRANSPORT_TRIES = 6
"""Only for a gateway that is busy or an engine that is coming up; what a model says is never asked for again."""
RETRY_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back for one request."""

    text: str | None
    error: str | None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    duration_ms: float


class Caller:
    """A client of the gateway with an operator's key."""

    def __init__(self, session: aiohttp.ClientSession, address: str, key: str) -> None:
        self._session = session
        self._url = f"{address}/v1/chat/completions"
        self._headers = {"authorization": f"Bearer {key}"}

    async def ask(
        self, model: str, messages: Sequence[Mapping[str, Any]], *, timeout_s: float, **parameters: Any
    ) -> Reply:
        """Ask once, whole.

        A model's failure is a reply with an `error`.

        Raises:
            NotReadyError: The gateway cannot be reached or has no engine for it; says nothing about the model.
            ChangeoverError: The gateway refused the request itself; says nothing about the model either.
        """
        body = {"model": model, "messages": list(messages), **parameters}
        for left in reversed(range(TRANSPORT_TRIES)):
            started = time.perf_counter()
            try:
                status, fields = await self._post(body, timeout_s)
            except (aiohttp.ClientError, TimeoutError) as exc:
                if left == 0:
                    raise NotReadyError(
                        f"The gateway at {self._url} does not answer: {exc or type(exc).__name__}."
                    ) from exc
            else:
                if status not in (429, 503):
                    return _reply(status, fields, 1000 * (time.perf_counter() - started))
                if left == 0:
                    raise NotReadyError(_error_text(fields))
            await asyncio.sleep(RETRY_S)
        raise AssertionError("the last try returns or raises")

    async def _post(self, body: Mapping[str, Any], timeout_s: float) -> tuple[int, dict[str, Any]]:
        # The gateway keeps the task's own deadline; this one is only against a gateway that says nothing.
        timeout = aiohttp.ClientTimeout(total=timeout_s + 30)
        async with self._session.post(
            self._url, data=msgspec.json.encode(body), headers=self._headers, timeout=timeout
        ) as response:
            raw = await response.read()
            try:
                fields = msgspec.json.decode(raw)
            except msgspec.DecodeError as exc:
                raise UpstreamError("The gateway's answer is not JSON.") from exc
            return response.status, cast("dict[str, Any]", fields)


def _reply(status: int, fields: Mapping[str, Any], duration_ms: float) -> Reply:
    if status != 200:
        error = cast("dict[str, Any]", fields.get("error") or {})
        if error.get("source") != "model":
            # A wrong key or an unknown variant is our own mistake and must not count against a model.
            raise ChangeoverError(f"The gateway refused an evaluation: {_error_text(fields)}")
        return Reply(text=None, error=_error_text(fields), duration_ms=duration_ms)
    choice = cast("dict[str, Any]", fields["choices"][0])
    usage = cast("dict[str, Any]", fields.get("usage") or {})
    message = cast("dict[str, Any]", choice.get("message") or {})
    return Reply(
        text=message.get("content") or "",
        error=None,
        finish_reason=choice.get("finish_reason"),
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens"),
        duration_ms=duration_ms,
    )


def _error_text(fields: Mapping[str, Any]) -> str:
    error = cast("dict[str, Any]", fields.get("error") or {})
    return str(error.get("message") or "no reason given")
