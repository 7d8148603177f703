"""The Python functions in the folders of the shipped tools for code, operations and homework."""

from __future__ import annotations

import ast
import json
import runpy
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

SHIPPED = Path(str(files("changeover.tools") / "shipped"))


def function(file: str, name: str) -> Any:
    return runpy.run_path(str(SHIPPED / file))[name]


def test_the_code_of_an_answer_is_taken_out_of_its_fence() -> None:
    read = function("code-writing/answer.py", "read")
    answer = "Sure:\n```python\nimport re\n\ndef f(x):\n    return x\n```\nThat is all."
    assert read(answer) == {"code": "import re\n\ndef f(x):\n    return x", "defines": ["f"]}
    assert read("class A:\n    pass")["defines"] == ["A"]
    with pytest.raises(SyntaxError):
        read("I cannot do that.")


def test_a_test_file_imports_what_it_tests_and_pytest_only_where_it_is_used() -> None:
    assemble = function("unit-test-writer/tests.py", "assemble")
    answer = """```python
import os
from other import fee
RATE = 0.02
def fee(amount):
    return 0
def test_nothing():
    import sys
    assert fee(0) == 0
print(os.environ)
```"""
    made = assemble(answer, ["fee"], "bank.fees")
    assert made["names"] == ["test_nothing"]
    tree = ast.parse(made["tests"])
    imports = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert imports == ["from bank.fees import fee"]
    assert "environ" not in made["tests"]
    raising = "def test_it():\n    with pytest.raises(ValueError):\n        fee(-1)"
    assert assemble(raising, ["fee"], "m")["tests"].startswith("import pytest\n\nfrom m import fee\n")


@pytest.mark.parametrize(
    ("code", "module", "wrong"),
    [
        ("def fee(a): ...", "os; evil", "no name of a module"),
        ("def fee(a) ...", "bank.fees", "the code is no Python: .*, line 1"),
        ("RATE = 0.02", "bank.fees", "no function and no class"),
    ],
)
def test_what_has_nothing_to_test_is_refused(code: str, module: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        function("unit-test-writer/tests.py", "look")(code, module)


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("RATE = 0.02", "the code holds no function"),
        ("def fee(a) ...", "the code is no Python: .*, line 1"),
        ("def fee(a): return a", "Put its body on a line of its own"),
    ],
)
def test_what_no_docstring_can_be_put_into_is_refused(code: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        function("code-documentation/docstring.py", "look")(code)


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ("def test_a():\n    assert True", None),
        ("def check():\n    assert True", "begins with `test_`"),
        ("Here are no tests.", "it is no Python"),
    ],
)
def test_an_answer_without_tests_is_told_so(answer: str, wrong: str | None) -> None:
    said = function("unit-test-writer/tests.py", "problem")(answer)
    assert said is None if wrong is None else wrong in said


CODE = '''@cached
def pay(self_, account, *rates, limit=None, **extra):
    """Old words."""
    if limit == 0:
        raise ValueError("limit")
    return [rate for rate in rates]
'''
MEANINGS = json.dumps(
    {
        "summary": 'Pays """now""" \\ later',
        "parameters": [
            {"name": "self_", "meaning": "who"},
            {"name": "*rates", "meaning": "the rates"},
            {"name": "ghost", "meaning": "not there"},
        ],
        "returns": "the rates",
        "raises": "ValueError: the limit is 0",
    }
)


def test_a_docstring_names_every_parameter_and_changes_nothing_of_the_code() -> None:
    made = function("code-documentation/docstring.py", "document")(MEANINGS, CODE)
    node = ast.parse(made["code"]).body[0]
    assert isinstance(node, ast.FunctionDef)
    docstring = ast.get_docstring(node)
    assert docstring is not None
    named = [line.strip().partition(":")[0] for line in docstring.split("Args:")[1].split("Returns:")[0].split("\n")]
    assert [name for name in named if name] == ["self_", "account", "rates", "limit", "extra"]
    assert made["not_described"] == ["account", "limit", "extra"]
    assert "ghost" not in docstring
    assert "Old words" not in made["code"]
    assert "ValueError: the limit is 0." in docstring
    node.body, before = node.body[1:], ast.parse(CODE).body[0]
    assert isinstance(before, ast.FunctionDef)
    before.body = before.body[1:]
    assert ast.dump(node) == ast.dump(before)


