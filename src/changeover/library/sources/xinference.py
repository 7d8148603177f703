"""Xinference's registry: families of models with sizes, repositories, languages and parsers (Apache-2.0).

Shapes read in github:xorbitsai/inference xinference/model/llm/llm_family.json @0029d48 (`model_id` at each size) and
xinference/model/llm/models/GLM-4.6.json @53a75cd (`model_src` by hub).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

from msgspec import Meta, Struct

from changeover.core.errors import ConfigError
from changeover.library.sources.documents import Rows, json_of, read_file
from changeover.library.sources.reading import Reading, Row, Said, said_if

NAME = "xinference"
ADDRESS = "https://raw.githubusercontent.com/xorbitsai/inference/main/xinference/model/llm/llm_family.json"
WHAT = "registry of Xinference"
INDEX = "index.json"
"""In a directory of families the file that orders them."""
MOST_FILES = 5_000
LONGEST_FILE = 1 << 20
ORIGINAL = "pytorch"
"""The format of the weights as their maker gives them out."""


class _Source(Struct, frozen=True):
    model_id: str


class _Spec(Struct, frozen=True):
    model_format: str
    model_size_in_billions: Annotated[float, Meta(gt=0)] | str
    activated_size_in_billions: Annotated[float, Meta(gt=0)] | str | None = None
    model_id: str | None = None
    model_hub: str | None = None
    model_src: dict[str, _Source] = {}


class _Family(Struct, frozen=True):
    model_name: str
    model_specs: list[_Spec]
    context_length: Annotated[int, Meta(gt=0)] | None = None
    model_lang: list[str] = []
    tool_parser: str | None = None
    reasoning_start_tag: str | None = None
    reasoning_end_tag: str | None = None
    architectures: list[str] = []
    updated_at: Annotated[int, Meta(ge=0)] | None = None


def read(data: bytes, where: str) -> Reading:
    """The rows of a file: one for each size of a family.

    Raises:
        ConfigError: It is cut off, or something else than a registry of Xinference.
    """
    return _reading(where, _families(data, where), hashlib.sha256(data).hexdigest())


def read_directory(path: Path) -> Reading:
    """The rows of a directory in which each family has a file.

    Raises:
        ConfigError: There are none, or one of the files is broken.
    """
    files = sorted(file for file in path.glob("*.json") if file.name != INDEX)
    if len(files) > MOST_FILES:
        raise ConfigError(f"`{path}` has {len(files)} JSON files; the registry has at most {MOST_FILES}. Name another.")
    read_in = [(file.name, read_file(file, most_bytes=LONGEST_FILE)) for file in files]
    families = [family for name, data in read_in for family in _families(data, f"{path}: {name}")]
    lines = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in read_in)
    return _reading(str(path), families, hashlib.sha256(lines.encode()).hexdigest())


def _families(data: bytes, where: str) -> list[Any]:
    document = json_of(data, where)
    if not isinstance(document, list):
        raise ConfigError(f"`{where}` is no {WHAT}: it is not a list of families. Nothing was written.")
    return cast("list[Any]", document)


def _reading(where: str, families: list[Any], digest: str) -> Reading:
    rows = Rows(where, WHAT)
    named = [(_name(value, place), value) for place, value in enumerate(families)]
    made = list(rows.each(named, _Family, partial(_rows, where)))
    return Reading(
        source=NAME,
        where=where,
        digest=digest,
        summary=f"{len(made)} families with {sum(map(len, made))} sizes and forms",
        rows=tuple(row for each in made for row in each),
        notes=rows.notes(),
    )


def _name(value: Any, place: int) -> str:
    return str(cast("dict[str, Any]", value).get("model_name", place)) if isinstance(value, dict) else str(place)


def _rows(where: str, name: str, family: _Family) -> list[Row]:
    sizes = {_billions(spec.model_size_in_billions) for spec in family.model_specs}
    originals = [spec for spec in family.model_specs if spec.model_format == ORIGINAL]
    made: list[Row] = []
    for spec in originals or family.model_specs:
        on_hub, on_modelscope = _repository(spec, "huggingface"), _repository(spec, "modelscope")
        names = (name,) if len(sizes) == 1 else ()
        row_name = on_hub or on_modelscope or (name if names else f"{name}-{spec.model_size_in_billions}b")
        made.append(
            Row(
                name=row_name,
                names=names,
                repositories=tuple(each for each in (on_hub, on_modelscope) if each),
                said=tuple(_said(f"{where}: {name}", family, spec, on_hub, on_modelscope)),
            )
        )
    return made


def _said(locator: str, family: _Family, spec: _Spec, on_hub: str | None, on_modelscope: str | None) -> Iterator[Said]:
    tags = (family.reasoning_start_tag, family.reasoning_end_tag)
    as_of = None if not family.updated_at else datetime.fromtimestamp(family.updated_at, UTC).date()
    facts = {
        "context_tokens": family.context_length,
        "languages": family.model_lang,
        "parameters_b": _billions(spec.model_size_in_billions),
        "active_parameters_b": _billions(spec.activated_size_in_billions),
        "reasoning_format": f"{tags[0]}…{tags[1]}" if all(tags) else None,
        "architecture.transformers_class": family.architectures[0] if family.architectures else None,
        "repositories": [on_hub] if on_hub else None,
        "modelscope": [on_modelscope] if on_modelscope else None,
        "weights": "open" if on_hub or on_modelscope else None,
    }
    own = {"engines.xinference": True, "engines.xinference.tool_parser": family.tool_parser}
    yield from said_if(facts, locator, "registry", as_of)
    yield from said_if(own, locator, "repository", as_of)


def _repository(spec: _Spec, hub: str) -> str | None:
    """The repository on a hub; None where its name depends on the quantisation."""
    if hub in spec.model_src:
        found = spec.model_src[hub].model_id
    else:
        found = spec.model_id if (spec.model_hub or "huggingface") == hub else None
    return found if found and "{" not in found and found.count("/") == 1 else None


def _billions(value: float | str | None) -> float | None:
    """A size; `1_8` is how the registry writes 1.8."""
    return None if value is None else float(str(value).replace("_", "."))
