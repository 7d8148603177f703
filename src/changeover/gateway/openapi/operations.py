"""What each route is for, what it takes and what it gives: one entry a path, those of calls from the table of endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from changeover.gateway.endpoints import ENDPOINTS, Endpoint
from changeover.gateway.openapi import admin, tools
from changeover.gateway.openapi.described import Described
from changeover.gateway.routes import MODEL_PREFIX, Route
from changeover.tasks.exchanges import Endpoint as EndpointName

HEALTH_OF_LOOKERS = "one that may look is shown more"
CALLS_REFUSED = (404, 413, 422, 429, 502, 503, 504)
"""Of a request that asks a model."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """What only a person can say of an endpoint; the rest is in the table of endpoints."""

    creates: str
    summary: str
    about: str
    answers: str


WORDS: Mapping[EndpointName, Words] = {
    "chat": Words(
        creates="ChatCompletion",
        summary="Answer a conversation",
        about="OpenAI's chat completions. The task's prompt becomes, or goes before, the first system message.",
        answers="The answer",
    ),
    "completions": Words(
        creates="Completion",
        summary="Continue a text",
        about="OpenAI's legacy completions. The task's prompt goes before the text.",
        answers="The continuation",
    ),
    "embeddings": Words(
        creates="Embedding",
        summary="Turn texts into vectors",
        about="OpenAI's embeddings. Neither the task's prompt nor its parameters are put in.",
        answers="One vector for each text, in their order",
    ),
    "responses": Words(
        creates="Response",
        summary="Answer, in OpenAI's newer form",
        about=(
            "OpenAI's responses, where the engine serves them; nothing is kept between calls, so the whole conversation "
            "is sent each time. The task's prompt goes before `instructions`."
        ),
        answers="The response",
    ),
    "messages": Words(
        creates="Message",
        summary="Answer, in Anthropic's form",
        about="Anthropic's messages, where the engine serves them. The task's prompt goes before `system`.",
        answers="The message",
    ),
}


def _described(endpoint: Endpoint) -> Described:
    """An endpoint's operation. Its schemas are named after it: `ChatRequest`, `ChatAnswer`, `ChatEvent`."""
    words, schema = WORDS[endpoint.name], endpoint.name.removesuffix("s").title()
    return Described(
        name=f"create{words.creates}",
        summary=words.summary,
        about=words.about,
        answers=f"{words.answers}, whole or as a stream." if endpoint.streams else f"{words.answers}.",
        body=f"{schema}Request",
        answer=f"{schema}Answer",
        event=f"{schema}Event" if endpoint.streams else None,
        refusals=CALLS_REFUSED,
    )


DESCRIBED: Mapping[str, Described] = {
    **{path: _described(endpoint) for path, endpoint in ENDPOINTS.items()},
    "/v1/feedback": Described(
        name="createFeedback",
        summary="Say whether an answer was good",
        about=(
            "For answers to requests of the same key or team; an operator's or admin's key may rate any. What a key says last of a "
            "request counts. A comment is kept as the task keeps content: masked, or not at all, where it says so."
        ),
        answers="It is written, with as much of the comment as is kept.",
        body="FeedbackRequest",
        answer="Feedback",
        refusals=(404, 413, 429, 503),
    ),
    "/v1/models": Described(
        name="listModels",
        summary="List the tasks that the key may call",
        about="As OpenAI lists models.",
        answers="The tasks, and deployments that the key was granted.",
        answer="ModelList",
    ),
    MODEL_PREFIX: Described(
        name="retrieveModel",
        summary="Look at one task",
        about="As OpenAI shows a model.",
        answers="The task.",
        answer="Model",
        refusals=(404,),
    ),
    "/openapi.json": Described(
        name="getOpenApi",
        summary="This document",
        about="OpenAPI 3.1.",
        answers="The document.",
        answer="OpenApi",
    ),
    "/metrics": Described(
        name="getMetrics",
        summary="What the gateway counts",
        about="For Prometheus. It speaks of every task, so that a key which is limited to some is refused.",
        answers="Prometheus' text format.",
        media="text/plain",
    ),
    "/healthz": Described(
        name="getHealth",
        summary="Whether the gateway answers",
        about="For load balancers. A store that is gone is shown and is no failure: answers go on.",
        answers="It answers.",
        answer="Health",
    ),
    **admin.DESCRIBED,
    **tools.DESCRIBED,
}


def described(route: Route, method: str) -> Described:
    """The words for one method of a route."""
    return DESCRIBED.get(f"{method} {route.path}") or DESCRIBED[route.path]
