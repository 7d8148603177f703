"""Checks on answers, and what becomes of an answer that fails one."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.tools import Bench, Kept, bench

from changeover.core.errors import ContractError, RequestError

CALL = '{ do = "call", name = "draft", task = "ask", give = { text = "text" } }'
JSON_CALL = CALL.replace('do = "call"', 'do = "call", answer = "json"')
SOURCE = "In 2024 the branch had 1,815,000 guests, 3.5 % more. Rent: EUR 38.000. A “wet-\nfloor” sign costs 12 crowns."
NUMBER = '{"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}'
LINES = '{"type": "array", "items": {"type": "string", "maxLength": 3}}'


def checked(
    root: Path, check: str, answer: Any, *, more: str = "", call: str = CALL, value: str = "draft", **files: str
) -> Bench:
    """A tool that checks an answer by one check, or by several."""
    answers = answer if isinstance(answer, list) and call is CALL else [answer]
    texts = [each if isinstance(each, str) else json.dumps(each) for each in answers]
    step = f'{{ do = "validate", name = "result", value = "{value}", checks = [{check}]{more} }}'
    files = {"n__json": NUMBER, "lines__json": LINES, **files}
    return bench(root, f"{call},\n{step}", answer=texts, text="'x'", **files)


@pytest.mark.parametrize(
    ("check", "good"),
    [
        ('check = "not-empty"', "a"),
        ('check = "max-words", most = 3', "one two three"),
        ('check = "figures", source = "text"', "In 2024 it had 1815000 guests, 3.5% more, and paid 38000 for rent."),
        ('check = "figures", source = "text"', "1.8 million guests:\n1. First\n2. second"),
        ('check = "figures", source = "text"', "No figures at all."),
        ('check = "quotes", source = "text"', "the branch had 1,815,000 guests"),
        ('check = "quotes", source = "text"', '"The branch had … 3.5 %  more."'),
        ('check = "quotes", source = "text"', 'a "wet-floor" sign'),
        ("check = \"one-of\", source = \"['low', 'high']\"", "low"),
        ('check = "language", source = "text"', "The branch had more guests than in the year before."),
        ('check = "language", source = "\'ja\'"', "来週の水曜日に伺います。よろしくお願いいたします。"),
        ('check = "language", source = "\'12\'"', "Was auch immer hier steht, es ist recht."),
        ('check = "python"', "def f(x):\n    return x"),
        ('check = "python"', "Here:\n```python\nx = 1\n```\nDone."),
        ('check = "sql", source = "\'CREATE TABLE t (a INTEGER, b TEXT)\'"', "SELECT a, count(*) FROM t GROUP BY a;"),
        ('check = "sql", source = "\'CREATE TABLE t (a); INSERT INTO t VALUES (1)\'"', "```sql\nSELECT a FROM t\n```"),
        ('check = "function", file = "own.py", call = "even"', "four"),
        ('check = "function", file = "own.py", call = "same", source = "text"', SOURCE),
    ],
)
async def test_what_holds_passes_as_it_is(tmp_path: Path, check: str, good: str) -> None:
    tool = checked(tmp_path, f"{{ {check} }}", good, own__py=OWN)
    outcome = await tool.run(text=SOURCE)
    assert outcome.value == {"value": good}
    assert outcome.problems == []


OWN = """
def even(value):
    return None if len(value) % 2 == 0 else f"{value} is odd"


def same(value, source):
    return None if value == source else "it is another"


def number(value):
    return 3
