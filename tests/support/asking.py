"""Asking an engine directly, as the gateway would."""

from __future__ import annotations

import json
from typing import Any

from changeover.serving.upstream import Upstream

CHAT = "/v1/chat/completions"


async def ask(upstream: Upstream, text: str, *, path: str = CHAT, first_byte_s: float = 60, **fields: Any) -> str:
    """What an engine says to one message."""
    body = {"messages": [{"role": "user", "content": text}], "temperature": 0, **fields}
    answer = await upstream.fetch(path, json.dumps(body).encode(), first_byte_s=first_byte_s, stall_s=first_byte_s)
    return json.loads(answer)["choices"][0]["message"]["content"]
