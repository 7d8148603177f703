"""Grammars and schemas that OpenVINO would misread, spelled otherwise."""

from __future__ import annotations

import pytest

from changeover.serving.engines.openvino_grammar import letter_by_letter


@pytest.mark.parametrize(
    ("grammar", "spelled"),
    [
        ('root ::= "Größe"', 'root ::= ("Größ" "e")'),
        ('root ::= "ñandú"* "x"', 'root ::= ("ñ" "andú")* "x"'),
        (r'root ::= "Gr\u00f6\u00dfe"', r'root ::= ("Gr\u00f6\u00df" "e")'),
        (r'root ::= "\"ße\"" [ßa] # "ße"', r'root ::= ("\"ß" "e\"") [ßa] # "ße"'),
        ('root ::= "Größ" | "жёлтый" | "日本語 2"', 'root ::= "Größ" | "жёлтый" | "日本語 2"'),
    ],
)
def test_a_letter_is_parted_from_what_would_be_read_as_more_of_its_number(grammar: str, spelled: str) -> None:
    assert letter_by_letter("ebnf", grammar) == spelled


def test_a_fixed_text_of_a_schema_becomes_a_pattern() -> None:
    assert letter_by_letter("json_schema", {"enum": ["größer (+)", "kleiner"]}) == {
        "type": "string",
        "pattern": r"^(größer \(\+\)|kleiner)$",
    }
    assert letter_by_letter("json_schema", {"items": {"const": "größer"}}) == {
        "items": {"type": "string", "pattern": "^(größer)$"}
    }


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("regex", "Größe"),
        ("json_schema", {"properties": {"name": {"enum": ["a", 2, None]}, "Maß": {"const": 1}}, "required": ["name"]}),
        ("json_schema", {"enum": ["größer", 2]}),
        ("json_schema", {"description": "Größe", "default": {"properties": {"Größe": 1}}}),
        ("json_schema", {"properties": {"Größe": {"type": "integer"}}, "required": ["Größe"]}),
        ("json_schema", True),
    ],
)
def test_all_else_stays_as_it_is(kind: str, value: object) -> None:
    assert letter_by_letter(kind, value) == value
