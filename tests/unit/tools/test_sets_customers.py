"""The datasets of the tools for customers: good answers score high, bad ones low, by the scorers that decide."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
from tests.unit.evals.scoring import NO_MEANS
from tests.unit.tools.service_replies import BAD, IDEAL

import changeover.tools
from changeover.evals.answers import Answer
from changeover.evals.datasets import Sample
from changeover.evals.datasets.read import inputs_of, read_samples
from changeover.evals.scorers import ScorerSpec, score
from changeover.evals.scorers.politeness.morphemes import PACKAGES
from changeover.tasks.declarations import Task, load_task
from changeover.tools.check import check_tool
from changeover.tools.load import load_tool

SHIPPED = Path(changeover.tools.__file__).parent / "shipped"
TASKS = {
    "service-ja": ("reply", "understand"),
    "complaint-triage": ("triage",),
    "intent-classifier": ("classify",),
    "call-summary": ("summarise",),
    "reply-check": ("check",),
}
needs_analyser = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in PACKAGES), reason="the extra `japanese` is not installed"
)


@cache
def task(tool: str, name: str) -> Task:
    return load_task(SHIPPED / tool / "tasks" / f"{name}.toml", of_tool=tool)


@cache
def samples(tool: str, name: str) -> Mapping[str, Sample]:
    read, _ = read_samples(task(tool, name).dataset, inputs_of(task(tool, name).input_template))
    return {sample.id: sample for sample in read}


def spec(tool: str, name: str) -> ScorerSpec:
    declared = task(tool, name)
    return ScorerSpec(
        name=declared.declared.scorer.name, options=declared.declared.scorer.options, directory=declared.file.parent
    )


def scored(tool: str, name: str, sample: str, answer: str) -> float:
    found = asyncio.run(score(spec(tool, name), samples(tool, name)[sample], Answer(text=answer), NO_MEANS))
    assert found.error is None
    return found.value


@pytest.mark.parametrize("tool", TASKS)
def test_a_tool_for_customers_fits_its_tasks_and_has_sixty_samples_that_its_scorer_can_read(tool: str) -> None:
    check_tool(load_tool(SHIPPED / tool), {f"{tool}.{name}": task(tool, name) for name in TASKS[tool]})
    for name in TASKS[tool]:
        if name == "reply":
            pytest.importorskip(PACKAGES[0])
        found = samples(tool, name)
        assert len(found) >= 60
        assert task(tool, name).declared.gate.floor is not None
        assert sum("injection" in sample.tags for sample in found.values()) >= 6
        for sample in found.values():
            spec(tool, name).read_target(sample)


@needs_analyser
@pytest.mark.parametrize("sample", IDEAL)
def test_a_reply_as_the_shop_would_write_it_has_the_whole_score(sample: str) -> None:
    assert scored("service-ja", "reply", sample, IDEAL[sample]) >= 0.99


@needs_analyser
@pytest.mark.parametrize(("sample", "reply"), [(sample, reply) for sample, replies in BAD.items() for reply in replies])
def test_a_reply_that_misses_the_hint_the_rule_or_the_register_scores_next_to_nothing(sample: str, reply: str) -> None:
    assert scored("service-ja", "reply", sample, reply) <= 0.2


@needs_analyser
def test_most_conversations_of_the_shop_have_several_turns() -> None:
    found = samples("service-ja", "reply").values()
    assert sum(len(sample.input) > 2 for sample in found) > len(found) / 2
    assert sum(sample.turns > 1 for sample in found) >= 7
