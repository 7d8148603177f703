"""Stage 2: what is asked. Reads the few fields that matter; the rest of the body is passed on untouched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from changeover.core.errors import PermissionError_, RequestError, UnknownTaskError, nearest
from changeover.gateway.keys import Key
from changeover.gateway.snapshot import LiveTask, Snapshot
from changeover.serving.variants import Variant

PIN = "@"
"""`task@variant` names one variant of a task: for evaluations, with an operator's key."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, understood. It keeps the route revision that it started with."""

    id: str
    key: Key
    live: LiveTask
    pinned: Variant | None
    """The only variant that may answer, if the caller named one."""
    body: Mapping[str, Any]
    stream: bool
    wants_usage: bool
    """The caller of a stream asked for the usage chunk."""
    sticky: str
    """Requests with the same value are answered by the same side."""


def resolve(id: str, body: bytes, key: Key, snapshot: Snapshot, find_variant: Callable[[str], Variant | None]) -> Call:
    """Turn a body into a call of a task.

    Raises:
        RequestError: The body is not what chat completions ask for; says which field.
        UnknownTaskError: No such task; lists those there are.
        PermissionError_: A variant was named without an operator's key.
    """
    fields = _fields(body)
    name, pinned_id = _task_and_pin(fields)
    live = snapshot.tasks.get(name)
    if live is None:
        raise UnknownTaskError(f"No task named `{name}`. {nearest(name, snapshot.tasks)}")
    _check_messages(fields)
    stream = fields.get("stream") or False
    if not isinstance(stream, bool):
        raise RequestError("`stream` must be true or false.")
    options = fields.get("stream_options")
    return Call(
        id=id,
        key=key,
        live=live,
        pinned=None if pinned_id is None else _pinned(name, pinned_id, key, live, find_variant),
        body=fields,
        stream=stream,
        wants_usage=isinstance(options, dict) and cast("dict[str, Any]", options).get("include_usage") is True,
        sticky=_sticky(fields, key),
    )


def pinned_variant(body: bytes) -> str | None:
    """The variant that a body names, if it does and can be read."""
    try:
        _, pinned = _task_and_pin(_fields(body))
    except RequestError:
        return None
    return pinned


def _fields(body: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise RequestError(f"The body is not JSON: {exc}.") from exc
    except RecursionError as exc:
        raise RequestError("The body is nested too deeply.") from exc
    if not isinstance(value, dict):
        raise RequestError("The body must be a JSON object.")
    return cast("dict[str, Any]", value)


def _task_and_pin(fields: Mapping[str, Any]) -> tuple[str, str | None]:
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise RequestError("`model` is missing: name the task there, such as `summarise`.")
    name, found, variant = model.partition(PIN)
    return name, variant if found else None


def _pinned(
    task: str, variant_id: str, key: Key, live: LiveTask, find_variant: Callable[[str], Variant | None]
) -> Variant:
    if key.role != "operator":
        # The same words as for any unknown name: whoever may not name variants learns nothing of them.
        raise UnknownTaskError(f"No task named `{task}{PIN}{variant_id}`. Known: {task}.")
    variant = live.variants.get(variant_id) or find_variant(variant_id)
    if variant is None or variant.task != task:
        raise PermissionError_(f"`{variant_id}` is no variant of task `{task}`.")
    return variant


def _check_messages(fields: Mapping[str, Any]) -> None:
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestError("`messages` must be a list with at least one message.")
    for place, message in enumerate(cast("list[Any]", messages)):
        if not isinstance(message, dict) or not isinstance(cast("dict[str, Any]", message).get("role"), str):
            raise RequestError(f"`messages[{place}]` must be an object with a `role`.")


def _sticky(fields: Mapping[str, Any], key: Key) -> str:
    """The user if the caller names one, else the conversation: its first user message stays the same over all turns."""
    user = fields.get("user")
    if isinstance(user, str) and user:
        return f"{key.id}:{user}"
    for message in fields["messages"]:
        if message["role"] == "user":
            return f"{key.id}:{message.get('content')}"
    return key.id
