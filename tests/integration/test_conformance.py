"""The conformance suite on real engines, directly and through the gateway; and the gateway, which asks nobody in vain."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from benchmarks.conformance import DATA, ECHO_OPTIONS, plans
from tests.support.faults import canary, fault_task, recorded
from tests.support.projects import Running, deploy_echo, open_written, running, write_project

from changeover.app.conformance import at_engine, through_gateway
from changeover.cli.main import run_command
from changeover.serving.backends import BACKENDS
from changeover.serving.conformance import PROBES, Finding, look_at, profile_options, verdicts
from changeover.serving.parts import EnginePart
from changeover.serving.plan import EnginePlan
from changeover.serving.profiles import profile_of_part
from changeover.serving.queries import find_deployment

NEVER_CALLED = ("stop_reasons.tool_calls", "tools", "tools_streamed", "tools_parallel")
"""SmolLM2 is free not to call a tool, and never does."""
HEAVY = ("cancels", "batches.side_by_side")
"""Probes that take the seconds that they need to see something."""


def echo(**options: Any) -> EnginePlan:
    return EnginePlan(deployment="echo", backend="echo", model="echo", options=options)


async def found(plan: EnginePlan, *, without: Sequence[str] = ()) -> list[Finding]:
    async with at_engine(plan, BACKENDS) as subject:
        return await look_at(subject, [probe for probe in PROBES if probe.name not in without])


def known(engine: str, model: str) -> Mapping[str, str]:
    """What the documentation's table says."""
    rows = json.loads(DATA.read_text())["rows"]
    [row] = [row for row in rows if (row["engine"], row["model"], row["started"]) == (engine, model, "")]
    return {finding["probe"]: finding["result"] for finding in row["findings"]}