"""


@pytest.mark.parametrize(
    ("check", "bad", "said"),
    [
        ('check = "not-empty"', " ", "it is empty"),
        ('check = "max-words", most = 3', "one two three four", "it has 4 words, at most 3 are allowed"),
        (
            'check = "figures", source = "text"',
            "It had 1,816,000.",
            "the figure 1,816,000 does not stand in the source",
        ),
        ('check = "figures", source = "text"', "4 and 99", "the figures 4, 99 do not stand in the source"),
        ('check = "figures", source = "text"', "1.9 million guests", "the figure 1.9 million does not stand"),
        ('check = "quotes", source = "text"', "the branch lost guests", "`the branch lost guests` does not stand"),
        ('check = "quotes", source = "text"', "…", "it is empty, and no quotation"),
        ("check = \"one-of\", source = \"['low', 'high']\"", "Low", "`Low` is none of `low`, `high`"),
        ('check = "language", source = "text"', "Die Filiale hatte mehr Gäste als zuvor.", "not in the language `en`"),
        ('check = "python"', "def f(:\n  pass", "line 1: invalid syntax"),
        ('check = "python"', "", "it is empty"),
        ('check = "python"', "x = " + "(" * 5_000, "line 1: too many nested parentheses"),
        ('check = "python"', "-" * 100_000 + "1", "it cannot be compiled"),
        ('check = "sql", source = "\'CREATE TABLE t (a)\'"', "SELECT b FROM t", "SQLite says: no such column: b"),
        ('check = "sql", source = "\'CREATE TABLE t (a)\'"', "DROP TABLE t", "only reading is allowed (SELECT)"),
        ('check = "sql", source = "\'CREATE TABLE t (a)\'"', "PRAGMA user_version", "only reading is allowed (SELECT)"),
        (
            'check = "sql", source = "\'CREATE TABLE t (a)\'"',
            "ATTACH '/tmp/x' AS x",
            "only reading is allowed (SELECT)",
        ),
        ('check = "sql", source = "\'CREATE TABLE t (a)\'"', "SELECT load_extension('x')", "not authorized"),
        ('check = "sql", source = "\'CREATE TABLE t (a)\'"', "SELECT 1; SELECT 2", "it has more than one statement"),
        ('check = "sql", source = "\'CREATE TABLE t (a)\'"', "", "it is empty"),
        ('check = "sql", source = "\'CREATE TABLE t (a)\'"', "-- nothing", "it asks for nothing"),
        ('check = "function", file = "own.py", call = "even"', "odd", "odd is odd"),
        ('check = "function", file = "own.py", call = "same", source = "text"', "no", "it is another"),
        ('check = "function", file = "own.py", call = "number"', "a", "returned no text and not none"),
        ('check = "schema", schema_file = "n.json"', "text", "'text' is not of type 'object'"),
    ],
)
async def test_what_does_not_hold_breaks_the_contract(tmp_path: Path, check: str, bad: str, said: str) -> None:
    tool = checked(tmp_path, f"{{ {check} }}", bad, own__py=OWN)
    with pytest.raises(ContractError) as broken:
        await tool.run(text=SOURCE)
    assert said in broken.value.message


async def test_a_query_that_never_ends_is_stopped(tmp_path: Path) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    tool = checked(tmp_path, '{ check = "sql", source = "\'CREATE TABLE t (a)\'" }', endless)
    with pytest.raises(ContractError, match="it takes longer than"):
        await tool.run(text="x")


@pytest.mark.parametrize(
    "schema", ["CREATE TABEL t (a)", "ATTACH DATABASE '/tmp/x.db' AS x", "PRAGMA writable_schema=1"]
)
async def test_statements_that_make_no_database_are_the_callers_fault(tmp_path: Path, schema: str) -> None:
    tool = checked(tmp_path, '{ check = "sql", source = "text" }', "SELECT 1")
    with pytest.raises(RequestError, match="SQLite cannot make a database of the statements given"):
        await tool.run(text=schema)
    assert not Path("/tmp/x.db").exists()


CLAUSES = {
    "clauses": [{"quote": "In 2024", "page": 1}, {"quote": "Never said", "page": 2}, {"quote": "Rent: EUR", "page": 9}]
}


@pytest.mark.parametrize(
    ("check", "answer", "left", "left_out"),
    [
        (
            '{ check = "quotes", source = "text", field = "clauses.quote" }',
            CLAUSES,
            {"clauses": [CLAUSES["clauses"][0], CLAUSES["clauses"][2]]},
            "at `clauses[1].quote`: `Never said` does not stand in the source word for word",
        ),
        ("{ check = \"one-of\", source = \"['a', 'b']\" }", ["a", "c", "b"], ["a", "b"], "at `[1]`: `c` is none of"),
        ('{ check = "figures", source = "text" }', ["2024", "99", {"n": 77}], ["2024"], "the figure 99 does not"),
        ('{ check = "schema", schema_file = "lines.json" }', ["abc", "abcd"], ["abc"], "at `[1]`: 'abcd' is too long"),
        ('{ check = "not-empty", field = "n" }', [{"n": ""}, {"n": "a"}], [{"n": "a"}], "it is empty"),
        ('{ check = "not-empty", field = "n" }', [{"m": 1}, {"n": "a"}], [{"n": "a"}], "there is no `[0].n`"),
        (
            '{ check = "figures", source = "text", field = "said" }',
            {"said": "In 2024. It was 99."},
            {"said": "In 2024."},
            "at `said`: the figure 99 does not",
        ),
        ('{ check = "one-of", source = "[1]" }', ["x"], [], "`x` is none of `1`"),
    ],
)
async def test_members_at_fault_are_left_out(tmp_path: Path, check: str, answer: Any, left: Any, left_out: str) -> None:
    tool = checked(tmp_path, check, answer, call=JSON_CALL, more=', otherwise = "drop"')
    outcome = await tool.run(text=SOURCE)
    assert outcome.value == {"value": left}
    assert left_out in outcome.problems[0]


@pytest.mark.parametrize(
    ("checks", "answer", "left"),
    [
        (
            '{ check = "figures", source = "text" }',
            "It had 99. In 2024 it grew.\n\n- 77 left\n- All well",
            "In 2024 it grew.\n\n- All well",
        ),
        ('{ check = "figures", source = "text" }', "It had 99.", ""),
        ('{ check = "max-words", most = 5 }', "One two. Three four. Five six.", "One two. Three four."),
        (
            '{ check = "language", source = "text" }',
            "It grew a lot this year. Das ist aber nicht wahr. " * 2,
            "It grew a lot this year. It grew a lot this year.",
        ),
    ],
)
async def test_sentences_at_fault_are_left_out(tmp_path: Path, checks: str, answer: str, left: str) -> None:
    tool = checked(tmp_path, checks, answer, more=', otherwise = "drop"')
    outcome = await tool.run(text=SOURCE)
    assert outcome.value == {"value": left}
    assert outcome.problems[0].startswith("`result`: something was left out: ")


@pytest.mark.parametrize(
    ("checks", "answer", "said"),
    [
        ('{ check = "not-empty" }, { check = "figures", source = "text" }', "It had 99.", "it is empty"),
        ('{ check = "python" }', "def (", "line 1"),
        ('{ check = "schema", schema_file = "n.json" }', "a", "is not of type 'object'"),
    ],
)
async def test_where_leaving_out_does_not_help_the_contract_is_broken(
    tmp_path: Path, checks: str, answer: str, said: str
) -> None:
    tool = checked(tmp_path, checks, answer, more=', otherwise = "drop"')
    with pytest.raises(ContractError, match=said):
        await tool.run(text=SOURCE)


async def test_a_flag_lets_pass_and_says_so(tmp_path: Path) -> None:
    tool = checked(tmp_path, '{ check = "figures", source = "text" }', "It had 99.", more=', otherwise = "flag"')
    outcome = await tool.run(text=SOURCE)
    assert outcome.value == {"value": "It had 99."}
    assert outcome.problems == ["`result`: the figure 99 does not stand in the source."]


REPAIR = ', repair = "draft", tries = 2'


async def test_a_repair_shows_the_answer_and_what_is_wrong_with_it(tmp_path: Path) -> None:
    tool = checked(
        tmp_path, '{ check = "figures", source = "text" }', ["It had 99 <|im_end|>.", "In 2024."], more=REPAIR
    )
    outcome = await tool.run(text=SOURCE)
    assert outcome.value == {"value": "In 2024."}
    _, messages = tool.caller.asked[1]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[1]["content"] == "It had 99 < |im_end|>."
    assert "This answer cannot be used: the figure 99 does not stand in the source." in messages[2]["content"]
    assert [(step.name, step.calls, step.repairs) for step in outcome.steps] == [("draft", 1, 0), ("result", 1, 1)]


async def test_a_repair_is_tried_as_often_as_said(tmp_path: Path) -> None:
    tool = checked(tmp_path, '{ check = "figures", source = "text" }', ["99", "98", "97"], more=REPAIR)
    with pytest.raises(ContractError):
        await tool.run(text=SOURCE)
    assert len(tool.caller.asked) == 3


async def test_a_repair_that_makes_it_worse_is_forgotten(tmp_path: Path) -> None:
    checks = '{ check = "not-empty" }, { check = "figures", source = "text" }, { check = "max-words", most = 3 }'
    tool = checked(tmp_path, checks, ["In 2024: 99.", "98 97 96 95", ""], more=REPAIR + ', otherwise = "flag"')
    outcome = await tool.run(text=SOURCE)
    assert outcome.value == {"value": "In 2024: 99."}


async def test_no_json_is_repaired_by_the_step_that_checks(tmp_path: Path) -> None:
    check = '{ check = "schema", schema_file = "n.json" }'
    step = f'{{ do = "validate", name = "result", value = "draft", checks = [{check}]{REPAIR} }}'
    tool = bench(tmp_path, f"{JSON_CALL},\n{step}", answer=["no", '{"n": "a"}', '{"n": 1}'], text="'x'", n__json=NUMBER)
    outcome = await tool.run(text="x")
    assert outcome.value == {"value": {"n": 1}}
    assert "'no' is not of type 'object'" in tool.caller.messages[1]
    assert "at `n`: 'a' is not of type 'integer'" in tool.caller.messages[2]


async def test_later_steps_see_the_repaired_answer(tmp_path: Path) -> None:
    step = '{ do = "validate", name = "ok", value = "draft.n", checks = [{ check = "one-of", source = "[1]" }]'
    tool = bench(
        tmp_path,
        f'{JSON_CALL},\n{step}{REPAIR} }},\n{{ do = "render", name = "result", template = "a.md" }}',
        answer=["[]", '{"n": 1, "m": 2}'],
        a__md="{{ draft.m }}",
    )
    assert (await tool.run(text="x")).text == "2"


async def test_repairs_are_kept_too(tmp_path: Path) -> None:
    tool = checked(tmp_path, '{ check = "figures", source = "text" }', ["99", "2024"], more=REPAIR)
    tool.journal = Kept()
    await tool.run(text=SOURCE)
    asked = len(tool.caller.asked)
    assert (await tool.run(text=SOURCE)).value == {"value": "2024"}
    assert len(tool.caller.asked) == asked


async def test_pages_must_be_pages_of_the_document(tmp_path: Path) -> None:
    read = '{ do = "extract", name = "read", file = "document" }'
    step = (
        '{ do = "validate", name = "result", value = "draft", otherwise = "drop", '
        'checks = [{ check = "pages", source = "read", field = "page" }] }'
    )
    call = JSON_CALL.replace('"text" }', '"read" }')
    answer = '[{"page": 1}, {"page": "p. 2"}, {"page": 3}, {"page": null}, {"page": "none"}, {"page": true}]'
    tool = bench(
        tmp_path,
        f"{read},\n{call},\n{step}",
        answer=answer,
        inputs='document = { type = "document" }',
        example='{ document = "@out.json" }',
        text="'x'",
    )
    outcome = await tool.run(document={"name": "a.txt", "content_base64": "b25lDHR3bw=="})
    assert outcome.value == {"value": [{"page": 1}, {"page": "p. 2"}, {"page": None}]}


async def test_a_value_that_cannot_be_computed_is_refused_by_its_step(tmp_path: Path) -> None:
    tool = checked(tmp_path, '{ check = "not-empty" }', "a", value="draft.items.x", more=', otherwise = "flag"')
    with pytest.raises(ContractError, match="The step `result`"):
        await tool.run(text="x")
