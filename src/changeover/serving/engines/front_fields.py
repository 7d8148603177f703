"""Fields of a body, and what is wrong with one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Fields = Mapping[str, Any]


class Wrong(Exception):
    """The request cannot be answered as it stands."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


def typed(fields: Fields, name: str, kind: type, default: Any) -> Any:
    """A field of one type, or the default where it is not there.

    Raises:
        Wrong: It is of another type.
    """
    value = fields.get(name)
    if value is None:
        return default
    if type(value) is not kind:
        words = {bool: "true or false", dict: "an object", list: "a list"}[kind]
        raise Wrong(f"`{name}` must be {words}.", name)
    return value
