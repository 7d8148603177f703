"""The OpenAPI document: valid, complete, and true of the running gateway, as schemathesis finds."""

import asyncio
import copy
import json
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openapi_spec_validator import validate
from tests.support.projects import Running, open_written, running, write_project
from tests.support.tool_calls import write_tool

from changeover.gateway.endpoints import ENDPOINTS
from changeover.gateway.openapi import document
from changeover.gateway.routes import ROUTES

EXAMPLES = 10
"""Most requests of each operation with values made up; beside those that cover the schema's bounds."""
HALF = "chat|metrics|messages|admin"
"""Of the operations, by what they take."""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
)


@pytest.fixture
async def up(tmp_path: Path) -> AsyncGenerator[Running]:
    project = write_project(tmp_path / "p")
    write_tool(project)
    async with running(open_written(project)) as it:
        await it.ready("echo")
        yield it


def operations() -> dict[tuple[str, str], Any]:
    """Every operation of the document, by path and method."""
    return {
        (path, method.upper()): operation
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    }


def parameters(described: Any) -> list[Any]:
    operations = [operation for methods in described["paths"].values() for operation in methods.values()]
    return [parameter for operation in operations for parameter in operation.get("parameters", [])]


def test_the_document_is_valid_and_is_json() -> None:
    validate(json.loads(json.dumps(document())))


def test_the_document_has_every_route_and_no_other() -> None:
    wanted = {(route.path, method) for route in ROUTES for method in route.methods}
    assert {(path.removesuffix("{id}"), method) for path, method in operations()} == wanted


def test_every_operation_says_whose_keys_may_and_how_it_refuses() -> None:
    roles = {route.path: sorted(route.roles) for route in ROUTES}
    for (path, method), operation in operations().items():
        assert operation["x-roles"] == roles[path.removesuffix("{id}")], f"{method} {path}"
        open_to_all = {} in operation["security"]
        assert open_to_all == (not operation["x-roles"])
        assert {"400", "401", "408", "500"} <= set(operation["responses"])
        if path in ENDPOINTS:
            refused = {"403", "404", "413", "429", "502", "503", "504"}
            assert refused <= set(operation["responses"])
            assert {"x-changeover-route", "x-changeover-deployment", "x-changeover-bundle"} <= set(
                operation["responses"]["200"]["headers"]
            )


async def test_the_gateway_answers_what_the_document_describes_and_nothing_else(up: Running) -> None:
    async with aiohttp.ClientSession(up.address, headers=up.headers(up.operator)) as http:
        async with http.get("/openapi.json") as response:
            served = await response.json()
        assert served == json.loads(json.dumps(document()))
        for path, method in operations():
            async with http.post("/v1/tools/say?as=job", json={"inputs": {"text": "x"}}) as response:
                job = (await response.json())["id"]
            named = (
                path.replace("{id}", "echo").replace("{task}", "echo").replace("{name}", "say").replace("{job}", job)
            )
            async with http.request(method, named) as response:
                said = b"" if method == "HEAD" else await response.read()
                assert response.status not in (404, 405), f"{method} {path}"
                assert b"no_such_route" not in said
        for path in ("/", "/v1", "/v1/chat", "/v1/models/", "/docs", "/v1/chat/completions/", "/v1//models"):
            async with http.get(path) as response:
                assert response.status == 404, path
        async with http.get("/v1/chat/completions") as response:
            assert (response.status, response.headers["allow"]) == (405, "POST")


async def test_schemathesis_finds_nothing_against_the_running_gateway(up: Running, tmp_path: Path) -> None:
    described = copy.deepcopy(document())
    for name, schema in described["components"]["schemas"].items():
        if name.endswith("Request") and "model" in schema.get("properties", {}):
            # Names made up would end at the first stage, every one.
            schema["properties"]["model"] = {"enum": ["echo"]}
        elif name in ("ToolRequest", "ToolForm"):
            text = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}
            schema.update(text if name == "ToolForm" else {"properties": {"inputs": text}})
    async with (
        aiohttp.ClientSession(up.address, headers=up.headers(up.operator)) as http,
        http.post("/v1/tools/say?as=job", json={"inputs": {"text": "x"}}) as response,
    ):
        job = (await response.json())["id"]
    for parameter in parameters(described):
        if parameter["name"] in ("name", "job"):
            parameter["schema"]["enum"] = ["say"] if parameter["name"] == "name" else [job]
    for operation in (each for methods in described["paths"].values() for each in methods.values()):
        del operation["security"]  # keys made up would, too; the header below is sent with each
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(described))
    # Two of them, because it takes its time on one core; its own threads disturb each other.
    found = await asyncio.gather(
        schemathesis(up, file, "--include-path-regex", HALF), schemathesis(up, file, "--exclude-path-regex", HALF)
    )
    assert [said for status, said in found if status != 0] == []


async def schemathesis(up: Running, document: Path, *which: str) -> tuple[int | None, str]:
    """Run it over some of the operations; gives exit status and report."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", str(document), "--url", up.address, *which),
        *("--header", f"Authorization: Bearer {up.operator}", "--checks", ",".join(CHECKS)),
        *("--phases", "coverage,fuzzing", "--max-examples", str(EXAMPLES)),
        *("--generation-deterministic", "--no-shrink", "--continue-on-failure", "--no-color", "--warnings", "off"),
        cwd=document.parent,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()
