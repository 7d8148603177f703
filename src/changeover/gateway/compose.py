"""What an engine is sent: the caller's body with the variant's prompt, parameters and model name put in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from changeover.serving.variants import Variant


def compose(body: Mapping[str, Any], variant: Variant, *, model: str, stream: bool) -> bytes:
    """The body for one variant.

    The caller's own parameters win over the variant's; a system message of the caller's follows the task's prompt in
    the same message, because many chat templates take only one. A stream is always asked for its usage, so that every
    request is counted.
    """
    sent: dict[str, Any] = {**variant.bundle.parameters, **body, "model": model}
    if variant.bundle.prompt:
        sent["messages"] = _with_prompt(sent["messages"], variant.bundle.prompt)
    if stream:
        options = sent.get("stream_options")
        sent["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    return msgspec.json.encode(sent)


def _with_prompt(messages: list[dict[str, Any]], prompt: str) -> list[dict[str, Any]]:
    first = messages[0]
    if first["role"] == "system" and isinstance(first.get("content"), str):
        return [{**first, "content": f"{prompt}\n\n{first['content']}"}, *messages[1:]]
    return [{"role": "system", "content": prompt}, *messages]
