"""The `llm` command: tasks as models of `extra-openai-models.yaml`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from lane import Gateway

Run = Callable[..., str]

MODELS = """\
- model_id: summarise
  model_name: summarise
  api_base: {url}
  api_key_name: changeover
  supports_tools: true
  supports_schema: true
- model_id: thinking
  model_name: thinking
  api_base: {url}
  api_key_name: changeover
"""
TOOL = """\
def weather(city: str) -> str:
    "The weather of a city."
    return "rain in " + city
"""


@pytest.fixture
def llm(gateway: Gateway, tmp_path: Path) -> Run:
    """Runs the command in a directory of its own."""
    (tmp_path / "extra-openai-models.yaml").write_text(MODELS.format(url=gateway.url))
    (tmp_path / "keys.json").write_text(json.dumps({"changeover": gateway.key}))
    command = Path(sys.executable).with_name("llm")
    environment = {**os.environ, "LLM_USER_PATH": str(tmp_path)}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            (str(command), *arguments), env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_the_tasks_are_listed_as_models(llm: Run) -> None:
    assert "summarise" in llm("models")


def test_a_prompt_is_answered_whole_and_streamed(llm: Run) -> None:
    assert llm("-m", "summarise", "The ferry is late.", "--no-stream") == "The ferry is late."
    assert llm("-m", "summarise", "The ferry is late.", "-s", "Be short.") == "The ferry is late."


def test_a_conversation_goes_on(llm: Run) -> None:
    llm("-m", "summarise", "The ferry is late.")
    assert llm("-c", "And the train?") == "And the train?"


def test_a_schema_is_kept(llm: Run) -> None:
    said = json.loads(llm("-m", "summarise", "Invoice 7, paid", "--schema", "number, paid bool", "--no-stream"))
    assert set(said) == {"number", "paid"}


def test_a_tool_is_called_by_the_command_itself(llm: Run) -> None:
    llm("-m", "summarise", 'call weather {"city": "Bergen"}', "--functions", TOOL)
    log = json.loads(llm("logs", "-n", "2", "--json"))
    results = [result for each in log for result in each.get("tool_results", [])]
    assert any("rain in Bergen" in result["output"] for result in results), log


def test_reasoning_does_not_come_between(llm: Run) -> None:
    assert llm("-m", "thinking", "is it late?", "--no-stream") == "is it late?"
