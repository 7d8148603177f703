"""The document's calls come from the table of endpoints: none is forgotten, none is left over."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

from changeover.gateway.endpoints import ENDPOINTS
from changeover.gateway.openapi import document
from changeover.gateway.openapi.operations import DESCRIBED, WORDS, described
from changeover.gateway.routes import ROUTES
from changeover.tasks.exchanges import Endpoint as EndpointName


def call(path: str) -> Any:
    return document()["paths"][path]["post"]


def test_every_endpoint_has_words_and_no_words_are_left_over() -> None:
    assert WORDS.keys() == {endpoint.name for endpoint in ENDPOINTS.values()} == set(get_args(EndpointName))
    named = {(described(route, method).name, method) for route in ROUTES for method in route.methods}
    assert len(named) == sum(len(route.methods) for route in ROUTES)
    assert DESCRIBED.keys() <= {
        name for route in ROUTES for name in (route.path, *(f"{method} {route.path}" for method in route.methods))
    }


def test_a_stream_is_described_where_there_is_one() -> None:
    for path, endpoint in ENDPOINTS.items():
        answered = call(path)["responses"]["200"]
        assert ("text/event-stream" in answered["content"]) == endpoint.streams, path
        assert ("stream" in answered["description"]) == endpoint.streams, path


def test_names_of_operations_are_each_its_own() -> None:
    names = [operation["operationId"] for methods in document()["paths"].values() for operation in methods.values()]
    assert sorted(names) == sorted(set(names))
    assert call("/v1/chat/completions")["operationId"] == "createChatCompletion"


def test_every_schema_that_is_named_is_there_and_is_asked_for() -> None:
    text = json.dumps(document())
    named = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert named == document()["components"]["schemas"].keys()
