"""Reading declarations: one TOML file into one frozen pydantic model, with one clear error."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from inspect import isclass
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from changeover.core.errors import ConfigError, nearest


class Declared(BaseModel):
    """A piece of a declaration: unknown keys refused, values frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Model = TypeVar("Model", bound=BaseModel)
Thing = TypeVar("Thing")


class Declarations(dict[str, Thing]):
    """What a project declares of one kind, by name. Asking for one whose files are broken says what is wrong with it."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: dict[str, ConfigError] = {}
        """By name; `""`: of them all."""

    def __missing__(self, name: str) -> Thing:
        problem = self.problems.get(name) or self.problems.get("")
        raise KeyError(name) if problem is None else problem

    def refuse(self, name: str, problem: ConfigError) -> None:
        """Take out one that cannot be used."""
        self.pop(name, None)
        self.problems[name] = problem


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file.

    Raises:
        ConfigError: The file is missing, not UTF-8, or not TOML; names the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"No file `{path}`. Create it, or name another.") from None
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: not UTF-8 text (byte {exc.start}). Save it as UTF-8.") from exc
    except (tomllib.TOMLDecodeError, OSError) as exc:
        raise ConfigError(f"{path}: {exc}") from exc


def validate(model: type[Model], values: Mapping[str, Any], *, where: Path | str) -> Model:
    """Check values against a model.

    Raises:
        ConfigError: The first thing that is wrong: file, key, what was expected, the nearest known key.
    """
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        raise ConfigError(f"{where}: {_explain(model, exc)}") from exc


def load(model: type[Model], path: Path) -> Model:
    """Read and check one file."""
    return validate(model, read_toml(path), where=path)


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    # An unknown key first: it is often the missing one, misspelt.
    found = sorted(error.errors(include_url=False), key=lambda item: item["type"] != "extra_forbidden")
    first = found[0]
    place = first["loc"]
    key = _key(place)
    if first["type"] == "extra_forbidden":
        return f"`{key}`: unknown key. {nearest(str(place[-1]), _known_keys(model, place[:-1]))}"
    if first["type"] == "missing":
        return f"`{key}`: missing. Add it."
    said = first["msg"].removeprefix("Value error, ")
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    # A rule over several keys names them itself, and what stands there is the whole file, or a whole table of it.
    if not place:
        return f"{said.removesuffix('.')}.{more}"
    what = _table(key, first["input"]) or f"`{key}` = `{first['input']}`"
    return f"{what}: {said[:1].lower()}{said[1:].removesuffix('.')}.{more}"


def _table(key: str, value: Any) -> str | None:
    """How a table is named: by its place and, where it has one, its id; None: the value is no table."""
    if not isinstance(value, Mapping):
        return None
    named = cast("Mapping[str, Any]", value).get("id")
    return f"`{key}` (`{named}`)" if isinstance(named, str) else f"`{key}`"


def _key(place: tuple[int | str, ...]) -> str:
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _known_keys(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Keys that the table at `place` may have; empty where the annotation is no model."""
    for part in place:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        inner = None if field is None else _model_in(field.annotation)
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside `Model`, `Model | None` or `tuple[Model, ...]`."""
    if isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    arguments: tuple[Any, ...] = getattr(annotation, "__args__", ())
    for argument in arguments:
        found = _model_in(argument)
        if found is not None:
            return found
    return None
