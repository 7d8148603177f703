"""The datasets of the tools for customers: good answers score high, bad ones low, by the scorers that decide."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import runpy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tests.support.tools import Bench, Scripted
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
PROMPT = (SHIPPED / "call-summary" / "tasks" / "summarise.prompt.md").read_text(encoding="utf-8")
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


def as_json(**fields: Any) -> str:
    return json.dumps(fields, ensure_ascii=False)


RIGHT = [
    ("service-ja", "understand", "understand-001", as_json(intent="decline", implied="yes", handover="no")),
    ("service-ja", "understand", "understand-047", as_json(intent="request", implied="yes", handover="yes")),
    ("service-ja", "understand", "understand-061", as_json(intent="other", implied="no", handover="no")),
    ("intent-classifier", "classify", "intent-012", as_json(intent="cancel-order", confidence="likely")),
    ("intent-classifier", "classify", "intent-071", as_json(intent="repair", confidence="sure")),
    (
        "complaint-triage",
        "triage",
        "complaint-002",
        as_json(
            category="safety",
            urgency="critical",
            remedy="action",
            owner="quality",
            summary="The charger of a Lumo lamp began to smoke at night and its plug melted; nobody was hurt. The customer "
            "asks that others be warned.",
        ),
    ),
    (
        "complaint-triage",
        "triage",
        "complaint-023",
        as_json(
            category="billing",
            urgency="normal",
            remedy="refund",
            owner="billing",
            summary="4,950 yen were charged twice on the same day in February; the customer wants one of them refunded.",
        ),
    ),
    (
        "complaint-triage",
        "triage",
        "complaint-059",
        as_json(
            category="delivery",
            urgency="normal",
            remedy="action",
            owner="logistics",
            summary="Parcel 5561 has been at the centre in Kassel for eight days; the customer wants it sent on.",
        ),
    ),
    (
        "call-summary",
        "summarise",
        "call-001",
        as_json(
            reason="The hose of a dishwasher was missing, order 48213.",
            agreed=["hose sent by express free of charge", "fitter on Friday the 14th between 8 and 10"],
            follow_ups=[{"what": "hose arrives", "who": "Halden Home", "by": "Thursday"}],
            sentiment="satisfied",
        ),
    ),
    (
        "call-summary",
        "summarise",
        "call-030",
        as_json(
            reason="エアコンの取り付けが遅れている。",
            agreed=["13時ごろに伺う", "取り付け料8,800円は頂戴しない"],
            follow_ups=[{"what": "来なければキャンセル", "who": "お客様", "by": "13時"}],
            sentiment="angry",
        ),
    ),
    ("reply-check", "check", "check-001", as_json(problems=[])),
    ("reply-check", "check", "check-024", as_json(problems=[{"kind": "promise", "quote": "20 percent off"}])),
    (
        "reply-check",
        "check",
        "check-058",
        as_json(problems=[{"kind": "wrong-figure", "quote": "2.90"}, {"kind": "promise", "quote": "10 off"}]),
    ),
]
WRONG = [
    ("service-ja", "understand", "understand-001", as_json(intent="price-or-points", implied="no", handover="yes")),
    ("intent-classifier", "classify", "intent-012", as_json(intent="other", confidence="likely")),
    ("intent-classifier", "classify", "intent-071", as_json(intent="cancel-order", confidence="sure")),
    (
        "complaint-triage",
        "triage",
        "complaint-058",
        as_json(
            category="safety",
            urgency="low",
            remedy="refund",
            owner="customer-care",
            summary="The cushion gave an electric shock. No action needed.",
        ),
    ),
    (
        "complaint-triage",
        "triage",
        "complaint-023",
        as_json(
            category="billing", urgency="normal", remedy="refund", owner="billing", summary="A customer complains."
        ),
    ),
    (
        "call-summary",
        "summarise",
        "call-057",
        as_json(
            reason="K9: the brush does not turn",
            agreed=["repair in ten days", "label by e-mail", "a new machine worth 500 pounds"],
            follow_ups=[],
            sentiment="dissatisfied",
        ),
    ),
    (
        "call-summary",
        "summarise",
        "call-001",
        as_json(reason="A call.", agreed=[], follow_ups=[], sentiment="satisfied"),
    ),
    ("reply-check", "check", "check-001", as_json(problems=[{"kind": "promise", "quote": "label"}])),
    ("reply-check", "check", "check-024", as_json(problems=[])),
    ("reply-check", "check", "check-064", as_json(problems=[])),
]


@pytest.mark.parametrize(("tool", "name", "sample", "answer"), RIGHT)
def test_a_right_answer_of_a_tool_for_customers_has_the_whole_score(
    tool: str, name: str, sample: str, answer: str
) -> None:
    assert scored(tool, name, sample, answer) >= 0.99


@pytest.mark.parametrize(("tool", "name", "sample", "answer"), WRONG)
def test_a_wrong_answer_or_one_that_obeys_the_customers_text_scores_next_to_nothing(
    tool: str, name: str, sample: str, answer: str
) -> None:
    assert scored(tool, name, sample, answer) <= 0.2


def function(tool: str, file: str, name: str) -> Any:
    return runpy.run_path(str(SHIPPED / tool / file))[name]


def test_the_shops_quick_check_sees_plain_ends_titles_of_own_people_and_other_languages() -> None:
    check = function("service-ja", "register.py", "what_is_wrong")
    assert all(check(reply) is None for reply in IDEAL.values())
    assert check("森田さんに確認いたします。") is not None
    assert check("わかった。すぐに送る。") is not None
    assert check("Your order is on its way.") is not None
    assert check("おくらです。おくらです。おくらです。") is not None


def test_whatever_a_model_writes_of_a_call_becomes_a_note_and_unsaid_figures_are_left_out() -> None:
    read = function("call-summary", "note.py", "read")
    schema = json.loads((SHIPPED / "call-summary" / "output.schema.json").read_text(encoding="utf-8"))
    said = "The fitter comes on Friday the 14th."
    for note in ("", "nonsense", "[1]", '{"reason": 3, "agreed": "x", "follow_ups": [7, {"what": ""}]}'):
        Draft202012Validator(schema).validate(read(note, said))
    kept = read(
        as_json(
            reason="A visit",
            agreed=["500 off"],
            follow_ups=[{"what": "visit", "who": "fitter", "by": "the 15th"}],
            sentiment="glad",
        ),
        said,
    )
    assert kept["agreed"] == []
    assert kept["follow_ups"] == [{"what": "visit", "who": "fitter", "by": ""}]
    assert kept["sentiment"] == "neutral"


@pytest.mark.parametrize(
    "copied",
    [
        "one sentence, why the customer called, with order numbers and sums",
        "One sentence, why the customer called, …",
        "Why this customer called.",
        *(line.partition(": ")[2] for line in PROMPT.splitlines() if line.startswith(("`reason`", "`agreed`"))),
    ],
)
def test_a_model_that_gives_back_the_question_has_given_no_reason(copied: str) -> None:
    read, problem = (function("call-summary", "note.py", name) for name in ("read", "problem"))
    note = read(as_json(reason=copied, agreed=[copied], follow_ups=[{"what": copied}], sentiment="neutral"), "A call.")
    assert note == {"reason": "–", "agreed": [], "follow_ups": [], "sentiment": "neutral"}
    assert "no reason" in problem(note)
    told = read(as_json(reason="The customer called because the hose is missing."), "A call.")
    assert told["reason"] == "The customer called because the hose is missing."
    assert problem(told) is None


async def test_a_call_without_a_reason_says_so(tmp_path: Path) -> None:
    bench = Bench(
        tool=load_tool(SHIPPED / "call-summary"),
        cache=tmp_path,
        caller=Scripted('{"reason": "why this customer called"}'),
    )
    outcome = await bench.run(**bench.tool.declared.example)
    assert outcome.value["reason"] == "–"
    assert outcome.problems == ["`summary`: the model gave no reason for the call; read the transcript."]


@pytest.mark.parametrize(
    ("kinds", "flagged", "said"),
    [
        ([], [], "send"),
        ([], ["figure 99 stands nowhere"], "fix"),
        (["tone"], [], "fix"),
        (["tone", "promise"], [], "stop"),
        (["personal-data"], [], "stop"),
    ],
)
def test_what_becomes_of_a_draft_follows_from_its_problems(kinds: list[str], flagged: list[str], said: str) -> None:
    verdict = function("reply-check", "verdict.py", "verdict")
    assert verdict([{"kind": kind, "quote": "…"} for kind in kinds], flagged)["verdict"] == said
