"""What an engine is sent: the caller's body with the variant's prompt, parameters and model name put in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from changeover.gateway.begun import Begun, gone_on
from changeover.gateway.contract import prepare
from changeover.gateway.endpoints import EMBEDDINGS, Endpoint
from changeover.serving.profiles import Profile
from changeover.serving.variants import Variant

_encode = msgspec.json.Encoder().encode


def compose(
    body: Mapping[str, Any],
    endpoint: Endpoint,
    variant: Variant,
    profile: Profile,
    *,
    model: str,
    stream: bool,
    most_tokens: int | None = None,
    plain: bool = False,
    begun: Begun | None = None,
) -> bytes:
    """The body for one variant.

    The caller's own parameters win over the variant's. A stream is always asked for its usage, so that every request is
    counted.

    Args:
        body: As the caller sent it.
        endpoint: Where it was sent.
        variant: Who is asked: its prompt and parameters are put in.
        profile: How its model and engine speak.
        model: What the engine calls the model.
        stream: Whether the answer shall be a stream.
        most_tokens: Bound of the answer; a larger one of the caller's is lowered.
        plain: The body is a plain one, see `plain`.
        begun: What is there of the answer already: the rest is asked for.
    """
    bundle = variant.bundle
    sent: dict[str, Any] = {**_parameters(variant, endpoint), **body} if bundle.parameters else dict(body)
    sent["model"] = model
    if bundle.prompt:
        endpoint.with_prompt(sent, bundle.prompt)
    if most_tokens is not None:
        _bound(sent, endpoint, most_tokens)
    if stream and endpoint.usage_option:
        options = sent.get("stream_options")
        sent["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    elif not stream:
        sent.pop("stream_options", None)
        if sent.get("stream"):
            sent["stream"] = False
    # A parameter of the variant's may be one that the family has another word for.
    if plain and begun is None and not bundle.parameters and profile.takes_plain:
        return _encode(profile.with_seed(sent) if "seed" in sent else sent)
    sent = prepare(profile, endpoint.name, sent)
    return _encode(sent if begun is None else gone_on(profile, sent, begun))


def _parameters(variant: Variant, endpoint: Endpoint) -> Mapping[str, Any]:
    parameters = variant.bundle.parameters
    if not parameters or endpoint is EMBEDDINGS:
        return {}
    if "max_tokens" in parameters and endpoint.max_tokens[0] != "max_tokens":
        renamed = {key: value for key, value in parameters.items() if key != "max_tokens"}
        return {**renamed, endpoint.max_tokens[0]: parameters["max_tokens"]}
    return parameters


def _bound(sent: dict[str, Any], endpoint: Endpoint, most: int) -> None:
    named = [name for name in endpoint.max_tokens if isinstance(sent.get(name), int)]
    for name in named:
        sent[name] = min(cast("int", sent[name]), most)
    if not named and endpoint.max_tokens:
        sent[endpoint.max_tokens[0]] = most
