"""Inspect, through its provider for servers that speak OpenAI's language: `openai-api/NAME/TASK`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ContentReasoning, GenerateConfig, Model, ResponseSchema, get_model
from inspect_ai.scorer import includes
from inspect_ai.solver import generate
from inspect_ai.tool import ToolInfo, ToolParam, ToolParams
from inspect_ai.util import json_schema
from lane import Gateway
from pydantic import BaseModel


class Invoice(BaseModel):
    """An invoice."""

    number: str
    paid: bool


@pytest.fixture(autouse=True)
def _address(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    # `openai-api/changeover/…` reads what begins with CHANGEOVER_.
    monkeypatch.setenv("CHANGEOVER_BASE_URL", gateway.url)
    monkeypatch.setenv("CHANGEOVER_API_KEY", gateway.key)


@pytest.fixture
def model() -> Model:
    return get_model("openai-api/changeover/summarise", memoize=False)


def test_an_evaluation_runs_against_a_task(tmp_path: Path) -> None:
    samples = [Sample(input=f"say ok, number {number}", target="ok") for number in range(8)]
    [log] = eval(
        Task(dataset=samples, solver=generate(), scorer=includes()),
        model="openai-api/changeover/summarise",
        log_dir=str(tmp_path),
        display="none",
    )
    assert log.status == "success", log.error
    assert log.results is not None
    assert log.results.scores[0].metrics["accuracy"].value == 1
    assert log.stats.model_usage["openai-api/changeover/summarise"].output_tokens > 0


async def test_a_tool_is_called(model: Model) -> None:
    city = ToolParams(properties={"city": ToolParam(type="string", description="Name of the city.")}, required=["city"])
    declared = ToolInfo(name="weather", description="The weather of a city.", parameters=city)
    answer = await model.generate('call weather {"city": "Bergen"}', tools=[declared])
    assert answer.stop_reason == "tool_calls"
    [call] = answer.message.tool_calls or []
    assert (call.function, call.arguments) == ("weather", {"city": "Bergen"})


async def test_an_answer_has_the_shape_that_was_asked_for(model: Model) -> None:
    shape: Any = ResponseSchema(name="invoice", json_schema=json_schema(Invoice))
    answer = await model.generate("Invoice 7, paid", config=GenerateConfig(response_schema=shape))
    assert Invoice.model_validate_json(answer.completion)


async def test_reasoning_is_kept_apart() -> None:
    answer = await get_model("openai-api/changeover/thinking", memoize=False).generate("is it late?")
    assert answer.completion == "is it late?"
    content = answer.message.content
    assert isinstance(content, list)
    assert [part.reasoning for part in content if isinstance(part, ContentReasoning)] == ["Let me see."]
