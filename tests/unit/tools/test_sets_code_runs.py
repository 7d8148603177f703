"""The shipped tools for code, operations and homework, run on their examples with answers that models might give."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from tests.support.tools import Bench, Reply, Scripted

from changeover.core.errors import ContractError, RequestError
from changeover.tools.load import load_tool
from changeover.tools.values import File, Outcome

SHIPPED = Path(str(files("changeover.tools") / "shipped"))
RUBBISH = "I am sorry, I can only talk about the weather. It is 21 degrees."
MEANINGS = {
    "summary": "Splits a bill.",
    "parameters": [{"name": name, "meaning": f"The {name}."} for name in ("total_cents", "people", "tip_percent")],
    "returns": "The shares.",
    "raises": "There is nobody.",
}
FINDING = {"line": 5, "severity": "high", "what": "An empty list is divided by zero.", "why": "It raises."}
LESSON = {"given": "6 trays of 8, 29 are sold.", "steps": ["Count all rolls: 6 × 8 = 48.", "48 − 29 = 19"]}
EXPLANATION = {
    "quotes": ["No space left on device", "made up"],
    "what": "The backup failed.",
    "cause": "The disk is full.",
    "next_step": "Free space.",
}
NOTE = (
    "Card payments did not work in all branches from 09:12 to 10:05; about 340 terminals were affected. "
    "All terminals accept cards again. We will tell you more about the cause tomorrow."
)


async def run(tool: str, tmp_path: Path, answer: list[Reply] | str) -> tuple[Outcome, Scripted]:
    bench = Bench(tool=load_tool(SHIPPED / tool), cache=tmp_path, caller=Scripted(answer))
    given: dict[str, Any] = dict(bench.tool.declared.example)
    if "picture" in given:
        given["picture"] = File(name="photo.png", data=b"A baker fills 6 trays with 8 rolls each and sells 29.")
    return await bench.run(**given), bench.caller


async def test_code_that_does_not_compile_is_asked_for_again_and_never_given_out(tmp_path: Path) -> None:
    right = "```python\ndef share_of(part, whole):\n    return round(100 * part / whole, 1) if whole else 0.0\n```"
    outcome, caller = await run("code-writing", tmp_path, ["def share_of(part, whole:", right])
    assert outcome.value["defines"] == ["share_of"]
    assert len(caller.asked) == 2
    with pytest.raises(ContractError, match="line 1"):
        await run("code-writing", tmp_path, RUBBISH)


async def test_tests_come_with_the_import_of_what_they_test(tmp_path: Path) -> None:
    outcome, _ = await run("unit-test-writer", tmp_path, "def test_nothing():\n    assert fee(0) == 0.0")
    assert outcome.value["names"] == ["test_nothing"]
    assert "from bank.fees import fee\n" in outcome.value["tests"]
    with pytest.raises(ContractError, match="test_"):
        await run("unit-test-writer", tmp_path, "x = 1")


async def test_a_statement_that_writes_or_does_not_run_is_never_given_out(tmp_path: Path) -> None:
    right = "SELECT c.name, SUM(o.total) FROM customers c JOIN orders o ON o.customer_id = c.id GROUP BY c.id;"
    outcome, caller = await run("sql-writer", tmp_path, ["SELECT town FROM customers", "DELETE FROM orders", right])
    assert outcome.value["sql"] == right.rstrip(";")
    assert len(caller.asked) == 3
    beside = "~~~\nSELECT 1\n~~~\nand then ```sql\nWITH old AS (SELECT 1) DELETE FROM orders\n```"
    for wrong in ("DROP TABLE orders", "SELECT 1; DELETE FROM orders", beside, RUBBISH):
        with pytest.raises(ContractError):
            await run("sql-writer", tmp_path, wrong)


async def test_findings_name_lines_of_the_code(tmp_path: Path) -> None:
    said = json.dumps({"findings": [FINDING, {**FINDING, "line": 400}]})
    outcome, _ = await run("code-review", tmp_path, said)
    assert [each["code"] for each in outcome.value["findings"]] == ["return total / len(values)"]
    assert outcome.value["dropped"] == 1
    assert "line 5" in outcome.text
    nothing, _ = await run("code-review", tmp_path, '{"findings": []}')
    assert "no proof" in nothing.text
    with pytest.raises(ContractError, match="findings"):
        await run("code-review", tmp_path, RUBBISH)


async def test_a_commit_message_keeps_its_form_whoever_writes_it(tmp_path: Path) -> None:
    outcome, _ = await run("commit-message", tmp_path, "Give SMTP a timeout\n\nThe nightly job hung for hours.")
    assert outcome.text == "Give SMTP a timeout\n\nThe nightly job hung for hours."
    assert outcome.problems == []
    mended, caller = await run("commit-message", tmp_path, '"Added a timeout to SMTP.\nThe job hung."')
    assert mended.text == "Add a timeout to SMTP\n\nThe job hung."
    assert mended.problems == []
    assert len(caller.asked) == 1
    cut, _ = await run("commit-message", tmp_path, "Added a timeout of 20 s " + "and so on " * 10)
    assert cut.value["subject"].startswith("Add a timeout of 20 s")
    assert len(cut.value["subject"]) <= 72
    assert "what is beyond is cut off" in cut.problems[0]


async def test_an_explanation_of_a_log_quotes_what_stands_there(tmp_path: Path) -> None:
    outcome, _ = await run("log-explainer", tmp_path, json.dumps(EXPLANATION))
    assert (outcome.value["quotes"], outcome.value["lines"]) == (["No space left on device"], [3])
    assert "line 3: No space left on device" in outcome.text
    with pytest.raises(ContractError, match="no explanation"):
        await run("log-explainer", tmp_path, RUBBISH)


async def test_a_docstring_names_all_parameters_even_if_the_model_names_none(tmp_path: Path) -> None:
    outcome, _ = await run("code-documentation", tmp_path, json.dumps(MEANINGS))
    assert outcome.value["not_described"] == []
    assert "ValueError: There is nobody." in outcome.value["docstring"]
    assert outcome.problems == []
    poor, caller = await run("code-documentation", tmp_path, RUBBISH)
    assert poor.value["not_described"] == ["total_cents", "people", "tip_percent"]
    assert "does not describe" in poor.problems[0]
    assert len(caller.asked) == 2


async def test_a_status_note_leaves_out_what_is_internal_and_figures_that_no_ticket_has(tmp_path: Path) -> None:
    outcome, _ = await run("status-note", tmp_path, NOTE)
    assert outcome.text == NOTE
    assert (outcome.value["left_out"], outcome.problems) == (0, [])
    leaky = f"Marta Keller restarted pay-gw-02. {NOTE} We lost 5,000 payments."
    mended, caller = await run("status-note", tmp_path, leaky)
    assert mended.text == NOTE
    assert mended.value["left_out"] == 1
    assert len(caller.asked) == 2
    with pytest.raises(ContractError):
        await run("status-note", tmp_path, "Tomasz broke pay-gw-02.")


async def test_the_answer_of_homework_stands_apart_and_wrong_sums_are_shown(tmp_path: Path) -> None:
    outcome, caller = await run("homework-explainer", tmp_path, json.dumps({**LESSON, "answer": "19 rolls"}))
    assert outcome.value["problem"].startswith("A baker")
    assert outcome.text.endswith("---\n\n**19 rolls**")
    assert len(caller.asked) == 1
    wrong = {**LESSON, "steps": ["Count all rolls.", "6 × 8 = 46"], "answer": "17 rolls"}
    told, caller = await run("homework-explainer", tmp_path, json.dumps(wrong))
    assert told.value["wrong_sums"] == ["6 × 8 = 46"]
    assert "⚠ 6 × 8 = 46" in told.text
    assert len(caller.asked) == 2
    with pytest.raises(ContractError):
        await run("homework-explainer", tmp_path, RUBBISH)


@pytest.mark.parametrize(("tool", "said"), [("unit-test-writer", "no class"), ("code-documentation", "no function")])
async def test_code_that_holds_nothing_is_the_callers_fault_and_no_model_is_asked(
    tmp_path: Path, tool: str, said: str
) -> None:
    bench = Bench(tool=load_tool(SHIPPED / tool), cache=tmp_path, caller=Scripted([]))
    with pytest.raises(RequestError, match=f"What was given cannot be used: .* {said}"):
        await bench.run(code="RATE = 0.02")
