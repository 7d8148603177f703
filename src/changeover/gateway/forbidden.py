"""What a body may not hold: addresses that somebody would fetch, and the engine's own levers.

No URL, host or file path of a caller's reaches an engine: many fetch what a part of a message names. Pictures and sound
come as `data:` URLs, inside the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from changeover.core.errors import RequestError

ENGINE_LEVERS = frozenset(
    {
        "chat_template",  # a program that the engine would run
        "id_slot",
        "kv_transfer_params",  # names hosts
        "lora",
        "media_io_kwargs",
        "mcp_servers",  # names hosts
        "mm_processor_kwargs",
        "priority",
    }
)
"""Fields by which a request could reach past its own answer. A deployment sets them, nobody else."""
OWN_TOOLS = frozenset({"function", "custom"})
"""Tools that the caller runs itself. Others (`mcp`, `web_search`, …) would make the engine call somebody."""
_ADDRESSES = frozenset({"url", "image_url", "audio_url", "video_url", "file_url", "file_id", "server_url", "path"})
_INLINE = "data:"


def refuse_forbidden(fields: Mapping[str, Any]) -> None:
    """Look through a body.

    Raises:
        RequestError: It names an address or a lever; says which field.
    """
    if not ENGINE_LEVERS.isdisjoint(fields):
        found = ", ".join(f"`{name}`" for name in sorted(ENGINE_LEVERS.intersection(fields)))
        raise RequestError(f"{found}: set by the deployment and never by a request. Leave it out.")
    tools = fields.get("tools")
    if tools is not None:
        _check_tools(tools)
    for name in ("messages", "input", "system"):
        turns = fields.get(name)
        if isinstance(turns, list):
            for place, turn in enumerate(cast("list[Any]", turns)):
                if isinstance(turn, dict):
                    _check_turn(cast("dict[str, Any]", turn), f"{name}[{place}]")


def _check_tools(tools: Any) -> None:
    if not isinstance(tools, list):
        raise RequestError("`tools` must be a list.")
    for place, tool in enumerate(cast("list[Any]", tools)):
        kind = cast("dict[str, Any]", tool).get("type", "function") if isinstance(tool, dict) else None
        if not isinstance(kind, str) or kind not in OWN_TOOLS:
            raise RequestError(f"`tools[{place}]`: only tools of type `function` that the caller runs itself.")


def _check_turn(turn: Mapping[str, Any], where: str) -> None:
    content = turn.get("content")
    if isinstance(content, list):
        for place, part in enumerate(cast("list[Any]", content)):
            if isinstance(part, dict):
                _check_part(cast("dict[str, Any]", part), f"{where}.content[{place}]")
    elif content is None or isinstance(content, dict):
        _check_part(turn, where)  # an input item of /v1/responses that is a part itself


def _check_part(part: Mapping[str, Any], where: str) -> None:
    kind = part.get("type")
    if kind in ("text", "input_text", "output_text", "tool_use", "tool_call", "function_call", "function_call_output"):
        return
    for name, value in part.items():
        if isinstance(value, str):
            if name in _ADDRESSES and not value[:5].lower() == _INLINE:
                raise RequestError(
                    f"`{where}.{name}`: nobody here fetches an address. Send the content itself, as a `data:` URL."
                )
        elif isinstance(value, dict):
            _check_part(cast("dict[str, Any]", value), f"{where}.{name}")
        elif isinstance(value, list):
            for place, inner in enumerate(cast("list[Any]", value)):
                if isinstance(inner, dict):
                    _check_part(cast("dict[str, Any]", inner), f"{where}.{name}[{place}]")
