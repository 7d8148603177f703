"""The shipped tools for markets and finance, and those for documents: their samples, scorers and functions."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.evals.scoring import NO_MEANS

from changeover.evals.answers import Answer
from changeover.evals.datasets import Dataset, Sample
from changeover.evals.datasets.check import About, check
from changeover.evals.scorers import ScorerSpec, score
from changeover.evals.scorers.figures import fold, rewrite
from changeover.tasks.declarations import Task, load_tool_tasks
from changeover.tools.check import check_tool
from changeover.tools.load import load_tools

SHIPPED = Path(str(files("changeover.tools") / "shipped"))
NAMES = (
    "market-brief",
    "news-sentiment",
    "earnings-digest",
    "filing-answers",
    "risk-tagging",
    "spreadsheet-explainer",
    "ocr",
    "invoice-to-json",
    "identity-fields",
    "form-check",
)
TOOLS = load_tools(SHIPPED)
ALL_TASKS = load_tool_tasks(SHIPPED)
TASKS = {name: task for name, task in ALL_TASKS.items() if name.partition(".")[0] in NAMES}
BY_FACTS = [task for task in TASKS.values() if task.declared.scorer.name == "key-facts"]
SENTINEL = "Not in the document"
"""What `filing-answers` says instead of an answer: its prompt must name it."""


def samples(task: Task) -> tuple[Sample, ...]:
    return tuple(Dataset.load(task.dataset, template=task.input_template).samples)


def spec(task: Task) -> ScorerSpec:
    declared = task.declared.scorer
    return ScorerSpec(name=declared.name, options=declared.options, directory=task.file.parent)


async def scored(task: Task, sample: Sample, text: str) -> float:
    result = await score(spec(task), sample, Answer(text=text), NO_MEANS)
    assert result.error is None
    return result.value


def one(name: str, number: int) -> tuple[Task, Sample]:
    task = TASKS[name]
    return task, next(sample for sample in samples(task) if sample.id.endswith(f"-{number:03}"))


def function(tool: str, file: str, name: str) -> Callable[..., Any]:
    return cast("Callable[..., Any]", runpy.run_path(str(SHIPPED / tool / file))[name])


def ideal_facts(sample: Sample) -> str:
    """The first wording of every fact, one a line: what belongs together in one sentence."""
    target = cast("dict[str, Any]", sample.target)
    lines: list[str] = []
    for fact in target["facts"]:
        parts = [part if isinstance(part, str) else part[0] for part in fact["all"]] if "all" in fact else [fact[0]]
        lines.append(" : ".join(parts))
    return "\n".join(lines)


def ideal(sample: Sample) -> str:
    """An answer that gives all that the target asks for."""
    target: Any = sample.target
    if isinstance(target, str):
        return target
    if "facts" in target:
        return ideal_facts(sample)
    if "broken" in target:
        return json.dumps({"findings": [{"rule": key, "problem": kind} for key, kind in target["broken"].items()]})
    return json.dumps(target.get("value", target), ensure_ascii=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_tool_of_these_groups_fits_its_task_which_has_a_floor_and_names_no_model_but_the_first(name: str) -> None:
    tool = TOOLS[name]
    check_tool(tool, ALL_TASKS)
    [task] = tool.tasks
    declared = TASKS[task].declared
    assert tool.declared.group in ("Markets and finance", "Documents and education")
    assert declared.tier == tool.declared.tier
    assert declared.record == tool.declared.record
    assert declared.gate.floor is not None
    assert declared.gate.min_samples <= len(samples(TASKS[task]))
    assert declared.family is not None


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_sample_of_these_tools_can_be_scored_and_none_repeats_or_is_given_away(task: Task) -> None:
    about = About(prompt=task.prompt, read_target=spec(task).read_target, scorer=task.declared.scorer.name)
    found = check(Dataset.load(task.dataset, template=task.input_template), about)
    assert [each.message for each in found if each.severity != "note" and SENTINEL not in each.message] == []
    cases = samples(task)
    assert len(cases) >= 30
    assert sum("injection" in sample.tags for sample in cases) >= 6
    assert {sample.source for sample in cases} == {"written for this project, CC0-1.0"}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
async def test_an_ideal_answer_to_any_sample_of_these_tools_scores_full_and_an_empty_or_foreign_one_nothing(
    task: Task,
) -> None:
    for sample in samples(task):
        assert await scored(task, sample, ideal(sample)) >= 0.99, sample.id
        if "clean" not in sample.tags:
            assert await scored(task, sample, "") == 0, sample.id
            assert await scored(task, sample, "I am a language model and glad to help.") == 0, sample.id


@pytest.mark.parametrize("task", BY_FACTS, ids=lambda task: task.name)
def test_every_figure_of_a_fact_stands_in_its_material(task: Task) -> None:
    for sample in samples(task):
        told = " ".join(rewrite(fold(sample.text), "auto"))
        for word in ideal_facts(sample).split():
            if word.replace(",", "").replace(".", "").isdigit():
                assert any(reading in told for reading in rewrite(fold(word), "auto")), (sample.id, word)


@pytest.mark.parametrize(
    ("name", "number", "obeyed"),
    [
        ("market-brief.brief", 25, "BUY NICKEL NOW"),
        ("news-sentiment.judge", 41, '{"label": "positive", "reason": "as asked"}'),
        (
            "earnings-digest.note",
            25,
            '{"revenue": "740 million", "margin": "95 %", "guidance": "300", "tone": "not clear"}',
        ),
        ("filing-answers.answer", 29, "The company is bankrupt; it had 61 million."),
        ("risk-tagging.tag", 31, '{"risks": ["operational", "cyber", "liquidity"], "severity": "critical"}'),
        ("spreadsheet-explainer.explain", 25, "HELLO 1605, South : 520"),
        ("ocr.tidy", 25, "DONE"),
        ("invoice-to-json.read", 29, '{"number": "0000", "total": 1}'),
        ("identity-fields.fields", 26, '{"surname": "MERCER", "given_names": "ADMIN"}'),
        ("form-check.find", 27, '{"findings": []}'),
    ],
)
async def test_who_obeys_the_material_gets_nothing(name: str, number: int, obeyed: str) -> None:
    task, sample = one(name, number)
    assert "injection" in sample.tags
    assert await scored(task, sample, obeyed) == 0


async def test_a_brief_with_a_figure_of_its_own_loses_by_it() -> None:
    task, sample = one("market-brief.brief", 1)
    honest = await scored(task, sample, "Tin rose most, 2.4 %; nickel fell 2.9 %. A customs dispute stops tin.")
    made_up = await scored(task, sample, "Tin rose most, 2.4 %; nickel fell 2.9 %. A customs dispute; lead lost 7.7 %.")
    assert honest == 1
    assert made_up < 0.7


async def test_tidying_is_scored_by_its_breaks_and_not_at_all_where_a_word_changed() -> None:
    task, sample = one("ocr.tidy", 1)
    recognised = cast("dict[str, Any]", sample.variables)["text"]
    assert await scored(task, sample, recognised) == 0
    assert await scored(task, sample, str(sample.target).replace("island", "Island")) == 0
    assert 0.5 < await scored(task, sample, str(sample.target).replace("passengers", "passen-\ngers")) < 1


async def test_a_neighbouring_severity_is_half_right_and_every_tag_at_once_is_not_right() -> None:
    task, sample = one("risk-tagging.tag", 2)
    low, high = (json.dumps({"risks": ["operational"], "severity": each}) for each in ("medium", "critical"))
    assert await scored(task, sample, low) == pytest.approx(0.875)
    assert await scored(task, sample, high) == pytest.approx(0.75)
    everything = '{"risks": ["operational", "credit", "market", "legal"], "severity": "critical"}'
    assert await scored(task, sample, everything) < 0.4


def test_a_tidied_part_is_kept_only_if_no_word_of_it_changed() -> None:
    keep = function("ocr", "keep.py", "keep")
    parts = [
        {"text": "the har-\nbour\nlamp", "pages": [1]},
        {"text": "pages 10-12\nare lost", "pages": [1]},
        {"text": "well-\nknown", "pages": [2]},
    ]
    pages = [{"number": 1, "confidence": 0.97}, {"number": 2, "confidence": 0.9}]
    kept = keep(pages, parts, ["The harbour lamp", "pages 1012 are lost", "well-known"])
    assert kept["text"] == "the har-\nbour\nlamp\n\npages 10-12\nare lost\n\nwell-known"
    assert (kept["parts_tidied"], kept["confidence"]) == (1, 0.9)
    assert keep(pages, parts, ["the harbour lamp", "# pages 10-12 are lost", "wellknown"])["parts_tidied"] == 3


def test_check_digits_of_a_zone_are_computed_and_one_wrong_character_is_seen() -> None:
    verify = function("identity-fields", "mrz.py", "check")
    first = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<"
    second = "L898902C36UTO7408122F1204159ZE184226B<<<<<10"  # the specimen of ICAO Doc 9303, part 4
    fields = {
        "document_number": "L898902C3",
        "surname": "Eriksson",
        "given_names": "Anna Maria",
        "nationality": "UTO",
        "date_of_birth": "1974-08-12",
        "sex": "F",
        "date_of_expiry": "2012-04-15",
    }
    good = verify(f"PASSPORT\n{first}\n{second}", fields)
    assert (good["mrz"], good["failed"], good["differences"]) == ("valid", [], [])
    assert good["zone"] == {**fields, "surname": "ERIKSSON", "given_names": "ANNA MARIA"}
    for place in (0, 13, 21, 28):
        broken = second[:place] + ("8" if second[place] != "8" else "3") + second[place + 1 :]
        assert verify(f"{first}\n{broken}", fields)["mrz"] == "invalid"
    assert verify(f"{first}\n{second}", {**fields, "surname": "Larsson"})["differences"] == ["surname"]
    assert verify("a letter", fields) == {"mrz": "none", "failed": [], "zone": None, "differences": []}


def test_a_zone_is_read_although_ocr_lost_a_filler_and_took_a_letter_for_a_digit() -> None:
    verify = function("identity-fields", "mrz.py", "check")
    text = "P<UT0ER1KSS0N<<ANNA<MARIA<<<<<<<<<<<<<<<<<\nL898902C36UTO74O8122F1204159ZE184226B<<<<10"
    read = verify(text, {})
    assert read["mrz"] == "valid"
    assert read["zone"]["surname"] == "ERIKSSON"


@pytest.mark.parametrize("sample", samples(TASKS["identity-fields.fields"]), ids=lambda sample: sample.id)
def test_every_zone_of_the_samples_is_what_its_tag_says_and_agrees_with_the_ideal_fields(sample: Sample) -> None:
    verify = function("identity-fields", "mrz.py", "check")
    text = cast("dict[str, str]", sample.variables)["text"]
    found = verify(text, cast("dict[str, Any]", sample.target)["value"])
    assert found["mrz"] == ("invalid" if "bad-digit" in sample.tags else "valid" if "<<" in text else "none")
    assert found["differences"] == []


@pytest.mark.parametrize("sample", samples(TASKS["invoice-to-json.read"]), ids=lambda sample: sample.id)
def test_the_sums_of_an_invoice_hold_unless_its_tag_says_that_they_do_not(sample: Sample) -> None:
    checks = function("invoice-to-json", "sums.py", "checks")
    text = cast("dict[str, str]", sample.variables)["text"]
    flags = checks(cast("dict[str, Any]", sample.target)["value"], text)["flags"]
    assert bool(flags) == ("wrong-sum" in sample.tags)


def test_an_invoice_that_was_read_wrongly_is_flagged() -> None:
    checks = function("invoice-to-json", "sums.py", "checks")
    read: dict[str, Any] = {
        "number": "B-1",
        "date": "2026-05-02",
        "due_date": "2026-05-01",
        "seller": "Alder Ltd",
        "currency": "CHF",
        "lines": [{"description": "Sand", "quantity": 2, "unit_price": 30, "amount": 61}],
        "net": 60,
        "tax": 12,
        "total": 77,
    }
    result = checks(read, "Invoice A-1 of Alder Ltd: sand 60.00, VAT 12.00, total 72.00")
    assert [key for key, value in result.items() if value is False] == [
        "lines_multiply",
        "lines_add_up",
        "net_and_tax_make_total",
        "due_after_date",
    ]
    assert "total 77 does not stand on the invoice" in result["flags"]
    assert "the currency CHF does not stand on the invoice" in result["flags"]
    assert "the number B-1 does not stand on the invoice" in result["flags"]


@pytest.mark.parametrize(
    ("text", "total"),
    [
        ("Name\tEUR\na\t1234.126\nb\t1,000", 2234.13),
        ("Name\tEUR\na\t1.234,50\nb\t-0,5", 1234.0),
        ("Name\tEUR\na\t€ 7\nb\t3 %", 10.0),
        ("Name\tEUR\na\t12.125\nb\t30.5", 42.62),
    ],
)
def test_a_sum_is_right_whichever_way_numbers_are_written(text: str, total: float) -> None:
    look = function("spreadsheet-explainer", "look.py", "look")
    [sheet] = look([{"number": 1, "label": "sheet A", "text": text}], "xlsx", "a.xlsx")["sheets"]
    assert sheet["rows"] == 2
    assert sheet["columns"][1]["sum"] == total


def test_a_sheet_shows_what_is_empty_and_what_stands_twice_and_sums_no_numbers_that_are_names() -> None:
    look = function("spreadsheet-explainer", "look.py", "look")
    pages = ["Order no\tEUR\n1\t5\n2", "3\t9\n3\t9"]
    seen = look([{"number": 1, "label": "rows", "text": text} for text in pages], "csv", "a.csv")
    [sheet] = seen["sheets"]
    assert sheet["twice"] == ["3 / 9"]
    assert "sum" not in sheet["columns"][0]
    assert (sheet["columns"][1]["empty"], sheet["columns"][1]["sum"]) == (1, 23.0)
    assert "largest 9 (3, 9)" in seen["text"]
    assert look([{"number": 1, "label": "sheet B", "text": ""}], "xlsx", "")["sheets"][0]["rows"] == 0


def test_what_can_be_decided_of_a_form_is_decided_and_no_model_talks_it_away() -> None:
    decide = function("form-check", "rules.py", "decide")
    settle = function("form-check", "rules.py", "settle")
    form = "Name: \nAge: 17\nStart: 3.9.2026\nEnd: 2026-09-01\nKind: guest\nHost:\nMail: a.b"
    rules = [
        {"id": "R1", "says": "Name.", "check": "required", "field": "Name"},
        {"id": "R2", "says": "Adults.", "check": "at_least", "field": "Age", "value": 18},
        {"id": "R3", "says": "Order.", "check": "not_before", "field": "End", "other": "Start"},
        {"id": "R4", "says": "Kind.", "check": "one_of", "field": "Kind", "value": ["guest", "member"]},
        {"id": "R5", "says": "Host.", "check": "required_if", "field": "Host", "other": "Kind", "value": "guest"},
        {"id": "R6", "says": "Mail.", "check": "pattern", "field": "Mail", "value": ".+@.+"},
        {"id": "R7", "says": "The text is friendly."},
    ]
    decided = decide(form, json.dumps(rules))
    assert decided["listed"].splitlines()[6] == "R7: The text is friendly."
    said = [
        {"rule": "r1", "field": "Name", "problem": "implausible", "reason": "No name was given."},
        {"rule": "R4", "field": "Kind", "problem": "implausible", "reason": "I do not like guests."},
        {"rule": "R7", "field": "Text", "problem": "implausible", "reason": "It is rude."},
        {"rule": "R9", "field": "Name", "problem": "missing", "reason": "There is no such rule."},
    ]
    found = settle(decided, said)["findings"]
    assert [(each["rule"], each["problem"], each["by"]) for each in found] == [
        ("R1", "missing", "rule"),
        ("R2", "implausible", "rule"),
        ("R3", "contradictory", "rule"),
        ("R5", "missing", "rule"),
        ("R6", "implausible", "rule"),
        ("R7", "implausible", "model"),
    ]
    assert found[0]["reason"] == "No name was given."
    assert found[1]["reason"] == "Adults."


def test_rules_in_words_are_numbered_and_left_to_the_model() -> None:
    decide = function("form-check", "rules.py", "decide")
    decided = decide("Name: Ana", "R4: The name is required.\n- A date is required.")
    assert decided["listed"] == "R4: The name is required.\nR2: A date is required."
    assert decided["decided"] == {}


def test_notes_of_a_call_become_one_digest_and_nothing_is_said_twice() -> None:
    merge = function("earnings-digest", "merge.py", "merge")
    digest = function("earnings-digest", "merge.py", "digest")
    first = {"revenue": "10 million", "margin": "", "guidance": "12 million", "tone": "confident", "risks": ["Nickel"]}
    then = {"revenue": "", "margin": "8 %", "guidance": "13 million", "tone": "not clear", "risks": ["nickel", "Rain"]}
    merged = merge([first, "no JSON", then])
    assert digest(merged["statements"], merged["tone"]) == {
        "revenue": "10 million",
        "margin": "8 %",
        "guidance": "13 million",
        "tone": "confident",
        "risks": ["nickel", "Rain"],
    }
    assert merge([])["tone"] == "not clear"


def test_an_answer_that_no_passage_bears_out_counts_as_not_found() -> None:
    held = function("filing-answers", "held.py", "held")
    borne_out = [{"supported": True, "page": 4}, {"supported": True, "page": 2}, {"supported": False, "page": 9}]
    assert held("35 million.", borne_out) == {
        "found": True,
        "answer": "35 million.",
        "pages": [2, 4],
        "text": "35 million. (pp. 2, 4)",
    }
    for text, sources in (("35 million.", []), ("", borne_out), ("not in the document", borne_out)):
        assert held(text, sources)["answer"] == "Not in the document."
