"""What a request needs of whoever answers it, and what each way surely has not: nothing is ignored without a word.

A need is a capability's name, or an endpoint's. What nobody knows of an engine is no reason to refuse: it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from changeover.core.errors import NoTemplateError, RequestError, UnsupportedError
from changeover.gateway.contract.toolcalls.forced import is_forced
from changeover.gateway.endpoints import ENDPOINTS
from changeover.serving.backends import BACKENDS
from changeover.serving.capabilities import CAPABILITIES, standing
from changeover.serving.options import BackendName
from changeover.serving.parts import EnginePart
from changeover.serving.profiles import NO_GRAMMAR, Endpoint, Profile

Needs = frozenset[str]

PLAIN: Final[Mapping[str, Needs]] = {each.name: frozenset((each.name,)) for each in ENDPOINTS.values()}
"""Of a request that asks for nothing beyond its endpoint."""
_GRAMMARS: Final = ("grammar", "structured_outputs", "guided_grammar", "guided_regex", "guided_choice")
_ASKING: Final = frozenset({*_GRAMMARS, "stop", "stop_sequences", "n", "logprobs", "prompt_logprobs", "tool_choice"})
"""Fields by which a request may need something; without them only its messages are looked at, for images."""
_IMAGES: Final = frozenset({"image_url", "input_image", "image"})
"""Types of parts of a message."""
_WORDS: Final[Mapping[str, str]] = {
    "completions": "text that goes on (`/v1/completions`)",
    "embeddings": "embeddings",
    "responses": "`/v1/responses`",
    "messages": "`/v1/messages`",
    "stop_sequences": "stop sequences (`stop`)",
    "choices": "several answers to one request (`n`)",
    "grammar": "answers held to a grammar (`grammar`)",
    "logprobs": "log-probabilities (`logprobs`)",
    "top_logprobs": "log-probabilities of other tokens (`top_logprobs`)",
    "prompt_logprobs": "log-probabilities of the prompt (`prompt_logprobs`, or `echo` with `logprobs`)",
    "vision": "eyes for images",
    "tools_forced": "calls that must be made (`tool_choice`)",
}
"""What a request may need, as a person says it. What is not here, the contract holds whoever answers."""
_TEMPLATED: Final = frozenset({"chat", "responses", "messages"})
"""Endpoints that need a chat template."""
_BY_HAND: Final = frozenset({"chat", *_WORDS})


def needs_of(endpoint: str, fields: Mapping[str, Any], *, plain: bool = False) -> Needs:
    """What a body needs. Some microseconds; a fraction of one for most.

    Args:
        endpoint: Its name.
        fields: The body.
        plain: It is a plain one, see `plain`: it may ask for several choices or for stops, and for nothing else.
    """
    if _ASKING.isdisjoint(fields) and (plain or not _has_image(fields.get("messages") or fields.get("input"))):
        return PLAIN[endpoint]
    return PLAIN[endpoint].union(_beyond(endpoint, fields))


def _beyond(endpoint: str, fields: Mapping[str, Any]) -> Iterator[str]:
    if fields.get("stop") or fields.get("stop_sequences"):
        yield "stop_sequences"
    if (fields.get("n") or 1) != 1:
        yield "choices"
    if any(fields.get(name) for name in _GRAMMARS):
        yield "grammar"
    logprobs = fields.get("logprobs")
    if logprobs is not None and logprobs is not False:
        yield "logprobs"
        # In legacy completions `logprobs` is itself the number of others.
        if fields.get("top_logprobs") or (endpoint == "completions" and logprobs is not True and logprobs):
            yield "top_logprobs"
        if fields.get("echo"):
            yield "prompt_logprobs"
    if fields.get("prompt_logprobs") is not None:
        yield "prompt_logprobs"
    if is_forced(fields):
        yield "tools_forced"
    if _has_image(fields.get("messages") or fields.get("input")):
        yield "vision"


def _has_image(messages: Any) -> bool:
    for message in cast("list[Any]", messages) if isinstance(messages, list) else ():
        content: Any = cast("dict[str, Any]", message).get("content") if isinstance(message, dict) else None
        for part in cast("list[Any]", content) if isinstance(content, list) else ():
            if isinstance(part, dict) and cast("dict[str, Any]", part).get("type") in _IMAGES:
                return True
    return False


def lacks_of(engine: EnginePart, profile: Profile) -> Needs:
    """What a deployment surely has not, of all that a request may need."""
    # Ray's replicas each run an engine of another kind, and pass on what comes.
    kind = engine.flags.get("engine") if engine.backend == "ray" else engine.backend
    known = BACKENDS.get(cast("BackendName", kind))  # None: another version wrote it
    has, lacks = profile.has, profile.lacks
    found = standing(known.capabilities, has=has, lacks=lacks) if known else dict.fromkeys(lacks, False)
    missing = {name for name, there in found.items() if there is False and name in _BY_HAND}
    if profile.structured not in NO_GRAMMAR:
        missing.discard("tools_forced")  # a schema forces them
    if profile.endpoints is not None:
        missing -= PLAIN.keys() & set(profile.endpoints)
        missing |= PLAIN.keys() - set(profile.endpoints)
    return frozenset(missing)


def unsupported(task: str | None, deployment: str, lacking: Needs, served: Sequence[Endpoint] | None) -> RequestError:
    """The refusal of a request that nobody in turn can answer: what is missing, and which engines have it.

    Args:
        task: Which was asked; None where the deployment itself was.
        deployment: Whose turn it was.
        lacking: What it has not.
        served: The endpoints that it has; None: not known.
    """
    who = f"`{deployment}`" if task is None else f"`{deployment}`, which answers `{task}`,"
    if served is not None and "completions" in served and "chat" not in served and lacking & _TEMPLATED:
        return NoTemplateError(who)
    name = min(lacking, key=_order)
    by = (name, "json_schema") if name == "tools_forced" else (name,)  # a schema forces them
    engines = [
        kind
        for kind, backend in BACKENDS.items()
        if kind != "echo" and any(getattr(backend.capabilities, each, False) for each in by)
    ]
    where = f" Engines that have it: {', '.join(f'`{kind}`' for kind in sorted(engines))}." if engines else ""
    return UnsupportedError(
        f"{who} has no {_WORDS.get(name, f'`{name}`')}.{where} Leave it out of the request, "
        "or have the task answered by a deployment that has it."
    )


def _order(name: str) -> int:
    names: Sequence[str] = CAPABILITIES
    return names.index(name) if name in names else -1
