"""Places in a JSON value: where checks look, and what is left when members or sentences at fault are taken out."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, cast

from changeover.evals.scorers.prose import sentences

Path = tuple[str | int, ...]

MISSING: Any = object()
"""Stands where a key should be and is none."""


def at_field(value: Any, field: str | None) -> Iterator[tuple[Path, Any]]:
    """What stands at a field, with its place; of a list on the way, in each member.

    >>> list(at_field({"a": [{"b": 1}, {"b": 2}]}, "a.b"))
    [(('a', 0, 'b'), 1), (('a', 1, 'b'), 2)]
    """
    yield from _at(value, field.split(".") if field else [], ())


def _at(value: Any, keys: Sequence[str], path: Path) -> Iterator[tuple[Path, Any]]:
    if not keys:
        yield path, value
    elif isinstance(value, list):
        for index, member in enumerate(cast("list[Any]", value)):
            yield from _at(member, keys, (*path, index))
    else:
        fields = cast("Mapping[str, Any]", value if isinstance(value, Mapping) else {})
        inner = fields.get(keys[0], MISSING)
        if inner is MISSING:
            yield (*path, keys[0]), MISSING
        else:
            yield from _at(inner, keys[1:], (*path, keys[0]))


def scalars(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every text, number, flag and null in a value, with its place."""
    if isinstance(value, list):
        for index, member in enumerate(cast("list[Any]", value)):
            yield from scalars(member, (*path, index))
    elif isinstance(value, Mapping):
        for key, member in cast("Mapping[str, Any]", value).items():
            yield from scalars(member, (*path, key))
    else:
        yield path, value


def without(value: Any, paths: Sequence[Path], bad: Mapping[Path, Container[int]]) -> Any:
    """The value without what is at fault.

    Args:
        value: JSON.
        paths: Of what is at fault. The nearest list around each loses the member that it lies in.
        bad: Places of the sentences at fault, of texts that lie in no list.

    Raises:
        LookupError: Something at fault lies in no list and is no text with sentences at fault.
    """
    for path in dict.fromkeys(path for path in paths if not in_list(path)):
        text = text_at(value, path)
        if text is None or path not in bad:
            raise LookupError(path)
        value = _set(value, path, _kept_sentences(text, bad[path]))
    return _dropped(value, {_member(path) for path in paths if in_list(path)}, ())


def in_list(path: Path) -> bool:
    """Whether a path leads through a list."""
    return any(isinstance(key, int) for key in path)


def text_at(value: Any, path: Path) -> str | None:
    """The text at a place; None: there is none."""
    for key in path:
        try:
            value = value[key]
        except (LookupError, TypeError):
            return None
    return value if isinstance(value, str) else None


def _member(path: Path) -> Path:
    """The member of the innermost list that a path leads through."""
    return path[: max(place for place, key in enumerate(path) if isinstance(key, int)) + 1]


def _set(value: Any, path: Path, new: Any) -> Any:
    return new if not path else {**value, path[0]: _set(value[path[0]], path[1:], new)}


def _kept_sentences(text: str, bad: Container[int]) -> str:
    """The text without some of its sentences; what stands between the others stays."""
    starts: list[int] = []
    at = 0
    for sentence in sentences(text):
        at = text.index(sentence, at)
        starts.append(at)
        at += len(sentence)
    spans = enumerate(zip(starts, [*starts[1:], len(text)], strict=False))
    return "".join(text[start:end] for place, (start, end) in spans if place not in bad).strip()


def _dropped(value: Any, members: set[Path], path: Path) -> Any:
    if isinstance(value, list):
        inner = ((index, member) for index, member in enumerate(cast("list[Any]", value)))
        return [_dropped(member, members, (*path, i)) for i, member in inner if (*path, i) not in members]
    if isinstance(value, Mapping):
        return {k: _dropped(v, members, (*path, k)) for k, v in cast("Mapping[str, Any]", value).items()}
    return value


def shown(path: Path) -> str:
    """A place, for people.

    >>> shown(("clauses", 2, "quote"))
    'clauses[2].quote'
    """
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text