@pytest.mark.parametrize(
    "code",
    [
        "def f(a):\n    @wraps(a)\n    @once\n    def inner():\n        return a\n    return inner",
        "def f(a):\n\tif a:\n\t\treturn a\n\treturn 1",
        "class C:\n    pass\n\ndef f(a):\n    # first\n    return a",
    ],
)
def test_a_docstring_stands_where_python_takes_it_for_one(code: str) -> None:
    documented = function("code-documentation/docstring.py", "document")(MEANINGS, code)["code"]
    [node] = [node for node in ast.parse(documented).body if isinstance(node, ast.FunctionDef)]
    assert ast.get_docstring(node) is not None
    [bare] = [each for each in ast.parse(code).body if isinstance(each, ast.FunctionDef)]
    assert ast.dump(ast.Module(node.body[1:], [])) == ast.dump(ast.Module(bare.body, []))


def test_a_function_whose_body_stands_behind_its_head_is_refused_and_not_broken() -> None:
    with pytest.raises(ValueError, match="stands on one line"):
        function("code-documentation/docstring.py", "document")(MEANINGS, "def f(\n    a,\n): return a")


@pytest.mark.parametrize("answer", ["", "no JSON", "[1]", '{"parameters": 3}', '{"parameters": ["a"]}'])
def test_whatever_a_model_says_there_is_a_docstring_with_every_parameter(answer: str) -> None:
    made = function("code-documentation/docstring.py", "document")(answer, "def f(a, b):\n    return a")
    assert made["not_described"] == ["a", "b"]
    assert ast.parse(made["code"])


def test_parameters_that_are_left_out_or_made_up_are_told() -> None:
    problem = function("code-documentation/docstring.py", "problem")
    described = json.dumps({"parameters": [{"name": "a", "meaning": "x"}, {"name": "c", "meaning": "x"}]})
    assert problem(described, "def f(a, b): return a") == "it does not describe: b"
    assert problem(described, "def f(a): return a") == "the function has no parameter called: c"
    assert problem(described, "def f(a, c): return a") is None


def test_only_findings_on_lines_that_exist_are_kept_the_worst_first() -> None:
    said = [
        {"line": 1, "severity": "low", "what": "a", "why": "b"},
        {"line": 2, "severity": "high", "what": "empty line", "why": ""},
        {"line": 3, "severity": "high", "what": "c", "why": ""},
        {"line": 99, "severity": "high", "what": "d", "why": ""},
        {"line": "3", "severity": "high", "what": "e", "why": ""},
    ]
    made = function("code-review/findings.py", "keep")(json.dumps({"findings": said}), "x = 1\n\ny = 2")
    assert [(each["line"], each["code"]) for each in made["findings"]] == [(3, "y = 2"), (1, "x = 1")]
    assert made["dropped"] == 3


@pytest.mark.parametrize(
    ("answer", "findings"),
    [
        ('{"findings": []}', 0),
        ('{"findings": [{"line": 1, "severity": "high", "what": "a", "why": ""}, {"line": 1, "sev', 1),
        ('{"findings": [{"line": 1, "severity": "high", "what": "an empty {} is shared", "why": ""}]}', 1),
        ("Nothing is wrong.", None),
        ('{"findings": [{"line": 1, "sever', None),
    ],
)
def test_a_review_that_cannot_be_read_is_not_one_that_finds_nothing(answer: str, findings: int | None) -> None:
    problem = function("code-review/findings.py", "problem")(answer)
    assert (problem is None) == (findings is not None)
    assert len(function("code-review/findings.py", "keep")(answer, "x")["findings"]) == (findings or 0)


