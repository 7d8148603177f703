r"""What an answer must look like, in words that OpenVINO holds to letter by letter.

OpenVINO writes grammars down and reads them again: `ß` becomes `\xdf`, which with an `e` behind it is read as the one letter
U+0DFE. So `Größe` is taken apart in grammars, and as a fixed text of a schema becomes a pattern: those are read letter by
letter. A name in a schema has no other spelling (as a pattern it would be written again and again), and stays misread: the
gateway sees that the answer is not of the schema.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, cast

_MISREAD: Final = re.compile(r"[\x7f-\xff](?=[0-9a-fA-F])")
_MISREAD_IN_GRAMMAR: Final = re.compile(
    r"((?:[\x7f-\xff]|\\u00[89a-fA-F][0-9a-fA-F]|\\U000000[89a-fA-F][0-9a-fA-F]))(?=[0-9a-fA-F])"
)
_LITERAL: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|#[^\n]*')
"""What is put between quotation marks; or a class of letters, or a remark, where such marks mean nothing."""
_SPECIAL: Final = re.compile(r"[.^$*+?{}\[\]\\|()/]")
_VALUES: Final = frozenset({"const", "enum", "default", "examples", "required", "pattern", "$ref"})
"""Keys of a schema below which there is no schema."""
_BY_NAME: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Those below which there is one for each name."""


def letter_by_letter(kind: str, value: Any) -> Any:
    """The same grammar (`ebnf`) or schema (`json_schema`), spelled so that no letter is misread. A `regex` needs nothing."""
    if kind == "ebnf":
        return _LITERAL.sub(lambda found: _apart(found[0]), value)
    return _schema(value) if kind == "json_schema" else value


def _apart(literal: str) -> str:
    if not literal.startswith('"'):
        return literal
    parts = _MISREAD_IN_GRAMMAR.sub(r'\1" "', literal)
    return literal if parts == literal else f"({parts})"  # a `*` behind it is still about all of it


def _schema(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_schema(each) for each in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    fields = {
        key: value
        if key in _VALUES
        else {name: _schema(each) for name, each in cast("dict[str, Any]", value).items()}
        if key in _BY_NAME and isinstance(value, dict)
        else _schema(value)
        for key, value in cast("dict[str, Any]", schema).items()
    }
    return _chosen_by_patterns(fields)


def _chosen_by_patterns(fields: dict[str, Any]) -> dict[str, Any]:
    """Fixed texts as one pattern, where all that may be chosen from are texts."""
    key = "const" if "const" in fields else "enum"
    found: Any = [fields[key]] if key == "const" else fields.get(key)
    if not isinstance(found, list) or not all(isinstance(each, str) for each in cast("list[Any]", found)):
        return fields
    texts = cast("Sequence[str]", found)
    if not any(_MISREAD.search(each) for each in texts):
        return fields
    pattern = f"^({'|'.join(_quoted(each) for each in texts)})$"
    return {name: value for name, value in fields.items() if name != key} | {"type": "string", "pattern": pattern}


def _quoted(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text)
