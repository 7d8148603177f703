"""What a tool is given: checked against its declaration, and put into the form that steps use.

Values come from JSON, from forms and from command lines, where everything is a text.
"""

from __future__ import annotations

import base64
import binascii
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, cast

import msgspec

from changeover.core.errors import ConfigError, RequestError, nearest
from changeover.tools.declarations import FILES, InputDeclaration, Tool
from changeover.tools.documents.processes import shown
from changeover.tools.load import beside, read_schema
from changeover.tools.tables import MOST_CELLS, MOST_COLUMNS
from changeover.tools.values import File

ROLES = ("user", "assistant")
_EMPTY: Mapping[str, Any] = {"text": "", "list": [], "conversation": [], "documents": [], "table": [], "flag": False}
"""What an input is that was not given and has no default; of other types none."""
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_MOST_NAME = 200
_MOST_DIGITS = 40


def read_inputs(tool: Tool, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check inputs and give each its form: texts, numbers, lists, messages as they are, files as `File`.

    A `table` is a `File`, or a list of objects. What is not given is its default; else an empty text, list, or false; a
    document, a number or a choice is none.

    Raises:
        RequestError: One is missing, unknown, or not what is declared; names it, and the limit.
    """
    declared = tool.declared.inputs
    for name in given:
        if name not in declared:
            raise RequestError(
                f"`{tool.name}` has no input `{str(name)[:_MOST_NAME]}`. {nearest(str(name)[:_MOST_NAME], declared)}"
            )
    return {name: _read(name, declaration, given.get(name)) for name, declaration in declared.items()}


def _read(name: str, declared: InputDeclaration, value: Any) -> Any:
    empty = value is None or (isinstance(value, str) and not value.strip())
    if empty and not (declared.type == "text" and declared.min_chars == 0 and value is not None):
        if declared.default is not None:
            value = declared.default
        elif declared.required:
            raise RequestError(f"The input `{name}` is missing: {_wanted(declared)}.")
        else:
            return _EMPTY.get(declared.type)
    match declared.type:
        case "text":
            return _text(name, declared, value)
        case "document" | "image":
            return _file(name, declared, value)
        case "documents":
            return _files(name, declared, value)
        case "table":
            return _table(name, declared, value)
        case "conversation":
            return _conversation(name, declared, value)
        case "choice":
            return _choice(name, declared, value)
        case "number":
            return _number(name, declared, value)
        case "flag":
            return _flag(name, declared, value)
        case "list":
            return _list(name, declared, value)


def _wanted(declared: InputDeclaration) -> str:
    """What is to be given, in a few words."""
    words = {
        "text": "a text",
        "document": "a file",
        "documents": "a file, or several",
        "image": "a picture",
        "table": "a CSV or XLSX file, or a list of objects",
        "conversation": "a list of messages, each with `role` (user or assistant) and `content`",
        "choice": f"one of {', '.join(declared.choices)}",
        "number": "a number",
        "flag": "true or false",
        "list": "a list of texts",
    }
    return f"give {words[declared.type]}"


def _refuse(name: str, declared: InputDeclaration, value: Any) -> NoReturn:
    said = json.dumps(value, ensure_ascii=False, default=lambda _: type(value).__name__)[:80]
    raise RequestError(f"The input `{name}` = `{said}` is not of type `{declared.type}`: {_wanted(declared)}.")


def _text(name: str, declared: InputDeclaration, value: Any) -> str:
    if isinstance(value, File):
        try:
            value = value.data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise RequestError(
                f"The input `{name}` is a text, and the file `{value.name}` is none in UTF-8. Give its text."
            ) from None
    if not isinstance(value, str):
        _refuse(name, declared, value)
    _check_characters(name, value)
    if len(value.strip()) < declared.min_chars:
        raise RequestError(f"The input `{name}` has {len(value.strip())} characters; at least {declared.min_chars}.")
    _check_length(name, declared, len(value))
    return value


def _check_characters(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise RequestError(f"The input `{name}` has half a character at place {exc.start}. Send it as UTF-8.") from None


def _check_length(name: str, declared: InputDeclaration, length: int) -> None:
    if length > declared.most_chars:
        raise RequestError(f"The input `{name}` has {length:,} characters; at most {declared.most_chars:,} are taken.")


def _file(name: str, declared: InputDeclaration, value: Any) -> File:
    file = value if isinstance(value, File) else _sent(name, value)
    if file is None:
        _refuse(name, declared, value)
    most = int(declared.max_mib * (1 << 20))
    if len(file.data) > most:
        raise RequestError(
            f"The input `{name}`: `{file.name[:_MOST_NAME]}` has {len(file.data) / (1 << 20):,.1f} MiB; "
            f"at most {declared.max_mib:g} are taken."
        )
    if not file.data:
        raise RequestError(f"The input `{name}`: `{file.name[:_MOST_NAME]}` is empty. Give a file with content.")
    return file


def _sent(name: str, value: Any) -> File | None:
    """A file as JSON has it; None: it is no file."""
    value = _json(value)
    if not isinstance(value, dict):
        return None
    fields = cast("dict[str, Any]", value)
    content = fields.get("content_base64")
    if not isinstance(content, str) or not fields.keys() <= {"name", "content_base64"}:
        return None
    try:
        data = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(f"The input `{name}`: `content_base64` is no base64. Encode the file's bytes.") from None
    return File(name=shown(str(fields.get("name") or name)), data=data)


def _files(name: str, declared: InputDeclaration, value: Any) -> list[File]:
    value = _json(value)
    values = cast("list[Any]", value) if isinstance(value, list) else [value]
    _check_number(name, declared, len(values), "files")
    return [_file(name, declared, each) for each in values]


def _check_number(name: str, declared: InputDeclaration, there: int, what: str) -> None:
    if there > declared.max_items:
        raise RequestError(f"The input `{name}` has {there:,} {what}; at most {declared.max_items:,} are taken.")
    if not there and declared.required:
        raise RequestError(f"The input `{name}` is empty: {_wanted(declared)}.")


def _table(name: str, declared: InputDeclaration, value: Any) -> Any:
    """A file, which is read when the tool runs, or rows."""
    rows = _json(value)
    if not isinstance(rows, list):
        return _file(name, declared, value)
    table = cast("list[Any]", rows)
    columns: set[str] = set()
    for number, row in enumerate(table, start=1):
        if not isinstance(row, dict):
            raise RequestError(f"The input `{name}`: row {number} is no object.")
        columns |= cast("dict[str, Any]", row).keys()
        if len(columns) > MOST_COLUMNS or len(columns) * len(table) > MOST_CELLS:
            raise RequestError(
                f"The input `{name}`: {len(table):,} rows have {len(columns):,} columns or more; at most "
                f"{MOST_COLUMNS:,} columns, and {MOST_CELLS:,} cells, are taken."
            )
    _check_length(name, declared, len(json.dumps(table, ensure_ascii=False)))
    return table


def _json(value: Any) -> Any:
    """What a text holds that is JSON, as forms send it; else the value."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return msgspec.json.decode(value)  # which takes no `NaN` and no half characters, as `json` would
    except (ValueError, RecursionError):
        return value


def _conversation(name: str, declared: InputDeclaration, value: Any) -> list[dict[str, str]]:
    value = _json(value)
    if not isinstance(value, list):
        _refuse(name, declared, value)
    messages = cast("list[Any]", value)
    _check_number(name, declared, len(messages), "messages")
    read: list[dict[str, str]] = []
    for number, message in enumerate(messages, start=1):
        fields = cast("dict[str, Any]", message) if isinstance(message, dict) else {}
        role, content = fields.get("role"), fields.get("content")
        if role not in ROLES or not isinstance(content, str):
            raise RequestError(
                f"The input `{name}`: message {number} must have a `role` ({' or '.join(ROLES)}) and a `content`, a text."
            )
        _check_characters(name, content)
        read.append({"role": str(role), "content": content})
    _check_length(name, declared, sum(len(message["content"]) for message in read))
    return read


def _choice(name: str, declared: InputDeclaration, value: Any) -> str:
    if not isinstance(value, str):
        _refuse(name, declared, value)
    if value not in declared.choices:
        raise RequestError(f"The input `{name}` = `{value[:80]}` is no choice. {nearest(value[:80], declared.choices)}")
    return value


def _number(name: str, declared: InputDeclaration, value: Any) -> int | float:
    if isinstance(value, str) and len(value) <= _MOST_DIGITS:
        try:  # of many digits a float keeps the first ones only
            value = int(value) if value.strip().lstrip("+-").isdecimal() else float(value)
        except ValueError:
            _refuse(name, declared, value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        _refuse(name, declared, value)
    if declared.minimum is not None and value < declared.minimum:
        raise RequestError(f"The input `{name}` = `{value:g}` is too small; at least {declared.minimum:g}.")
    if declared.maximum is not None and value > declared.maximum:
        raise RequestError(f"The input `{name}` = `{value:g}` is too large; at most {declared.maximum:g}.")
    return int(value) if value == int(value) else value


def _flag(name: str, declared: InputDeclaration, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    said = value.strip().lower() if isinstance(value, str) else None
    if said in _TRUE or said in _FALSE:
        return said in _TRUE
    _refuse(name, declared, value)


def _list(name: str, declared: InputDeclaration, value: Any) -> list[str]:
    """Texts; a form may send them one a line."""
    value = _json(value)
    if isinstance(value, str):
        value = [line.strip() for line in value.splitlines() if line.strip()]
    if not isinstance(value, list) or not all(isinstance(each, str) for each in cast("list[Any]", value)):
        _refuse(name, declared, value)
    texts = cast("list[str]", value)
    _check_number(name, declared, len(texts), "members")
    _check_characters(name, "".join(texts))
    _check_length(name, declared, sum(map(len, texts)))
    return texts


_FILE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "Name of the file."},
        "content_base64": {"type": "string", "contentEncoding": "base64", "description": "Its bytes."},
    },
    "required": ["name", "content_base64"],
    "additionalProperties": False,
}
_MESSAGE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"role": {"enum": list(ROLES)}, "content": {"type": "string"}},
    "required": ["role", "content"],
    "additionalProperties": False,
}


