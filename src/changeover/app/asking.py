"""Asking a task or a deployment through the gateway, and reading the answer while it is written."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
import msgspec

from changeover.core.errors import ChangeoverError, UnknownTaskError, UpstreamError
from changeover.gateway.routes import ADMIN_TASKS

WELL = 200
LISTED_WITHIN = aiohttp.ClientTimeout(total=5)
NAMES = ("route", "deployment", "bundle", "request-id")
"""What the gateway says of an answer in its head."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What came next of an answer."""

    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, kw_only=True)
class Answering:
    """An answer that has begun."""

    who: Mapping[str, str]
    """Who answers: `route`, `deployment`, `bundle` and `request-id`, each empty where the gateway does not say it."""
    pieces: AsyncGenerator[Piece]


@dataclass(frozen=True, kw_only=True)
class Names:
    """Everybody whom a key may ask."""

    tasks: list[str]
    """And deployments that it was given by name."""
    deployments: list[str]
    """That answer a task now, or may soon; empty for a key that may not look at that."""


@asynccontextmanager
async def asking(address: str, key: str, body: Mapping[str, Any]) -> AsyncGenerator[Answering]:
    """Ask, and read the answer while it is written; whoever leaves before its end ends it.

    Raises:
        UnknownTaskError: There is no such task or deployment for this key.
        UpstreamError: The model behind it failed, also in the middle of its answer.
        ChangeoverError: The gateway refused it, or broke off.
    """
    async with _sent(address, key, {**body, "stream": True, "stream_options": {"include_usage": True}}) as response:
        yield Answering(who=_who(response), pieces=_pieces(response))


async def answered(address: str, key: str, body: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Ask, and wait for the whole answer; also who gave it. Raises as `asking` does."""
    async with _sent(address, key, {**body, "stream": False}) as response:
        return msgspec.json.decode(await response.read()), _who(response)


async def names_at(address: str, key: str) -> Names:
    """Everybody whom a key may ask at a gateway, as its API lists them.

    Raises:
        ChangeoverError: The gateway refused the key, or is not there.
    """
    listed = await _listed(address, key, "/v1/models")
    if listed is None:
        raise ChangeoverError(f"The gateway at {address} does not list what this key may ask.")
    names = [str(each.get("id")) for each in listed.get("data", [])]
    routes = [each["route"] for each in (await _listed(address, key, ADMIN_TASKS) or {}).get("tasks", [])]
    answering = {route[side] for route in routes for side in ("incumbent", "candidate", "former") if route[side]}
    return Names(tasks=names, deployments=sorted(answering))


async def _listed(address: str, key: str, path: str) -> dict[str, Any] | None:
    """What the API lists; None where it does so for other keys only."""
    try:
        async with (
            aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}, timeout=LISTED_WITHIN) as session,
            session.get(f"{address}{path}") as response,
        ):
            return _fields(await response.read()) if response.status == WELL else None
    except (aiohttp.ClientError, TimeoutError) as exc:
        raise ChangeoverError(f"The gateway at {address} does not answer: {exc or type(exc).__name__}.") from exc


@asynccontextmanager
async def _sent(address: str, key: str, body: Mapping[str, Any]) -> AsyncGenerator[aiohttp.ClientResponse]:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    try:
        async with (
            aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=None)) as session,
            session.post(f"{address}/v1/chat/completions", data=msgspec.json.encode(body)) as response,
        ):
            if response.status != WELL:
                raise _failure(_fields(await response.read()))
            yield response
    except aiohttp.ClientError as exc:
        raise ChangeoverError(f"The gateway at {address} broke off: {exc or type(exc).__name__}.") from exc


async def _pieces(response: aiohttp.ClientResponse) -> AsyncGenerator[Piece]:
    async for line in _lines(response):
        if not line.startswith(b"data:") or b"[DONE]" in line:
            continue
        event = _fields(line[5:])
        if event.get("error"):
            raise _failure(event)
        usage = cast("dict[str, Any]", event.get("usage") or {})
        choices = cast("list[dict[str, Any]]", event.get("choices") or [{}])
        delta = cast("dict[str, Any]", choices[0].get("delta") or {})
        yield Piece(
            text=delta.get("content") or "",
            reasoning=delta.get("reasoning_content") or "",
            finish_reason=choices[0].get("finish_reason"),
            prompt_tokens=usage.get("prompt_tokens"),
            completion_tokens=usage.get("completion_tokens"),
        )


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Lines of any length: one event may carry a whole answer."""
    rest = b""
    async for part in response.content.iter_any():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line


def _fields(raw: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except msgspec.DecodeError as exc:
        raise ChangeoverError("What answers there is no gateway: it sends no JSON of the API's shape.") from exc


def _failure(fields: dict[str, Any]) -> ChangeoverError:
    error = cast("dict[str, Any]", fields.get("error") or {})
    message = str(error.get("message") or "It was refused, and nobody said why.")
    if error.get("code") == UnknownTaskError.code:
        return UnknownTaskError(message)
    kind = UpstreamError if error.get("source") == "model" else ChangeoverError
    return kind(message)


def _who(response: aiohttp.ClientResponse) -> Mapping[str, str]:
    return {name: response.headers.get(f"x-changeover-{name}", "") for name in NAMES}
