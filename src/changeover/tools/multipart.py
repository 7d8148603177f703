"""Inputs as they are sent over HTTP: JSON with files in base64, or a form."""

from __future__ import annotations

import base64
import binascii
from typing import Any, cast

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from changeover.core.errors import RequestError
from changeover.gateway.resolve import read_fields
from changeover.tools.declarations import FILES, InputType, Tool
from changeover.tools.documents.processes import shown
from changeover.tools.values import File

MOST_PARTS = 1_000
MOST_HEADERS = 8
"""Of one part."""
MOST_HEADER_BYTES = 4_096
MOST_FIELD_BYTES = 80 << 20
"""Of one value that is no file: more than any text that a tool may declare."""
AS_JSON: frozenset[InputType] = frozenset({"conversation", "list", "number", "flag"})
"""Types whose field in a form is JSON."""
FORM = b"multipart/form-data"
JSON_TYPES = (b"", b"application/json")


def read_inputs(tool: Tool, content_type: bytes, body: bytes) -> dict[str, Any]:
    """The inputs that a body holds: JSON values, and `File`s. Whether the tool takes them is for the run to say.

    Raises:
        RequestError: It is neither the JSON nor the form that is asked for; says why.
    """
    kind, options = parse_options_header(content_type.decode("latin-1"))
    if kind == FORM:
        return _typed(tool, _parts(options.get(b"boundary", b""), body))
    if kind not in JSON_TYPES:
        raise RequestError(
            f"`content-type: {kind.decode('latin-1')[:80]}` is not taken. Send `application/json`, or a form: `multipart/form-data`."
        )
    fields = read_fields(body)
    for name in fields:
        if name != "inputs":
            raise RequestError(f'`{name[:80]}`: unknown field. The body is `{{"inputs": {{…}}}}`.')
    inputs = fields.get("inputs")
    if not isinstance(inputs, dict):
        raise RequestError('`inputs` is missing: the body is `{"inputs": {…}}`, each input by its name.')
    return {name: _from_json(tool, name, value) for name, value in cast("dict[str, Any]", inputs).items()}


def _from_json(tool: Tool, name: str, value: Any) -> Any:
    declared = tool.declared.inputs.get(name)
    if declared is None or declared.type not in FILES:
        return value
    if declared.type == "documents" and isinstance(value, list):
        return [_file(f"{name}[{place}]", each) for place, each in enumerate(cast("list[Any]", value))]
    return _file(name, value)


def _file(where: str, value: Any) -> File:
    given = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    name, content = given.get("name"), given.get("content_base64")
    if given.keys() != {"name", "content_base64"} or not isinstance(name, str) or not isinstance(content, str):
        raise RequestError(
            f'`inputs.{where[:80]}` must be a file: `{{"name": "report.pdf", "content_base64": "…"}}`. Or send a form.'
        )
    try:
        data = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise RequestError(f"`inputs.{where[:80]}.content_base64` is not base64: {exc}.") from exc
    return File(name=shown(name), data=data)


class _Part:
    """One part of a form."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []

    def named(self) -> tuple[str, str | None]:
        """The field's name, and the file's where it is one.

        Raises:
            RequestError: It has no name.
        """
        kind, options = parse_options_header(self.headers.get("content-disposition"))
        name = options.get(b"name")
        if kind != b"form-data" or not name:
            raise RequestError("A part of the form has no name. Each needs `content-disposition: form-data; name=…`.")
        file = options.get(b"filename")
        return _text(name), None if file is None else _text(file)


class _Form:
    """Puts parts together as the parser finds them."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.ended = False
        self._field = self._value = b""

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) >= MOST_PARTS:
            raise RequestError(f"The form has more than {MOST_PARTS} parts.")
        self.parts.append(_Part())

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].pieces.append(data[start:end])

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        # As latin-1, and back in `_text`: browsers and curl send names in UTF-8, and the parser knows only the former.
        self.parts[-1].headers[self._field.decode("latin-1").strip().lower()] = self._value.decode("latin-1")
        self._field = self._value = b""

    def _end(self) -> None:
        self.ended = True


def _parts(boundary: bytes, body: bytes) -> list[tuple[str, str | None, bytes]]:
    """Name, file name and content of each part of a form."""
    if not boundary or len(boundary) > 256:
        raise RequestError("The form's `content-type` names no `boundary`, or a very long one.")
    form = _Form()
    try:
        parser = MultipartParser(
            boundary, form.callbacks(), max_header_count=MOST_HEADERS, max_header_size=MOST_HEADER_BYTES
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as exc:
        raise RequestError(f"The form is broken: {' '.join(str(exc).split())[:200]}.") from exc
    if not form.ended:
        raise RequestError("The form is broken: it ends inside a part.")
    return [(*part.named(), b"".join(part.pieces)) for part in form.parts]


def _typed(tool: Tool, parts: list[tuple[str, str | None, bytes]]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, file, data in parts:
        declared = tool.declared.inputs.get(name)
        if declared is not None and declared.type == "documents":
            given.setdefault(name, []).append(File(name=shown(file or name), data=data))
            continue
        if name in given:
            raise RequestError(f"`{name[:80]}` was sent twice. Send it once.")
        if declared is not None and declared.type in FILES:
            given[name] = File(name=shown(file or name), data=data)
        else:
            given[name] = _value(name, data, as_json=declared is not None and declared.type in AS_JSON)
    return given


def _value(name: str, data: bytes, *, as_json: bool) -> Any:
    if len(data) > MOST_FIELD_BYTES:
        raise RequestError(f"`{name[:80]}` is larger than {MOST_FIELD_BYTES >> 20} MiB.")
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        raise RequestError(
            f"`{name[:80]}` is not UTF-8: byte {exc.start}. A file is sent for an input that is one."
        ) from exc
    if not as_json:
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise RequestError(f"`{name[:80]}` must be JSON in a form: {exc}.") from exc


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