def input_schema(tool: Tool) -> dict[str, Any]:
    """JSON schema of the inputs. `x-input` of each says the declared type, for clients."""
    declared = tool.declared.inputs
    return {
        "type": "object",
        "properties": {name: _schema_of(each) for name, each in declared.items()},
        "required": [name for name, each in declared.items() if not each.optional],
        "additionalProperties": False,
    }


def _schema_of(declared: InputDeclaration) -> dict[str, Any]:
    schema: dict[str, Any]
    match declared.type:
        case "text":
            schema = {"type": "string", "maxLength": declared.most_chars}
            if declared.required and declared.min_chars:
                schema["minLength"] = declared.min_chars
        case "document" | "image":
            schema = {**_FILE_SCHEMA, "maxMiB": declared.max_mib}
        case "documents":
            schema = {
                "type": "array",
                "items": _FILE_SCHEMA,
                "maxItems": declared.max_items,
                "maxMiB": declared.max_mib,
            }
        case "table":
            schema = {"anyOf": [_FILE_SCHEMA, {"type": "array", "items": {"type": "object"}}]}
        case "conversation":
            schema = {"type": "array", "items": _MESSAGE_SCHEMA, "maxItems": declared.max_items}
        case "choice":
            schema = {"type": "string", "enum": list(declared.choices)}
        case "number":
            bounds = {"minimum": declared.minimum, "maximum": declared.maximum}
            schema = {"type": "number", **{key: value for key, value in bounds.items() if value is not None}}
        case "flag":
            schema = {"type": "boolean"}
        case "list":
            schema = {"type": "array", "items": {"type": "string"}, "maxItems": declared.max_items}
    if declared.description:
        schema["description"] = declared.description
    if declared.default is not None:
        schema["default"] = declared.default
    return {**schema, "x-input": declared.type}


def output_schema(tool: Tool) -> dict[str, Any]:
    """JSON schema of the value that a tool gives: its contract.

    Raises:
        ConfigError: Its file is gone.
    """
    return read_schema(tool, tool.declared.output.schema_file)


def read_example(tool: Tool) -> dict[str, Any]:
    """The inputs of `[example]`, with the files that it names.

    Raises:
        ConfigError: A file cannot be read.
    """
    return {name: _example(tool, name, value) for name, value in tool.declared.example.items()}


def _example(tool: Tool, name: str, value: Any) -> Any:
    declared = tool.declared.inputs[name]
    if isinstance(value, list):
        return [_example(tool, name, each) for each in cast("Sequence[Any]", value)]
    if not isinstance(value, str) or not value.startswith("@"):
        return value
    file = beside(tool, value[1:])
    try:
        if declared.type in FILES:
            return File(name=file.name, data=file.read_bytes())
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{tool.folder}: `example.{name}`: cannot read `{value[1:]}`: {exc}.") from exc
