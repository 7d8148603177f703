"""Values of expressions in plain forms: as JSON, as a text. What Jinja's filters make lazily is made here."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec
from jinja2 import Undefined

from changeover.core.errors import ContractError
from changeover.tools.values import Document, File, Part

MOST_DEPTH = 64


def settled(value: Any) -> Any:
    """The value, with a list in the place of what is made when it is looked at, such as the result of `map`."""
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping, list, tuple, msgspec.Struct)):
        return list(cast("Iterable[Any]", value))
    return cast("Any", value)


def listed(value: Any) -> list[Any]:
    """The members of a list; else the value as the only one."""
    value = settled(value)
    return list(cast("Sequence[Any]", value)) if isinstance(value, (list, tuple)) else [value]


def as_json(value: Any, depth: int = 0) -> Any:
    """The value as JSON: structures as objects, everything else as it is.

    Raises:
        ContractError: It has no JSON form, such as a file, or a number that is not finite.
    """
    if depth > MOST_DEPTH:
        raise ContractError(f"A value is nested deeper than {MOST_DEPTH} levels.")
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, Mapping):
        pairs = cast("Mapping[Any, Any]", value).items()
        return {str(key): as_json(member, depth + 1) for key, member in pairs}
    if isinstance(value, msgspec.Struct) and not isinstance(value, File):
        return {name: as_json(getattr(value, name), depth + 1) for name in value.__struct_fields__}
    if isinstance(value, Iterable) and not isinstance(value, (bytes, Undefined, msgspec.Struct)):
        return [as_json(member, depth + 1) for member in cast("Iterable[Any]", value)]
    raise ContractError(f"A value of type `{type(value).__name__}` has no JSON form.")


def whole_characters(text: str) -> str:
    """The text with a question mark for each half of a character: nobody could send it on."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return str(text)


def text_of(value: Any) -> str:
    r"""What a person would read of a value.

    >>> text_of([Part(index=0, text="a"), "b", 3])
    'a\n\nb\n\n3'
    """
    value = settled(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (Document, Part)):
        return value.text
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {_line(member)}" for key, member in cast("Mapping[Any, Any]", value).items())
    if isinstance(value, (list, tuple)):
        return "\n\n".join(text for member in cast("list[Any]", value) if (text := text_of(member)))
    return json.dumps(as_json(value), ensure_ascii=False)


def _line(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(as_json(value), ensure_ascii=False)
