"""Asking a variant through the gateway: evaluations take the same path that serves traffic."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import msgspec


class Called(msgspec.Struct, frozen=True):
    """One call of a tool that a model asked for."""

    name: str
    arguments: str
    """JSON text, as the model wrote it."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back for one request."""

    text: str | None
    error: str | None
    tool_calls: tuple[Called, ...] = ()
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    duration_ms: float


class Caller(Protocol):
    """Who asks for the runner."""

    async def ask(
        self, model: str, messages: Sequence[Mapping[str, Any]], *, timeout_s: float, **parameters: Any
    ) -> Reply:
        """Ask once, whole.

        A model's failure is a reply with an `error`.

        Args:
            model: Task, or `task@variant`.
            messages: As the API takes them.
            timeout_s: The task's own deadline.
            parameters: Other fields of the request.

        Raises:
            NotReadyError: The gateway cannot be reached or has no engine for it; says nothing about the model.
            ChangeoverError: The gateway refused the request itself; says nothing about the model either.
        """
        ...

    async def close(self) -> None:
        """Let go of what it holds."""
        ...


class LateCaller:
    """Calls the gateway, and connects when something is first asked: a run from kept answers asks nothing."""

    def __init__(self, address: str, key: str) -> None:
        self._address = address
        self._key = key
        self._caller: Caller | None = None

    async def ask(
        self, model: str, messages: Sequence[Mapping[str, Any]], *, timeout_s: float, **parameters: Any
    ) -> Reply:
        """Ask once, whole. See `Caller`."""
        return await self._connected().ask(model, messages, timeout_s=timeout_s, **parameters)

    def _connected(self) -> Caller:
        if self._caller is None:
            # The HTTP client is half of a short run's start-up, so it is loaded like an adapter: when first used.
            module = importlib.import_module("changeover.evals.gateway_caller")
            self._caller = cast("Caller", module.GatewayCaller(self._address, self._key))
        return self._caller

    async def close(self) -> None:
        """Let go of what it holds."""
        if self._caller is not None:
            await self._caller.close()
