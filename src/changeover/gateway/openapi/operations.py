"""What each route is for, what it takes and what it gives: one entry a path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from changeover.gateway.routes import MODEL_PREFIX

HEALTH_OF_LOOKERS = "an operator's or monitor's is shown more"
CALLS_REFUSED = (404, 413, 422, 429, 502, 503, 504)
"""Of a request that asks a model."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """The words for one route."""

    name: str
    summary: str
    about: str
    answers: str
    """What a 200 holds."""
    body: str | None = None
    """Name of the schema of what is sent."""
    answer: str | None = None
    """Name of the schema of a 200; None: text."""
    media: str = "application/json"
    event: str | None = None
    """Name of the schema of one event of a stream; None: there is none."""
    refusals: tuple[int, ...] = ()
    """Statuses besides those that any route may answer."""


DESCRIBED: Mapping[str, Described] = {
    "/v1/chat/completions": Described(
        name="createChatCompletion",
        summary="Answer a conversation",
        about="OpenAI's chat completions. The task's prompt becomes, or goes before, the first system message.",
        answers="The answer, whole or as a stream.",
        body="ChatRequest",
        answer="ChatAnswer",
        event="ChatEvent",
        refusals=CALLS_REFUSED,
    ),
    "/v1/completions": Described(
        name="createCompletion",
        summary="Continue a text",
        about="OpenAI's legacy completions. The task's prompt goes before the text.",
        answers="The continuation, whole or as a stream.",
        body="CompletionRequest",
        answer="CompletionAnswer",
        event="CompletionEvent",
        refusals=CALLS_REFUSED,
    ),
    "/v1/embeddings": Described(
        name="createEmbedding",
        summary="Turn texts into vectors",
        about="OpenAI's embeddings. Neither the task's prompt nor its parameters are put in.",
        answers="One vector for each text, in their order.",
        body="EmbeddingRequest",
        answer="EmbeddingAnswer",
        refusals=CALLS_REFUSED,
    ),
    "/v1/responses": Described(
        name="createResponse",
        summary="Answer, in OpenAI's newer form",
        about=(
            "OpenAI's responses, where the engine serves them; nothing is kept between calls, so the whole conversation "
            "is sent each time. The task's prompt goes before `instructions`."
        ),
        answers="The response, whole or as a stream.",
        body="ResponseRequest",
        answer="ResponseAnswer",
        event="ResponseEvent",
        refusals=CALLS_REFUSED,
    ),
    "/v1/messages": Described(
        name="createMessage",
        summary="Answer, in Anthropic's form",
        about="Anthropic's messages, where the engine serves them. The task's prompt goes before `system`.",
        answers="The message, whole or as a stream.",
        body="MessageRequest",
        answer="MessageAnswer",
        event="MessageEvent",
        refusals=CALLS_REFUSED,
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
        about="For Prometheus.",
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
}
