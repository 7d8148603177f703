"""Inputs of tools: what is taken, in which form, and what is refused in which words."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.support.tools import write_tool

from changeover.core.errors import RequestError
from changeover.tools.declarations import Tool
from changeover.tools.inputs import input_schema, output_schema, read_example, read_inputs
from changeover.tools.values import File

STEPS = """
steps = [{ do = "split", name = "parts", source = "'x'" }]
output = { value = {}, text = "'x'", schema_file = "out.json" }
"""
PDF = File(name="a.pdf", data=b"%PDF-1.7")


def tool_of(root: Path, inputs: str, example: str = "{}", **files: str) -> Tool:
    return write_tool(root, f"{STEPS}\nexample = {example}\n[inputs]\n{inputs}", **files)


@pytest.mark.parametrize(
    ("declared", "given", "read"),
    [
        ('{ type = "text" }', "a text\n", "a text\n"),
        ('{ type = "text" }', File(name="a.txt", data="\ufeffとても".encode()), "とても"),
        ('{ type = "text", min_chars = 0 }', "", ""),
        ('{ type = "text", required = false }', None, ""),
        ('{ type = "text", default = "d" }', "", "d"),
        ('{ type = "document" }', PDF, PDF),
        ('{ type = "document" }', {"name": "../x/a.pdf", "content_base64": "JVBERi0xLjc="}, PDF),
        ('{ type = "document", required = false }', None, None),
        ('{ type = "documents" }', PDF, [PDF]),
        ('{ type = "documents" }', [PDF, PDF], [PDF, PDF]),
        ('{ type = "documents", required = false }', [], []),
        ('{ type = "documents", required = false }', "[]", []),
        ('{ type = "document" }', '{"name": "a.pdf", "content_base64": "JVBERi0xLjc="}', PDF),
        ('{ type = "image" }', PDF, PDF),
        ('{ type = "table" }', PDF, PDF),
        ('{ type = "table" }', [{"a": 1}], [{"a": 1}]),
        ('{ type = "table" }', '[{"a": 1}]', [{"a": 1}]),
        ('{ type = "number" }', 3, 3),
        ('{ type = "number" }', " 3.0 ", 3),
        ('{ type = "number" }', "2.5", 2.5),
        ('{ type = "number" }', "-9007199254740993", -9007199254740993),
        ('{ type = "number", default = 4 }', "", 4),
        ('{ type = "number", required = false }', None, None),
        ('{ type = "flag" }', True, True),
        ('{ type = "flag" }', "off", False),
        ('{ type = "flag" }', "Yes", True),
        ('{ type = "flag", required = false }', None, False),
        ('{ type = "choice", choices = ["a", "b"] }', "b", "b"),
        ('{ type = "choice", choices = ["a", "b"], default = "a" }', None, "a"),
        ('{ type = "list" }', ["a", "b"], ["a", "b"]),
        ('{ type = "list" }', '["a", "b"]', ["a", "b"]),
        ('{ type = "list" }', "a\n\n b \n", ["a", "b"]),
        ('{ type = "list", required = false }', None, []),
        (
            '{ type = "conversation" }',
            json.dumps([{"role": "user", "content": "hi", "name": "x"}]),
            [{"role": "user", "content": "hi"}],
        ),
        ('{ type = "conversation", required = false }', [], []),
    ],
)
def test_what_came_gets_the_declared_form(tmp_path: Path, declared: str, given: Any, read: Any) -> None:
    tool = tool_of(tmp_path, f"x = {declared}", example='{ x = "@out.json" }')
    result = read_inputs(tool, {"x": given})["x"]
    assert (result, type(result)) == (read, type(read))


@pytest.mark.parametrize(
    ("declared", "given", "said"),
    [
        ('{ type = "text" }', None, "The input `x` is missing: give a text."),
        ('{ type = "text" }', "  ", "The input `x` is missing: give a text."),
        ('{ type = "text" }', 3, "The input `x` = `3` is not of type `text`: give a text."),
        ('{ type = "text", max_chars = 3 }', "four", "The input `x` has 4 characters; at most 3 are taken."),
        ('{ type = "text", min_chars = 5 }', " four ", "The input `x` has 4 characters; at least 5."),
        ('{ type = "text" }', "a\ud800", "The input `x` has half a character at place 1. Send it as UTF-8."),
        ('{ type = "text" }', File(name="a.bin", data=b"\xff\xfe\x00"), "the file `a.bin` is none in UTF-8"),
        ('{ type = "document" }', "a.pdf", 'The input `x` = `"a.pdf"` is not of type `document`: give a file.'),
        ('{ type = "document" }', {"name": "a"}, "is not of type `document`: give a file."),
        ('{ type = "document" }', {"content_base64": "*"}, "`content_base64` is no base64. Encode the file's bytes."),
        ('{ type = "document" }', {"content_base64": "", "url": "http://x"}, "is not of type `document`"),
        ('{ type = "document" }', File(name="a.pdf", data=b""), "`a.pdf` is empty. Give a file with content."),
        (
            '{ type = "document", max_mib = 1 }',
            File(name="a.pdf", data=b"x" * (2 << 20)),
            "The input `x`: `a.pdf` has 2.0 MiB; at most 1 are taken.",
        ),
        ('{ type = "documents" }', [], "The input `x` is empty: give a file, or several."),
        ('{ type = "documents", max_items = 1 }', [PDF, PDF], "The input `x` has 2 files; at most 1 are taken."),
        ('{ type = "documents" }', [PDF, 3], "The input `x` = `3` is not of type `documents`"),
        ('{ type = "table" }', [{"a": 1}, 2], "The input `x`: row 2 is no object"),
        ('{ type = "table" }', [{f"c{n}": 1} for n in range(1_001)], "1,001 rows have 1,000 columns or more"),
        ('{ type = "table" }', [{f"c{n % 100}": 1} for n in range(10_001)], "10,001 rows have 100 columns or more"),
        ('{ type = "table", max_chars = 20 }', [{"a": "b" * 20}], "characters; at most 20 are taken."),
        ('{ type = "number" }', "three", 'The input `x` = `"three"` is not of type `number`: give a number.'),
        ('{ type = "number" }', True, "The input `x` = `true` is not of type `number`"),
        ('{ type = "number" }', "nan", "The input `x` = `NaN` is not of type `number`"),
        ('{ type = "number" }', "1e999", "The input `x` = `Infinity` is not of type `number`"),
        ('{ type = "number" }', 10**400, "is not of type `number`: give a number."),
        ('{ type = "table" }', '[{"a": NaN}]', "is not of type `table`"),
        ('{ type = "table" }', '[{"a": "\\ud800"}]', "is not of type `table`"),
        ('{ type = "number", minimum = 1 }', 0.5, "The input `x` = `0.5` is too small; at least 1."),
        ('{ type = "number", maximum = 9 }', "10", "The input `x` = `10` is too large; at most 9."),
        ('{ type = "flag" }', "maybe", "is not of type `flag`: give true or false."),
        ('{ type = "choice", choices = ["short", "long"] }', "shrt", "is no choice. Did you mean `short`?"),
        ('{ type = "choice", choices = ["short", "long"] }', 1, "give one of short, long."),
        ('{ type = "list" }', [1], "The input `x` = `[1]` is not of type `list`: give a list of texts."),
        ('{ type = "list", max_items = 2 }', ["a", "b", "c"], "The input `x` has 3 members; at most 2 are taken."),
        ('{ type = "list", max_chars = 2 }', ["aa", "b"], "The input `x` has 3 characters; at most 2 are taken."),
        ('{ type = "conversation" }', "hi", "each with `role` (user or assistant) and `content`."),
        (
            '{ type = "conversation" }',
            [{"role": "system", "content": "obey"}],
            "message 1 must have a `role` (user or assistant) and a `content`, a text.",
        ),
        ('{ type = "conversation" }', [{"role": "user", "content": [1]}], "message 1 must have a `role`"),
        (
            '{ type = "conversation", max_items = 1 }',
            [{"role": "user", "content": "a"}] * 2,
            "The input `x` has 2 messages; at most 1 are taken.",
        ),
    ],
)
def test_what_is_not_as_declared_is_refused_by_name(tmp_path: Path, declared: str, given: Any, said: str) -> None:
    tool = tool_of(tmp_path, f"x = {declared}", example='{ x = "@out.json" }')
    with pytest.raises(RequestError, match=re.escape(said)) as refused:
        read_inputs(tool, {"x": given})
    assert len(refused.value.message) < 400


def test_no_refusal_holds_half_a_character(tmp_path: Path) -> None:
    tool = tool_of(tmp_path, 'x = { type = "conversation" }', example='{ x = "@out.json" }')
    with pytest.raises(RequestError) as refused:
        read_inputs(tool, {"x": '{"a": "\\ud800"}'})
    assert refused.value.message.encode()


def test_a_name_in_json_is_kept_as_one_of_a_form_would_be(tmp_path: Path) -> None:
    tool = tool_of(tmp_path, 'x = { type = "document" }', example='{ x = "@out.json" }')
    sent = {"name": "c:\\x\\a\u0000b\u001b[31m.txt", "content_base64": "YQ=="}
    assert read_inputs(tool, {"x": sent})["x"].name == "ab[31m.txt"


def test_an_unknown_input_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    tool = tool_of(tmp_path, 'document = { type = "text", required = false }')
    with pytest.raises(RequestError, match=re.escape("`tool` has no input `documnt`. Did you mean `document`")):
        read_inputs(tool, {"documnt": "x"})


def test_a_value_of_a_megabyte_does_not_stand_in_its_error(tmp_path: Path) -> None:
    tool = tool_of(tmp_path, 'x = { type = "number", required = false }')
    with pytest.raises(RequestError) as refused:
        read_inputs(tool, {"x": "9" * 1_000_000})
    assert len(refused.value.message) < 400


ALL = """
text = { type = "text", max_chars = 10, description = "A text." }
document = { type = "document" }
documents = { type = "documents", required = false }
image = { type = "image", required = false }
table = { type = "table", required = false }
talk = { type = "conversation", required = false }
choice = { type = "choice", choices = ["a", "b"], default = "a" }
number = { type = "number", minimum = 1, default = 2 }
flag = { type = "flag", required = false }
list = { type = "list", required = false }
"""


def test_the_schema_says_what_is_taken(tmp_path: Path) -> None:
    tool = tool_of(tmp_path, ALL, example='{ text = "a", document = "@out.json" }')
    schema = input_schema(tool)
    jsonschema.Draft202012Validator.check_schema(schema)
    file = {"name": "a.pdf", "content_base64": base64.b64encode(b"%PDF").decode()}
    whole = {
        "text": "abc", "document": file, "documents": [file], "image": file, "table": [{"a": 1}], "flag": True,
        "talk": [{"role": "user", "content": "a"}], "choice": "b", "number": 1.5, "list": ["a"],
    }  # fmt: skip
    jsonschema.validate(whole, schema)
    assert read_inputs(tool, whole)["document"].data == b"%PDF"
    assert schema["required"] == ["text", "document"]
    assert schema["properties"]["text"] == {
        "type": "string", "maxLength": 10, "minLength": 1, "description": "A text.", "x-input": "text",
    }  # fmt: skip
    for wrong in ({"text": "abc"}, {**whole, "more": 1}, {**whole, "choice": "c"}, {**whole, "number": 0}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_the_output_schema_is_the_contract(tmp_path: Path) -> None:
    tool = tool_of(tmp_path, 'x = { type = "text", required = false }')
    assert output_schema(tool) == {"type": "object"}


def test_an_example_brings_its_files(tmp_path: Path) -> None:
    tool = tool_of(
        tmp_path,
        'doc = { type = "document" }\ntext = { type = "text" }\nmany = { type = "documents" }\nlist = { type = "list" }',
        example='{ doc = "@a.md", text = "@a.md", many = ["@a.md"], list = ["x"] }',
        a__md="Über",
    )
    file = File(name="a.md", data="Über".encode())
    example = read_example(tool)
    assert example == {"doc": file, "text": "Über", "many": [file], "list": ["x"]}
    assert read_inputs(tool, example) == example
