"""What an engine's refusal or failure means for us: by status first, by its words last."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast

import msgspec

from changeover.core.errors import (
    CapacityError,
    ChangeoverError,
    NoTemplateError,
    NotReadyError,
    RequestError,
    UpstreamError,
)
from changeover.serving.overflows import overflow

MAX_REFUSAL_BYTES = 64 << 10
MAX_WORDS = 500
LONGEST_RETRY_AFTER_S = 3600.0
CALLERS_FAULT = frozenset({400, 404, 413, 422})

_CALLERS_WORDS: Final = re.compile(
    r"image input is not supported|audio input is not supported|Failed to parse (?:tools|messages|grammar|input)"
    r"|(?:Missing|Invalid) tool"
)
"""How llama.cpp's server begins when it answers 500 for what is wrong with a request: seen of build 11549."""
_NO_TEMPLATE: Final = re.compile(
    r"has no chat template"  # our fronts and gateways
    r"|default chat template is no longer allowed"  # vLLM 0.32
    r"|tokenizer\.chat_template is not set",  # transformers 5, and servers that pass on what it says
    re.IGNORECASE,
)


def classify(
    name: str, status: int, said: bytes, retry_after_s: float | None, *, secret: str | None = None
) -> ChangeoverError:
    """The error for a status that is no success.

    Args:
        name: The deployment's.
        status: HTTP status, no success.
        said: The body; its message is passed on, on one line and at most 500 characters of it.
        retry_after_s: What the engine asked for, None if it did not.
        secret: Taken out of the message should the engine repeat it.
    """
    if (status in CALLERS_FAULT or status == 500) and (too_long := overflow(name, said)) is not None:
        return too_long
    message = _message(said, secret)
    if status == 500 and _CALLERS_WORDS.match(message):
        status = 400
    if status in CALLERS_FAULT and _NO_TEMPLATE.search(message):
        return _from_model(NoTemplateError(f"`{name}`"))
    if status in CALLERS_FAULT:
        refused = RequestError(f"`{name}` refused the request: {message or f'status {status}'}")
        refused.status = status
        return _from_model(refused)
    if status == 429:
        return _from_model(
            CapacityError(f"`{name}` has too much to do. Try again shortly.", retry_after_s=retry_after_s or 1.0)
        )
    if status == 503 and retry_after_s is not None:
        return _from_model(
            NotReadyError(f"`{name}` cannot answer yet. Try again shortly.", retry_after_s=retry_after_s)
        )
    # Of a refused key, servers repeat parts.
    ending = f": {message}" if message and status not in (401, 403) else "."
    return UpstreamError(f"`{name}` answered with status {status}{ending}", upstream_status=status)


def retry_after(header: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a `Retry-After` header asks for, 0 to an hour; None without one or if it cannot be read."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            at = parsedate_to_datetime(header)
        except ValueError:
            return None
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        seconds = (at - (now or datetime.now(UTC))).total_seconds()
    # Written so that NaN becomes 0.
    return min(seconds, LONGEST_RETRY_AFTER_S) if seconds > 0 else 0.0


def _from_model(error: ChangeoverError) -> ChangeoverError:
    error.source = "model"
    return error


def _message(said: bytes, secret: str | None) -> str:
    """The engine's own words, on one line and bounded; empty if it said nothing readable."""
    try:
        text = _find_message(msgspec.json.decode(said))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = said.decode(errors="replace")
    if secret:
        text = text.replace(secret, "[secret]")
    line = re.sub(r"\s+", " ", "".join(each if each.isprintable() else " " for each in text)).strip()
    return line if len(line) <= MAX_WORDS else line[: MAX_WORDS - 1] + "…"


def _find_message(value: Any) -> str:
    """Where the servers in use put it: `error.message` (OpenAI, llama.cpp), `message` (vLLM), `detail` (FastAPI)."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        for key in ("error", "message", "detail"):
            if fields.get(key):
                return _find_message(fields[key])
        return ""
    return msgspec.json.encode(value).decode()