@pytest.mark.parametrize(
    ("answer", "sql"),
    [
        ("```sql\nSELECT 1;\n```", "SELECT 1"),
        ("-- the count\nSELECT 1\nFROM t ;", "SELECT 1\nFROM t"),
        ("SELECT 1", "SELECT 1"),
    ],
)
def test_a_statement_is_taken_out_of_its_answer(answer: str, sql: str) -> None:
    assert function("sql-writer/statement.py", "read")(answer) == sql


@pytest.mark.parametrize(
    ("answer", "subject", "wrong"),
    [
        ("Add a limit", "Add a limit", None),
        ("Added a limit\n\nBecause.", "Add a limit", None),
        ("Applying the fix", "Applying the fix", None),
        ("Dropping the view", "Drop the view", None),
        ("Simplifies it.", "Simplify it", None),
        ("```\nSubject: fix it\n```", "Fix it", None),
        ("Fix it\nand more", "Fix it", None),
        ("Add " + "very " * 20 + "much", "Add " + ("very " * 13).strip(), "characters"),
        ("A" * 90, "A" * 72, "characters"),
        (
            "Limit uploads. The disk was full of videos, and there was no room left for orders.",
            "Limit uploads",
            None,
        ),
    ],
)
def test_a_subject_is_short_and_imperative_whoever_wrote_it(answer: str, subject: str, wrong: str | None) -> None:
    said = function("commit-message/message.py", "problem")(answer)
    assert said is None if wrong is None else wrong in said
    assert function("commit-message/message.py", "tidy")(answer)["subject"] == subject


def test_the_body_of_a_commit_message_is_wrapped_and_empty_ones_are_refused() -> None:
    tidy = function("commit-message/message.py", "tidy")
    assert tidy("Limit uploads. " + "Why. " * 20)["body"].startswith("Why. Why.")
    body = tidy("Fix it\n\n" + "word " * 40)["body"]
    assert max(map(len, body.split("\n"))) <= 72
    assert len(body.split()) == 40
    with pytest.raises(ValueError, match="empty"):
        tidy("```\n```")


@pytest.mark.parametrize(
    ("answer", "subject", "body"),
    [
        ('"Add a limit"', "Add a limit", ""),
        ("“Add a limit”", "Add a limit", ""),
        ('Subject: "Add a limit"', "Add a limit", ""),
        ('"Add a limit\n\nThe disk was full."', "Add a limit", "The disk was full."),
        ('"Add a limit"\n\n"The disk was full."', "Add a limit", "The disk was full."),
        ('"Add a limit\n\nThe disk was full.', "Add a limit", "The disk was full."),
        ('Add a limit\n\nThe disk was full."', "Add a limit", "The disk was full."),
        ('"Rename "a" to "b""', 'Rename "a" to "b"', ""),
        ('Rename "a" to "b"', 'Rename "a" to "b"', ""),
        ('"a" is "b"', '"a" is "b"', ""),
    ],
)
def test_quotation_marks_around_a_commit_message_go_and_those_within_stay(answer: str, subject: str, body: str) -> None:
    assert function("commit-message/message.py", "problem")(answer) is None
    assert function("commit-message/message.py", "tidy")(answer) == {"subject": subject, "body": body}


def test_of_a_long_log_the_complaints_stay_with_what_is_around_them() -> None:
    shorten = function("log-explainer/log.py", "shorten")
    lines = [f"{number} INFO all is well, as it was before and will be" for number in range(2_000)]
    lines[700] = "700 ERROR the disk is full"
    short = shorten("\n".join(lines))
    assert len(short) < 7_000
    assert "699 INFO" in short
    assert "700 ERROR the disk is full" in short
    assert short.endswith(lines[-1])
    assert shorten("one\ntwo") == "one\ntwo"


def test_quotes_that_do_not_stand_in_the_log_are_left_out() -> None:
    read = function("log-explainer/log.py", "read")
    said = {"quotes": ["disk full", "made up"], "what": "It stopped.", "cause": "", "next_step": "Free space."}
    made = read(json.dumps(said), "start\nERROR disk full\nend")
    assert (made["quotes"], made["lines"]) == (["disk full"], [2])
    with pytest.raises(ValueError, match="no explanation"):
        read("It stopped.", "log")
    with pytest.raises(ValueError, match="what happened"):
        read('{"quotes": []}', "log")


