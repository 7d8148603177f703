"""Exchanges as tests need them: one that went well, and what is different about each other one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from changeover.core.ids import new_id
from changeover.tasks.exchanges import Exchange

_WENT_WELL = Exchange(
    id="req_1",
    task="echo",
    revision=1,
    variant="var_1",
    deployment="echo",
    side="incumbent",
    key="key_1",
    internal=False,
    stream=False,
    status=200,
    error=None,
    error_source=None,
    truncated=False,
    abandoned=False,
    attempts=1,
    failed_variants=(),
    started_at=datetime(2026, 1, 1, tzinfo=UTC),
    duration_ms=10.0,
    first_chunk_ms=5.0,
    prompt_tokens=3,
    completion_tokens=5,
)


def exchange(id: str | None = None, **changes: Any) -> Exchange:
    """One answered by its task's incumbent at once and whole, its content not kept, except for what is said.

    Args:
        id: A fresh one where none is given.
        changes: Other fields.
    """
    return replace(_WENT_WELL, id=id or new_id("req"), **changes)
