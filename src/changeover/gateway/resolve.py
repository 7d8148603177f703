"""Stage 2: what is asked. Reads the few fields that matter; the rest of the body is passed on untouched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from changeover.core.errors import PermissionError_, RequestError, UnknownTaskError, nearest
from changeover.gateway.begun import Begun
from changeover.gateway.contract.structured import Expectation
from changeover.gateway.endpoints import Endpoint
from changeover.gateway.keys import STEERERS, Key
from changeover.gateway.needs import Needs, needs_of
from changeover.gateway.snapshot import DIRECT, LiveTask, Snapshot
from changeover.serving.variants import Variant

PIN = "@"
"""`task@variant` names one variant of a task: for evaluations, with the key of an operator or an admin. So does `@deployment` a deployment."""

_decode = msgspec.json.Decoder().decode


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request, understood. It keeps the route revision that it started with."""

    id: str
    key: Key
    endpoint: Endpoint
    name: str
    """The task or deployment as the caller named it: the answer's `model`."""
    live: LiveTask
    pinned: Variant | None
    """The only variant that may answer, if the caller named one."""
    body: Mapping[str, Any]
    stream: bool
    wants_usage: bool
    """The caller of a stream asked for the usage chunk; of another answer it is always part."""
    sticky: str
    """Requests with the same value are answered by the same side."""
    internal: bool
    """Made by an evaluation: charged to nobody, never recorded with its content."""
    expects: Expectation | None = None
    """The shape that the caller asked the answer to have."""
    plain: bool = False
    """Nothing in the body is to be refused or changed, see `plain`."""
    needs: Needs = frozenset()
    """What whoever answers must be able to do."""
    begun: Begun | None = None
    """What the caller has got already of an answer that broke off; None: it is asked from the beginning."""


def read_fields(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. Of a key that stands there twice the last one counts, for us and for the engine.

    Raises:
        RequestError: It is none.
    """
    try:
        value = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise RequestError(f"The body is not JSON: {exc}.") from exc
    except RecursionError as exc:
        raise RequestError("The body is nested too deeply.") from exc
    if not isinstance(value, dict):
        raise RequestError("The body must be a JSON object.")
    return cast("dict[str, Any]", value)


def resolve(
    id: str,
    endpoint: Endpoint,
    fields: dict[str, Any],
    key: Key,
    snapshot: Snapshot,
    find_variant: Callable[[str], Variant | None],
    *,
    plain: bool = False,
) -> Call:
    """Turn a body into a call of a task.

    Args:
        id: The request's.
        endpoint: Where it was sent.
        fields: Its body.
        key: Who calls.
        snapshot: What there is to call.
        find_variant: Where variants are found that no route names.
        plain: The body is known to be a plain one, see `plain`: what it holds need not be looked at again.

    Raises:
        RequestError: The body is not what the endpoint asks for; says which field.
        UnknownTaskError: No such task for this key; lists those it may call.
        PermissionError_: A variant was named that is none of the task's.
    """
    name, pinned_id = task_and_pin(fields)
    live = snapshot.tasks.get(name)
    if live is None or pinned_id is not None or not (key.tasks is None or name in key.tasks):
        live = _live(name, pinned_id, key, snapshot)
    if not plain:
        endpoint.check(fields)
        _check_counts(endpoint, fields)
    given = fields.get("stream")
    stream = False if given is None else given
    if not isinstance(stream, bool):
        raise RequestError("`stream` must be true or false.")
    if stream and not endpoint.streams:
        raise RequestError(f"`stream`: {endpoint.path} gives its answer whole.")
    pinned = None if pinned_id is None else _pinned(name, pinned_id, live, find_variant)
    wants = True
    if stream and endpoint.usage_option:
        options = fields.get("stream_options")
        wants = isinstance(options, dict) and cast("dict[str, Any]", options).get("include_usage") is True
    return Call(
        id=id,
        key=key,
        endpoint=endpoint,
        name=name,
        live=live,
        pinned=pinned,
        body=fields,
        stream=stream,
        wants_usage=wants,
        # Who is asked matters only where two may answer.
        sticky="" if live.route.candidate is None else sticky_of(fields, key, endpoint),
        internal=key.role in STEERERS and (pinned is not None or name.startswith(DIRECT)),
        expects=Expectation.of(fields) if endpoint.shaped and endpoint.shaped in fields else None,
        plain=plain,
        needs=needs_of(endpoint.name, fields, plain=plain),
    )


def task_and_pin(fields: Mapping[str, Any]) -> tuple[str, str | None]:
    """The `model` field in its two parts.

    Raises:
        RequestError: There is none.
    """
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise RequestError("`model` is missing: it names the task, such as `summarise`.")
    if PIN not in model or model.startswith(DIRECT):
        return model, None
    name, _, pinned = model.partition(PIN)
    return name, pinned


def _check_counts(endpoint: Endpoint, fields: Mapping[str, Any]) -> None:
    """What bounds an answer is reckoned with before it is asked for, so that it must be a number."""
    for name in (*endpoint.max_tokens, "n", "best_of"):
        value = fields.get(name)
        if value is not None and (type(value) is not int or value < 1):
            raise RequestError(f"`{name}` must be a whole number of 1 or more.")


def may_call(key: Key, task: str) -> bool:
    """Whether a key may name a task."""
    return key.tasks is None or task in key.tasks


def callable_tasks(key: Key, snapshot: Snapshot) -> list[str]:
    """Every name that a key may put into `model`."""
    tasks = [name for name in snapshot.tasks if may_call(key, name)]
    return sorted([*tasks, *(name for name in key.deployments if name in snapshot.deployments)])


def _live(name: str, pinned: str | None, key: Key, snapshot: Snapshot) -> LiveTask:
    live = snapshot.tasks.get(name)
    # Whoever may not name a variant, a task or a deployment gets the words for any unknown name, and learns nothing.
    if live is not None and may_call(key, name) and (pinned is None or key.role in STEERERS):
        return live
    if pinned is None and name in key.deployments:
        direct = snapshot.deployments.get(name)
        if direct is not None:
            return direct
    if key.role in STEERERS and name.startswith(DIRECT):
        direct = snapshot.deployments.get(name.removeprefix(DIRECT))
        if direct is not None:
            return direct
    asked = name if pinned is None else f"{name}{PIN}{pinned}"
    raise UnknownTaskError(f"No task named `{asked[:200]}`. {nearest(name[:200], callable_tasks(key, snapshot))}")


def _pinned(task: str, variant_id: str, live: LiveTask, find_variant: Callable[[str], Variant | None]) -> Variant:
    variant = live.variants.get(variant_id) or find_variant(variant_id)
    if variant is None or variant.task != task:
        raise PermissionError_(f"`{variant_id[:200]}` is no variant of task `{task}`.")
    return variant


def sticky_of(fields: Mapping[str, Any], key: Key, endpoint: Endpoint) -> str:
    """What keeps a caller on one side: the user if the caller names one, else the conversation.

    Its first words stay the same over all turns.
    """
    user = fields.get("user")
    if isinstance(user, str) and user:
        return f"{key.id}:{user}"
    words = endpoint.first_words(fields)
    return f"{key.id}:{words}" if words else key.id