def differing(findings: Sequence[Finding], table: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Where the table says otherwise. Whether a probe could be applied is the model's own wit, and the machine's speed."""
    pairs = {finding.probe: (finding.result, table[finding.probe]) for finding in findings}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1] and "not applicable" not in pair}


async def test_the_echo_engine_does_what_it_is_said_to_do_and_what_the_table_says() -> None:
    findings = await found(echo(**{**ECHO_OPTIONS, "chunk_delay_s": 0.02, "context_tokens": 2000}))

    assert [finding for finding in findings if finding.is_lie] == []
    assert profile_options(findings) == {"has": [], "lacks": []}
    assert differing(findings, known("echo", "echo")) == {}
    assert {"cancels", "batches", "context_refused"} <= {
        name for name, what in verdicts(findings).items() if what == "passed"
    }


@pytest.mark.models
async def test_the_embedded_engine_does_what_it_is_said_to_do_and_what_the_table_says() -> None:
    plan = next(iter(plans("local", ["smollm2-135m-instruct"])), None)
    if plan is None:
        pytest.skip("SmolLM2-135M-Instruct is not in the cache; `make demo` fetches it")

    findings = await found(plan, without=NEVER_CALLED)

    assert [finding for finding in findings if finding.is_lie] == []
    assert differing(findings, known("local", plan.model)) == {}


@pytest.mark.parametrize(
    ("options", "capability", "said"),
    [
        ({"structured": "ignored"}, "json_schema", "ignored without a word"),
        ({"structured": "broken"}, "json_schema", "not of that shape"),
        ({"fault": "missing_usage"}, "usage", "no `usage`"),
        ({"fault": "no_done"}, "chat", "end mark"),
        ({"fault": "wrong_json"}, "chat", "not JSON"),
        ({"fault": "error_500"}, "chat", "status 500"),
        ({"tool_format": "hermes", "profile": {"tool_calls": "native"}}, "tools", "stands in the text"),
        ({"reasoning": "Hm.", "reasoning_format": "think", "profile": {"reasoning": "field"}}, "reasoning", "<think>"),
        ({"profile": {"has": ["logprobs"]}}, "logprobs", "ignored without a word"),
        ({"profile": {"context_tokens": 40}}, "context_refused", "were answered"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
async def test_an_engine_that_is_not_what_it_is_said_to_be_is_found_out(
    options: Mapping[str, Any], capability: str, said: str
) -> None:
    async with at_engine(echo(**options), BACKENDS) as subject:
        findings = await look_at(subject, [probe for probe in PROBES if probe.capability == capability])

    lies = [finding for finding in findings if finding.is_lie]
    assert any(said in finding.seen for finding in lies), findings
    assert profile_options(findings)["lacks"] == [capability]


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Running]:
    """Engines of the same kind: one says it has log-probabilities and but one answer, one that its model has no template."""
    project = write_project(tmp_path / "project")
    fault_task(project, "code", {})
    installation = open_written(project)
    deploy_echo(installation, "other", "code", profile={"has": ["logprobs"], "lacks": ["choices"]})
    deploy_echo(installation, "base", "code", profile={"endpoints": ["completions"], "context_tokens": 200})
    async with running(installation) as up:
        await up.ready("echo", "other", "base")
        yield up


async def ask(up: Running, **fields: Any) -> tuple[int, dict[str, Any], str]:
    body = {"model": "code", "messages": [{"role": "user", "content": "one two"}], **fields}
    async with (
        aiohttp.ClientSession(up.address, headers=up.headers()) as http,
        http.post("/v1/chat/completions", json=body) as response,
    ):
        return response.status, await response.json(), response.headers.get("x-changeover-deployment", "")


async def test_what_the_contract_holds_passes_through_the_gateway_and_the_rest_is_refused(up: Running) -> None:
    with up.installation.store.read() as connection:
        row = find_deployment(connection, "other")
    plan = EnginePlan(deployment="other", backend="echo", model="other", options=row.options)
    part = EnginePart.from_document(row.engine)

    async with through_gateway(plan, part, BACKENDS["echo"], up.address, up.operator) as subject:
        findings = {each.probe: each for each in await look_at(subject, [p for p in PROBES if p.name not in HEAVY])}

    passed = {name for name, finding in findings.items() if finding.result == "passed"}
    assert {"chat", "chat.streamed", "chat.unicode", "tools", "tools_forced.named", "usage.streamed", "key"} <= passed
    assert findings["grammar"].result == "missing"
    assert "has no answers held to a grammar" in findings["grammar"].seen
    assert findings["logprobs"].is_lie


async def test_a_base_model_is_looked_at_by_text_that_goes_on_and_no_chat_of_it_is_a_lie(up: Running) -> None:
    with up.installation.store.read() as connection:
        row = find_deployment(connection, "base")
    plan = EnginePlan(deployment="base", backend="echo", model="base", options=row.options)
    part = EnginePart.from_document(row.engine)

    async with through_gateway(plan, part, BACKENDS["echo"], up.address, up.operator) as subject:
        findings = {each.probe: each for each in await look_at(subject)}

    assert not any(finding.is_lie for finding in findings.values())
    assert findings["completions"].result == "passed"
    assert {findings[name].result for name in ("chat", "chat.streamed", "chat.unicode")} == {"missing"}
    for name in ("tools", "json_schema", "seeds", "context_refused", "batches"):
        assert (findings[name].result, findings[name].seen[:16]) == ("not applicable", "no chat template"), name


async def test_a_request_goes_to_whoever_of_its_route_can_answer_it_and_else_is_refused(up: Running) -> None:
    began = up.installation.clock.now()
    status, answer, who = await ask(up, logprobs=True)
    assert (status, answer["error"]["code"], who) == (400, "unsupported", "")
    assert "`echo`, which answers `code`, has no log-probabilities" in answer["error"]["message"]

    await canary(up, "code", "other")
    assert (await ask(up))[2] == "other"
    assert (await ask(up, logprobs=True))[2] == "other"
    status, answer, who = await ask(up, n=2)
    assert (status, len(answer["choices"]), who) == (200, 2, "echo")
    assert (await ask(up, logprobs=True, n=2))[0] == 400

    async with asyncio.timeout(10):
        while not (passed_over := [each for each in await recorded(up, "code", began) if each.failed_variants]):
            await asyncio.sleep(0.05)
    assert [each.deployment for each in passed_over] == ["echo"]  # a candidate that lacks what is asked for has failed


async def test_an_operator_names_any_deployment_and_nobody_else_does(up: Running) -> None:
    body = {"model": "@other", "messages": [{"role": "user", "content": "hi"}]}
    async with aiohttp.ClientSession(up.address) as http:
        for key, status in ((up.operator, 200), (up.key, 404)):
            async with http.post("/v1/chat/completions", json=body, headers=up.headers(key)) as response:
                assert response.status == status


def test_the_command_says_what_is_missing_and_keeps_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installation = open_written(write_project(tmp_path / "project"))
    deploy_echo(installation, "sly", structured="ignored")
    monkeypatch.chdir(installation.project.root)

    assert run_command(["conformance", "sly"]) == 1
    assert "is not running" in capsys.readouterr().err

    assert run_command(["conformance", "sly", "--direct"]) == 1
    said = capsys.readouterr().out
    assert "declared and not there: json_schema" in said
    assert "its profile could say: lacks = ['json_schema']" in said

    assert run_command(["conformance", "sly", "--keep", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["profile"] == {"has": [], "lacks": ["json_schema"]}
    with installation.store.read() as connection:
        row = find_deployment(connection, "sly")
    assert row.options["profile"] == {"lacks": ["json_schema"]}
    assert profile_of_part(EnginePart.from_document(row.engine)).structured == "none"
    assert run_command(["conformance", "sly", "--direct"]) == 0
