"""What was asked and answered in a recorded exchange, as text that a person reads."""

from __future__ import annotations

from typing import Any

import msgspec

from changeover.tasks.exchanges import Exchange

NOT_KEPT = "(its content was not kept)"


def asked_of(exchange: Exchange) -> str:
    """The last thing that was asked; the whole request where it has another shape."""
    if exchange.request is None:
        return NOT_KEPT
    messages: Any = _document(exchange.request).get("messages")
    last: Any = messages[-1] if isinstance(messages, list) and messages else None  # pyright: ignore[reportUnknownVariableType]
    content: Any = last.get("content") if isinstance(last, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    return content if isinstance(content, str) else exchange.request


def answer_of(exchange: Exchange) -> str:
    """The answer's text; its document where it is none, and why there is none if there is none."""
    if exchange.response is None:
        return exchange.error or NOT_KEPT
    content: Any = _document(exchange.response).get("content")
    return content if isinstance(content, str) and content else exchange.response


def _document(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}
