"""OpenVINO with a real small model."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.engines.places import BETTER, SMALL
from tests.support.engines import COMPLETIONS, ask, chat, events, running

from changeover.core.errors import ContextOverflow, EngineError, RequestError
from changeover.serving.backends import OpenVINOBackend
from changeover.serving.homes import Homes
from changeover.serving.plan import EnginePlan
from changeover.serving.upstream import Upstream

FOREIGN = "狐狸 🦊🏔️ жёлтый Größe ñandú 日本語"
QUESTION = "What is the capital of France?"
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "n": {"type": "integer"}},
    "required": ["name", "n"],
    "additionalProperties": False,
}
SIZES = {
    "type": "object",
    "properties": {"size": {"enum": ["größer"]}},
    "required": ["size"],
    "additionalProperties": False,
}

pytestmark = pytest.mark.engine("openvino")


@pytest.fixture
async def openvino(
    home: Callable[[str], Path], homes: Homes, weights: Callable[[str, str], Path], tmp_path: Path
) -> AsyncIterator[Upstream]:
    home("openvino")
    path = weights(SMALL, "openvino")
    plan = EnginePlan(
        deployment="small", backend="openvino", model=SMALL, artifact=path, quantisation="Q4_1",
        options={"context_tokens": 1024, "slots": 4},
    )  # fmt: skip
    backend = OpenVINOBackend(homes)
    assert not backend.missing(plan)
    async with running(backend, plan, tmp_path) as upstream:
        yield upstream


async def test_a_real_model_answers_as_every_capability_that_is_declared_says(openvino: Upstream) -> None:
    """One engine for all of it: it takes seconds to load."""
    await says_what_it_should(openvino)
    await ends_where_it_should(openvino)
    await counts_and_scores(openvino)
    await holds_to_a_shape(openvino)
    await refuses_without_harm(openvino)
    await answers_side_by_side(openvino)
    await frees_the_place_of_who_left(openvino)


async def test_a_mix_of_quantisations_is_not_read_and_what_is_made_of_it_is(
    home: Callable[[str], Path], homes: Homes, weights: Callable[[str, str], Path], tmp_path: Path
) -> None:
    home("openvino")
    backend, mixed, made = OpenVINOBackend(homes), weights(BETTER, "local"), weights(BETTER, "openvino")
    options = {"context_tokens": 512, "slots": 1}
    plan = EnginePlan(deployment="mixed", backend="openvino", model=BETTER, artifact=mixed, options=options)
    with pytest.raises(EngineError, match="gguf"):
        async with running(backend, plan, tmp_path):
            pass
    async with running(backend, replace(plan, deployment="made", artifact=made), tmp_path) as upstream:
        assert "Paris" in (await chat(upstream, QUESTION, max_tokens=24))["message"]["content"]


async def says_what_it_should(upstream: Upstream) -> None:
    whole = await chat(upstream, QUESTION, max_tokens=24)
    assert "Paris" in whole["message"]["content"]
    chunks = await events(
        upstream, messages=[{"role": "user", "content": QUESTION}], temperature=0, max_tokens=24,
        stream_options={"include_usage": True},
    )  # fmt: skip
    *pieces, usage = chunks
    text = "".join(each["choices"][0]["delta"].get("content", "") for each in pieces)
    assert text == whole["message"]["content"]
    assert usage["usage"]["completion_tokens"] == 8
    japanese = await events(
        upstream,
        messages=[{"role": "user", "content": "Repeat exactly: 日本語 🎉 naïve"}],
        temperature=0,
        max_tokens=48,
    )
    assert not any("\ufffd" in each["choices"][0]["delta"].get("content", "") for each in japanese)
    foreign = await events(
        upstream,
        messages=[{"role": "user", "content": "Repeat exactly."}],
        temperature=0,
        max_tokens=120,
        grammar=f'root ::= "{FOREIGN}"',
    )
    pieces = [each["choices"][0]["delta"].get("content", "") for each in foreign]
    assert "".join(pieces) == FOREIGN  # its own decoder leaves out parts of characters
    assert len(pieces) > 10


async def ends_where_it_should(upstream: Upstream) -> None:
    assert (await chat(upstream, QUESTION, max_tokens=24))["finish_reason"] == "stop"
    assert (await chat(upstream, QUESTION, max_tokens=3))["finish_reason"] == "length"
    stopped = await chat(upstream, QUESTION, max_tokens=24, stop=[" of"])
    assert (stopped["message"]["content"], stopped["finish_reason"]) == ("The capital", "stop")


async def counts_and_scores(upstream: Upstream) -> None:
    scored = await chat(upstream, QUESTION, max_tokens=3, logprobs=True)
    entries = scored["logprobs"]["content"]
    assert "".join(each["token"] for each in entries) == scored["message"]["content"]
    assert all(each["logprob"] <= 0 for each in entries)
    with pytest.raises(RequestError, match="chosen token only"):
        await chat(upstream, QUESTION, logprobs=True, top_logprobs=2)
    sampled = {"temperature": 1.2, "top_p": 0.95, "max_tokens": 16, "n": 2}
    once, again, other = [
        (await ask(upstream, messages=[{"role": "user", "content": QUESTION}], seed=seed, **sampled))["choices"]
        for seed in (7, 7, 8)
    ]
    texts = [[each["message"]["content"] for each in choices] for choices in (once, again, other)]
    assert texts[0] == texts[1] != texts[2]
    assert texts[0][0] != texts[0][1]
    completed = await ask(upstream, COMPLETIONS, prompt="The capital of France is", max_tokens=3, temperature=0)
    assert completed["choices"][0]["text"].startswith(" Paris")
    assert completed["usage"] == {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


async def holds_to_a_shape(upstream: Upstream) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    shaped = await chat(upstream, QUESTION, max_tokens=120, response_format=form)
    assert set(json.loads(shaped["message"]["content"])) == {"name", "n"}
    form["json_schema"]["schema"] = SIZES
    shaped = await chat(upstream, QUESTION, max_tokens=120, response_format=form)
    assert '"größer"' in shaped["message"]["content"]  # what comes after it may be white space without end
    number = await chat(upstream, QUESTION, structured_outputs={"regex": "[0-9]{3}"})
    assert number["message"]["content"].isdigit()
    word = await chat(upstream, QUESTION, grammar='root ::= "yes" | "no"')
    assert word["message"]["content"] in ("yes", "no")


async def refuses_without_harm(upstream: Upstream) -> None:
    """What the engine itself cannot compile breaks a step; those beside it go on."""
    with pytest.raises(ContextOverflow) as caught:
        await chat(upstream, "word " * 2000)
    assert caught.value.context_tokens == 1024
    alone = (await chat(upstream, "Count from 1 to 30.", max_tokens=60))["message"]["content"]
    other = asyncio.create_task(chat(upstream, "Count from 1 to 30.", max_tokens=60))
    await asyncio.sleep(0.3)
    for wrong in ({"grammar": "root ::= ("}, {"structured_outputs": {"regex": "(?=a)b"}}):
        with pytest.raises(RequestError, match="cannot use this schema or grammar"):
            await chat(upstream, QUESTION, max_tokens=10, **wrong)
    assert (await other)["message"]["content"] == alone
    assert "Paris" in (await chat(upstream, QUESTION, max_tokens=24))["message"]["content"]


async def answers_side_by_side(upstream: Upstream) -> None:
    questions = [f"Say the word w{number} twice." for number in range(6)]
    alone = [(await chat(upstream, each, max_tokens=12))["message"]["content"] for each in questions]
    together = await asyncio.gather(*(chat(upstream, each, max_tokens=12) for each in questions))
    assert [each["message"]["content"] for each in together] == alone


async def frees_the_place_of_who_left(upstream: Upstream) -> None:
    leaving = [asyncio.create_task(chat(upstream, "Count to a thousand.", max_tokens=900)) for _ in range(4)]
    await asyncio.sleep(1)
    for each in leaving:
        each.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    began = time.monotonic()
    await chat(upstream, QUESTION, max_tokens=1)
    assert time.monotonic() - began < 20  # four answers of 900 tokens take minutes on such a machine
