"""A request as one model on one engine takes it. The caller's words stay; what the family does otherwise is translated."""

from __future__ import annotations

from typing import Any, cast

from changeover.gateway.contract.effort import with_effort
from changeover.gateway.contract.history import with_history
from changeover.gateway.contract.roles import with_roles
from changeover.gateway.contract.shape import with_shape
from changeover.gateway.contract.toolcalls.forced import with_forced_call
from changeover.gateway.contract.toolcalls.prompt import with_prompted_tools
from changeover.serving.profiles import NO_GRAMMAR, Endpoint, Profile


def prepare(profile: Profile, endpoint: Endpoint, body: dict[str, Any]) -> dict[str, Any]:
    """The body to send. It is never changed; the same object comes back where there is nothing to translate.

    Messages, tools and effort are only translated for `chat`: the other calls have no such thing, or a shape of their own.
    """
    sent = body
    if endpoint == "chat" and isinstance(body.get("messages"), list):
        sent = _chat(profile, body)
    sent = profile.with_seed(sent)
    if profile.grammar != "grammar" and sent.get("grammar"):
        rest = {key: value for key, value in sent.items() if key != "grammar"}
        sent = {**rest, "structured_outputs": {"grammar": sent["grammar"]}}
    if profile.dropped and any(name in sent for name in profile.dropped):
        sent = {key: value for key, value in sent.items() if key not in profile.dropped}
    return sent


def _chat(profile: Profile, body: dict[str, Any]) -> dict[str, Any]:
    roles: set[Any] = set()
    for message in cast("list[Any]", body["messages"]):
        if not isinstance(message, dict):
            return body  # the engine says what is wrong with it
        role = cast("dict[str, Any]", message).get("role")
        roles.add(role if isinstance(role, str) else None)
    sent = with_effort(profile, body)
    if profile.tool_calls == "none":
        sent = with_prompted_tools(sent, grammar=profile.structured not in NO_GRAMMAR)
    sent = with_shape(profile, with_forced_call(profile, sent))
    messages = sent["messages"]
    if "assistant" in roles:
        messages = with_history(profile, messages)
    if messages is not body["messages"] or profile.system_role != "yes" or "developer" in roles:
        messages = with_roles(profile, messages)
    return sent if messages is sent["messages"] else {**sent, "messages": messages}
