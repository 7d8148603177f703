"""Puts the document together from the table of routes, so that no route is missing and none is invented."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from changeover import __version__
from changeover.gateway.openapi import admin, answers, requests, tools
from changeover.gateway.openapi.described import Described
from changeover.gateway.openapi.operations import HEALTH_OF_LOOKERS, described
from changeover.gateway.openapi.shapes import Json, in_path, ref
from changeover.gateway.routes import MODEL_PREFIX, ROUTES, Route

ABOUT = (
    "Applications name a task in `model`; which model answers is decided here. Fields that are not described are passed "
    "on to the engine as they come, and what it says besides is passed back."
)
SECURITY: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`."},
    "api_key": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "The same key, as Anthropic's clients send it.",
    },
}
WITH_KEY: list[Json] = [{"bearer": []}, {"api_key": []}]
TASK_IN_PATH = in_path("id", "Name of a task, or of a deployment that the key was granted.")
STEERED_TASK = in_path("task", "Name of a task.")
REFUSED_TO_ALL = (400, 408, 500)
"""Whatever is asked: what is no HTTP, what does not arrive, and a fault of ours."""
REFUSED_WITH_KEY = (401, 403)


@cache
def document() -> Json:
    """The whole document, OpenAPI 3.1. The same object each time: it is read and never changed."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Changeover",
            "version": __version__,
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            path_of(route): {method.lower(): _operation(route, method) for method in route.methods} for route in ROUTES
        },
        "components": {
            "schemas": {**requests.SCHEMAS, **answers.SCHEMAS, **admin.SCHEMAS, **tools.SCHEMAS},
            "responses": {f"Refused{status}": _refused(status, words) for status, words in answers.REFUSALS.items()},
            "headers": answers.HEADERS,
            "securitySchemes": SECURITY,
        },
    }


def path_of(route: Route) -> str:
    """A route's path as the document writes it."""
    return f"{route.path}{{id}}" if route.path == MODEL_PREFIX else route.path


def _operation(route: Route, method: str) -> Json:
    words = described(route, method)
    responses: Json = {"200": _answered(route, words, method)}
    if words.accepted is not None:
        content = {"application/json": {"schema": ref(words.accepted)}}
        responses["202"] = {
            "description": "It was taken in as a job.",
            "headers": _headers(["x-changeover-request-id", "location"]),
            "content": content,
        }
    operation: Json = {
        "operationId": f"{words.name}Head" if method == "HEAD" else words.name,
        "summary": words.summary,
        "description": f"{words.about} Keys that may: {_who(route)}.",
        "responses": {**responses, **_refusals(route, words)},
        "security": WITH_KEY if route.roles else [{}, *WITH_KEY],
        "x-roles": sorted(route.roles),
    }
    if words.body is not None:
        content = {"application/json": {"schema": ref(words.body)}}
        if words.form is not None:
            content["multipart/form-data"] = {"schema": ref(words.form)}
        operation["requestBody"] = {"required": True, "content": content}
    if route.path == MODEL_PREFIX:
        operation["parameters"] = [TASK_IN_PATH]
    elif "{task}" in route.path:
        operation["parameters"] = [STEERED_TASK]
    elif named := [each for mark, each in tools.PARAMETERS.items() if mark in route.path]:
        operation["parameters"] = [*named, *words.query]
    return operation


def _who(route: Route) -> str:
    if not route.roles:
        return f"none is needed; {HEALTH_OF_LOOKERS}"
    return ", ".join(sorted(route.roles))


def _answered(route: Route, words: Described, method: str) -> Json:
    names = ["x-changeover-request-id"]
    if route.endpoint is not None:
        names += ["x-changeover-route", "x-changeover-deployment", "x-changeover-bundle"]
    answered: Json = {"description": words.answers, "headers": _headers(names)}
    if method == "HEAD":
        return answered
    schema = ref(words.answer) if words.answer else {"type": "string"}
    content: Json = {words.media: {"schema": schema}}
    if words.event is not None:  # in OpenAPI 3.1 the schema of this type is each event's
        content["text/event-stream"] = {"schema": ref(words.event)}
    return {**answered, "content": content}


def _refusals(route: Route, words: Described) -> Json:
    statuses = [*REFUSED_TO_ALL, *(REFUSED_WITH_KEY if route.roles else (401,)), *words.refusals]
    return {str(status): {"$ref": f"#/components/responses/Refused{status}"} for status in sorted(statuses)}


def _refused(status: int, words: str) -> Json:
    more = {401: ["www-authenticate"], 429: ["retry-after"], 503: ["retry-after"]}.get(status, [])
    return {
        "description": words,
        "headers": {
            **_headers(["x-changeover-request-id"], required=status not in (400, 408)),
            **_headers(more, False),
        },
        "content": {"application/json": {"schema": ref("Refusal")}},
    }


def _headers(names: Iterable[str], required: bool = True) -> Mapping[str, Any]:
    if required:
        return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    return {name: {**answers.HEADERS[name], "required": False} for name in names}
