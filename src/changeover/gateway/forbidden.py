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
        "n_predict",  # llama.cpp's own bound of an answer, above the one that is reserved for
        "mm_processor_kwargs",
        "priority",
    }
)
"""Fields by which a request could reach past its own answer. A deployment sets them, nobody else."""
TEMPLATE_LEVERS = frozenset({"chat_template", "tokenize", "add_generation_prompt", "continue_final_message"})
"""What a template's own arguments may not be: some engines let them replace theirs."""
OWN_TOOLS = frozenset({"function", "custom"})
"""Tools that the caller runs itself. Others (`mcp`, `web_search`, …) would make the engine call somebody."""
_ADDRESSES = frozenset(
    {
        *("url", "image_url", "audio_url", "video_url", "file_url", "server_url", "uri", "path", "file_id"),
        *("image", "images", "audio", "video"),
    }
)
"""Names under which engines look for something to fetch."""
_CALLERS_OWN = frozenset(
    {
        "annotations",  # of an earlier answer
        "arguments",  # of a tool call: data for the caller's own tools
        "function",
        "functions",
        "logit_bias",
        "metadata",
        "response_format",
        "tool_calls",
        "tool_choice",
        "tools",  # schemas, in which anything may be a name; `_check_tools` looks at them
    }
)
"""Members that no engine fetches anything for, whatever they hold."""
_INLINE = "data:"
_MOST_DEPTH = 64


def refuse_forbidden(fields: Mapping[str, Any]) -> None:
    """Look through a body.

    Raises:
        RequestError: It names an address or a lever; says which field.
    """
    if not ENGINE_LEVERS.isdisjoint(fields):
        found = ", ".join(f"`{name}`" for name in sorted(ENGINE_LEVERS.intersection(fields)))
        raise RequestError(f"{found}: set by the deployment and never by a request. Leave it out.")
    template = fields.get("chat_template_kwargs")
    if isinstance(template, dict) and not TEMPLATE_LEVERS.isdisjoint(cast("dict[str, Any]", template)):
        raise RequestError("`chat_template_kwargs`: a template is set by the deployment and never by a request.")
    tools = fields.get("tools")
    if tools is not None:
        _check_tools(tools)
    _look_through(fields, "", 0)


def _check_tools(tools: Any) -> None:
    if not isinstance(tools, list):
        raise RequestError("`tools` must be a list.")
    for place, tool in enumerate(cast("list[Any]", tools)):
        kind = cast("dict[str, Any]", tool).get("type", "function") if isinstance(tool, dict) else None
        if not isinstance(kind, str) or kind not in OWN_TOOLS:
            raise RequestError(f"`tools[{place}]`: only tools of type `function` that the caller runs itself.")


def _look_through(value: Mapping[str, Any], where: str, depth: int) -> None:
    """Every member of an object, whatever kind of part it says it is: engines do not all read the kind either."""
    if depth > _MOST_DEPTH:
        raise RequestError("The body is nested too deeply.")
    own_input = value.get("type") == "tool_use"
    for name, member in value.items():
        if isinstance(member, str):
            if name in _ADDRESSES:
                _check_address(member, name, where)
        elif isinstance(member, dict):
            if name not in _CALLERS_OWN and not (own_input and name == "input"):
                _look_through(cast("dict[str, Any]", member), f"{where}{name}.", depth + 1)
        elif isinstance(member, list) and name not in _CALLERS_OWN:
            _look_through_list(cast("list[Any]", member), name, where, depth + 1)


def _look_through_list(members: list[Any], name: str, where: str, depth: int) -> None:
    if depth > _MOST_DEPTH:
        raise RequestError("The body is nested too deeply.")
    for place, member in enumerate(members):
        if isinstance(member, dict):
            _look_through(cast("dict[str, Any]", member), f"{where}{name}[{place}].", depth + 1)
        elif isinstance(member, list):
            _look_through_list(cast("list[Any]", member), f"{name}[{place}]", where, depth + 1)
        elif isinstance(member, str) and name in _ADDRESSES:
            _check_address(member, f"{name}[{place}]", where)


def _check_address(value: str, name: str, where: str) -> None:
    # Bytes in base 64 have no colon and are no address; they may begin with a slash.
    if value[:5].lower() == _INLINE or (
        name.startswith(("image", "audio", "video")) and ":" not in value and not value.startswith("//")
    ):
        return
    raise RequestError(f"`{where}{name}`: nobody here fetches an address. Send the content itself, as a `data:` URL.")