TICKETS = """INC-9 opened by: Marta Keller
pay-gw-02 (10.2.0.17, db1.house.internal) is down, ask @tomasz or t.nowak@house.example
担当: 佐々木
customers may write to help@house.example, version utf-8"""


def test_hosts_addresses_and_people_of_tickets_are_found() -> None:
    internals = function("status-note/internals.py", "internals")
    found = internals(TICKETS, ["Norbell"])
    expected = {"pay-gw-02", "10.2.0.17", "db1.house.internal", "@tomasz", "t.nowak@house.example", "Marta", "Keller"}
    assert {*expected, "佐々木", "Norbell"} <= set(found)
    assert "help@house.example" not in found
    assert internals("Trains from Vienna are late. 担当者が確認中です。 The owner of a card", []) == []
    assert internals("08:10 opened 08:05 by Marek Dolan\nupdate (Ute): done", []) == ["Marek", "Dolan", "Ute"]
    assert internals("Owner: Ms Jo van der Berg, branch 12", []) == ["Jo", "Berg"]


def test_a_sentence_with_something_internal_goes_and_the_others_stay() -> None:
    without = function("status-note/internals.py", "without")
    note = "Payments fail since 09:12. Marta restarts pay-gw-02. More at 11:00."
    assert without(note, TICKETS, []) == {"note": "Payments fail since 09:12. More at 11:00.", "left_out": 1}
    assert without("決済が停止しています。佐々木が対応中です。", TICKETS, [])["note"] == "決済が停止しています。"
    problem = function("status-note/internals.py", "problem")
    assert problem(note, [TICKETS, []]) == "customers must not read: pay-gw-02, Marta. Write the note without"
    assert problem("Payments fail.", [TICKETS, []]) is None


@pytest.mark.parametrize(
    ("step", "wrong"),
    [
        ("7 × 8 = 54", ["7 × 8 = 54"]),
        ("7 × 8 = 56, and 56 - 6 = 50", []),
        ("100 / 3 = 33.33", []),
        ("100 : 3 = 34", ["100 : 3 = 34"]),
        ("2,5 + 2,5 = 5", []),
        ("x = 3, 2x + 1 = 7", []),
        ("1 + 2 + 3 = 6", []),
        ("1 + 2 + 3 = 7", ["1 + 2 + 3 = 7"]),
        ("2 + 3 × 4 = 14 and 20 - 2 · 5 = 90", ["20 - 2 · 5 = 90"]),
        ("1,200 + 300 = 1,500; 1.200 × 2 = 2.400", []),
        ("3 + 4 = 5 + 2 = 7", []),
        ("Multiply: 7 × 8 = 54", ["7 × 8 = 54"]),
        ("(3 + 4) × 2 + 1 = 15, 35 / 100 = 35 %", []),
        ("3 - 5 = -2", []),
        ("22 / 7 = 3", ["22 / 7 = 3"]),
        ("5 / 0 = 1", []),
    ],
)
def test_wrong_sums_of_an_explanation_are_found_and_right_ones_left_alone(step: str, wrong: list[str]) -> None:
    assert function("homework-explainer/lesson.py", "wrong_sums")(step) == wrong


def test_an_explanation_may_not_begin_with_its_answer() -> None:
    problem = function("homework-explainer/lesson.py", "problem")
    assert problem({"steps": ["Count the trays.", "6 × 8 = 48"], "answer": "48 rolls"}) is None
    assert "gives the answer away" in problem({"steps": ["6 × 8 = 48", "Done."], "answer": "48 rolls"})
    assert "6 × 8 = 47" in problem({"steps": ["Count.", "6 × 8 = 47"], "answer": "47 rolls"})
    assert problem("48") == "it has no steps, or no answer"
