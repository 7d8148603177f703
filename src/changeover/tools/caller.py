"""How a tool asks a task: as any application does, with the rights and limits of whoever runs the tool."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of a task."""

    text: str
    deployment: str
    revision: int | None
    prompt_tokens: int
    completion_tokens: int
    cut_off: bool = False
    """By the limit of tokens."""


class TaskCaller(Protocol):
    """Who asks."""

    async def ask(
        self,
        task: str,
        messages: Sequence[Mapping[str, Any]],
        *,
        on_text: Callable[[str], None] | None = None,
    ) -> Answered:
        """Ask once.

        Args:
            task: Whole name.
            messages: As the API takes them; the task's own prompt is put before them.
            on_text: Told each piece of the answer as it comes.

        Raises:
            ChangeoverError: As the gateway reports it to any application; `retryable` says whether it may pass.
        """
        ...
