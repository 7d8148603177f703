"""Bodies that hold a tool's inputs: JSON, or a form. What the inputs may be, `inputs` knows."""

from __future__ import annotations

from typing import Any, cast

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from changeover.core.errors import RequestError
from changeover.gateway.resolve import read_fields
from changeover.tools.documents.processes import shown
from changeover.tools.values import File

MOST_PARTS = 1_000
MOST_HEADERS = 8
"""Of one part."""
MOST_HEADER_BYTES = 4_096
MOST_BOUNDARY_BYTES = 256
FORM = b"multipart/form-data"
JSON_TYPES = (b"", b"application/json")


def read_body(content_type: bytes, body: bytes) -> dict[str, Any]:
    """The inputs that a body holds, by name: JSON values; of a form, texts and `File`s, and lists of what came twice.

    Raises:
        RequestError: It is neither the JSON nor the form that is asked for; says why.
    """
    kind, options = parse_options_header(content_type.decode("latin-1"))
    if kind == FORM:
        return _form(options.get(b"boundary", b""), body)
    if kind not in JSON_TYPES:
        raise RequestError(
            f"`content-type: {kind.decode('latin-1')[:80]}` is not taken. Send `application/json`, or a form: "
            "`multipart/form-data`."
        )
    fields = read_fields(body)
    inputs = fields.get("inputs")
    if not isinstance(inputs, dict):
        raise RequestError('`inputs` is missing: the body is `{"inputs": {…}}`, each input by its name.')
    for name in fields:
        if name != "inputs":
            raise RequestError(f'`{name[:80]}`: unknown field. The body is `{{"inputs": {{…}}}}` and nothing else.')
    return cast("dict[str, Any]", inputs)


class _Part:
    """One part of a form."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.pieces: list[memoryview] = []
        """Of the body itself: its files are put together from it and exist once."""

    def read(self) -> tuple[str, str | File]:
        """The field's name and what it holds: a file where it says the name of one.

        Raises:
            RequestError: It has no name, or is no text.
        """
        kind, options = parse_options_header(self.headers.get("content-disposition"))
        name, file, data = options.get(b"name"), options.get(b"filename"), b"".join(self.pieces)
        if kind != b"form-data" or not name:
            raise RequestError("A part of the form has no name. Each needs `content-disposition: form-data; name=…`.")
        called = name.decode("utf-8", "replace")
        if file is not None:
            return called, File(name=shown(file.decode("utf-8", "replace")), data=data)
        try:
            return called, data.decode()
        except UnicodeDecodeError as exc:
            raise RequestError(
                f"`{called[:80]}` is not UTF-8 at byte {exc.start}. Send a file with its name: `filename=…`."
            ) from exc


class _Parts:
    """Puts parts together as the parser finds them."""

    def __init__(self) -> None:
        self.all: list[_Part] = []
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
        if len(self.all) >= MOST_PARTS:
            raise RequestError(f"The form has more than {MOST_PARTS} parts. Send fewer.")
        self.all.append(_Part())

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.all[-1].pieces.append(memoryview(data)[start:end])

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        # Browsers and curl send names in UTF-8, and whoever takes a header apart knows latin-1: its bytes stay the same.
        self.all[-1].headers[self._field.decode("latin-1").strip().lower()] = self._value.decode("latin-1")
        self._field = self._value = b""

    def _end(self) -> None:
        self.ended = True


def _form(boundary: bytes, body: bytes) -> dict[str, Any]:
    if not 0 < len(boundary) <= MOST_BOUNDARY_BYTES:
        raise RequestError("The form's `content-type` names no `boundary`, or a very long one.")
    parts = _Parts()
    try:
        parser = MultipartParser(
            boundary, parts.callbacks(), max_header_count=MOST_HEADERS, max_header_size=MOST_HEADER_BYTES
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as exc:
        raise RequestError(f"The form is broken: {' '.join(str(exc).split())[:200]}.") from exc
    if not parts.ended:
        raise RequestError("The form is broken: its last line is missing.")
    given: dict[str, list[str | File]] = {}
    for part in parts.all:
        name, value = part.read()
        given.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in given.items()}
