"""vLLM's recipes: one YAML file for each model, with versions, parsers, memory and verified hardware (Apache-2.0).

Shape read in github:vllm-project/recipes models/openai/gpt-oss-20b.yaml @0cc5912 and models/MiniMaxAI/MiniMax-M2.yaml @1f2cec1.
"""

from __future__ import annotations

import hashlib
import io
import re
import shlex
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, cast

import yaml
from msgspec import Meta, Struct

from changeover.core.errors import ConfigError
from changeover.library.sources.documents import MOST_BYTES, Rows, read_file
from changeover.library.sources.reading import Reading, Row, Said, said_if

NAME = "vllm-recipes"
ADDRESS = "https://github.com/vllm-project/recipes/archive/refs/heads/main.zip"
WHAT = "collection of vLLM recipes"
MOST_FILES: Final = 5_000
LONGEST_FILE: Final = 1 << 20
DIRECTORY: Final = "models"
"""Where recipes stand; other YAML files configure engines."""

_COUNT = re.compile(r"^~?\s*(\d+(?:\.\d+)?)\s*([KMBT])\b", re.IGNORECASE)
_UNITS = {"K": 1e-6, "M": 1e-3, "B": 1.0, "T": 1e3}


class _Feature(Struct, frozen=True):
    args: list[str | float] | None = None


class _Variant(Struct, frozen=True):
    precision: str | None = None
    vram_minimum_gb: Annotated[float, Meta(ge=0)] | None = None
    model_id: str | None = None


class _Meta(Struct, frozen=True):
    title: str | None = None
    date_updated: date | None = None
    hardware: dict[str, Any] | None = None


class _Model(Struct, frozen=True):
    model_id: str
    min_vllm_version: str | float | None = None
    parameter_count: str | float | None = None
    active_parameters: str | float | None = None
    context_length: Annotated[int, Meta(ge=0)] | None = None
    """0 for what makes pictures and films."""
    base_args: list[str | float] | None = None


class _Recipe(Struct, frozen=True):
    model: _Model
    meta: _Meta = _Meta()
    features: dict[str, _Feature] | None = None
    variants: dict[str, _Variant] | None = None
    omni: Any = None
    """There for what vLLM-Omni runs, and not vLLM itself."""


def read_directory(path: Path) -> Reading:
    """The recipes of a directory: a checkout of the repository.

    Raises:
        ConfigError: There are none, or one of the files is broken.
    """
    return _reading(str(path), sorted(_directory(path).items()))


def read(data: bytes, where: str) -> Reading:
    """The recipes of a zip archive.

    Raises:
        ConfigError: It is none, or one of the files in it is broken.
    """
    return _reading(where, sorted(_archive(data, where).items()))


def _directory(path: Path) -> dict[str, bytes]:
    found = sorted(
        file for file in path.rglob("*.yaml") if _is_recipe(PurePosixPath(file.relative_to(path).as_posix()))
    )
    if len(found) > MOST_FILES:
        raise ConfigError(f"`{path}` has {len(found)} YAML files; the recipes are at most {MOST_FILES}. Name another.")
    return {file.relative_to(path).as_posix(): read_file(file, most_bytes=LONGEST_FILE) for file in found}


def _archive(data: bytes, where: str) -> dict[str, bytes]:
    """The recipes of an archive, by their paths in it. Nothing is unpacked to the disk."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = [entry for entry in archive.infolist() if _is_recipe(PurePosixPath(entry.filename))]
            size = sum(entry.file_size for entry in found)
            if len(found) > MOST_FILES or size > MOST_BYTES or any(entry.file_size > LONGEST_FILE for entry in found):
                raise ConfigError(
                    f"`{where}` has {len(found)} YAML files with {size} bytes together, or one of them is longer than "
                    f"{LONGEST_FILE}: these are no recipes. Nothing was written."
                )
            return {entry.filename: archive.read(entry) for entry in found}
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as exc:
        raise ConfigError(f"`{where}` is no whole zip archive ({exc}). Nothing was written; fetch it again.") from exc


def _is_recipe(path: PurePosixPath) -> bool:
    return path.suffix == ".yaml" and DIRECTORY in path.parts[:-1]


def _reading(where: str, files: list[tuple[str, bytes]]) -> Reading:
    rows = Rows(where, WHAT)
    named = [(name, _document(data, f"{where}: {name}")) for name, data in files]
    made = tuple(rows.each(named, _Recipe, partial(_row, where)))
    lines = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files)
    return Reading(
        source=NAME,
        where=where,
        digest=hashlib.sha256(lines.encode()).hexdigest(),
        summary=f"{len(made)} recipes",
        rows=made,
        notes=rows.notes(),
    )


def _document(data: bytes, where: str) -> Any:
    try:
        # An alias may stand for a text of any length, many times over: recipes have none.
        events = cast("Iterator[yaml.Event]", yaml.parse(data, Loader=yaml.CSafeLoader))  # pyright: ignore[reportUnknownMemberType] - untyped
        if any(isinstance(event, yaml.AliasEvent) for event in events):
            raise ConfigError(f"`{where}` has YAML aliases, which no recipe has. Nothing was written.")
        return yaml.load(data, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        first = " ".join(str(exc).split())[:160]
        raise ConfigError(f"`{where}` is not whole YAML ({first}). Nothing was written; fetch it again.") from exc


def _row(where: str, name: str, recipe: _Recipe) -> Row:
    names = (recipe.meta.title,) if recipe.meta.title else ()
    model = recipe.model.model_id
    said = tuple(_said(f"{where}: {name}", recipe))
    return Row(name=model, names=names, repositories=(model,), said=said)


def _said(locator: str, recipe: _Recipe) -> Iterator[Said]:
    model, as_of = recipe.model, recipe.meta.date_updated
    name = "vllm" if recipe.omni is None else "vllm-omni"
    always = [str(each) for each in model.base_args or ()]
    flags = [*always, *(str(arg) for one in (recipe.features or {}).values() for arg in one.args or ())]
    hardware = recipe.meta.hardware or {}
    engine: dict[str, Any] = {
        f"engines.{name}": True,
        f"engines.{name}.since": str(model.min_vllm_version or "") or None,
        f"engines.{name}.tool_parser": _after(flags, "--tool-call-parser"),
        f"engines.{name}.reasoning_parser": _after(flags, "--reasoning-parser"),
        f"recipes.{name}.command": shlex.join(["vllm", "serve", model.model_id, *always]),
        f"recipes.{name}.verified_hardware": sorted(kind for kind, state in hardware.items() if state == "verified"),
    }
    for variant in (recipe.variants or {}).values():
        if variant.precision:
            engine.setdefault(f"memory.{variant.precision}.minimum_gb", variant.vram_minimum_gb or None)
    facts = {
        "context_tokens": model.context_length or None,
        "parameters_b": _billions(model.parameter_count),
        "active_parameters_b": _billions(model.active_parameters),
        "weights": "open",
        "repositories": [model.model_id] if model.model_id.count("/") == 1 else None,
    }
    yield from said_if(engine, locator, "repository", as_of)
    yield from said_if(facts, locator, "registry", as_of)


def _after(flags: list[str], flag: str) -> str | None:
    return next((value for name, value in pairwise(flags) if name == flag), None)


def _billions(count: str | float | None) -> float | None:
    """A count of parameters: `21B`, `270M`."""
    match = _COUNT.match(str(count or ""))
    return None if match is None else round(float(match[1]) * _UNITS[match[2].upper()], 6)
