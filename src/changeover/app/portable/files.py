"""Which files belong to a project: its declarations, and what they name."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from changeover.app.portable.manifest import is_inside
from changeover.core import toml
from changeover.core.errors import ConfigError
from changeover.core.secrets import without_registered
from changeover.core.settings import SETTINGS_FILE, Project, Settings
from changeover.tasks.declarations import Task


@dataclass(frozen=True, kw_only=True)
class Belongings:
    """What a project consists of, beside its store."""

    files: Mapping[str, Path]
    """By their path below the project, with `/`."""
    outside: tuple[str, ...]
    """Files that declarations name and that lie elsewhere, or in a hidden directory."""


def belongings_of(project: Project, tasks: Mapping[str, Task]) -> Belongings:
    """Everything in the directories of tasks, tools and cards, the policy, and with each task's dataset what lies beside it.

    Hidden files are left out, as is everything that no declaration leads to: nobody knows what it is.
    """
    root = project.root.resolve()
    found: dict[str, Path] = {}
    outside: set[str] = set()
    for path in _named(project, tasks):
        resolved = path.resolve()
        name = resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else None
        if name is None or not is_inside(name):
            outside.add(str(resolved))
        else:
            found[name] = resolved
    found.pop(SETTINGS_FILE, None)
    return Belongings(files=dict(sorted(found.items())), outside=tuple(sorted(outside)))


def _named(project: Project, tasks: Mapping[str, Task]) -> Iterator[Path]:
    if project.policy.is_file():
        yield project.policy
    for directory in (project.tasks, project.tools, project.cards):
        yield from _below(directory)
    for task in tasks.values():
        beside = task.dataset.parent
        if beside.resolve() != project.root.resolve() and beside.resolve().is_relative_to(project.root.resolve()):
            yield from _below(beside)
        elif task.dataset.is_file():
            yield task.dataset
        yield from (path for path in _in_task(task) if _is_file(path))


def _below(directory: Path) -> Iterator[Path]:
    for path in directory.rglob("*") if directory.is_dir() else ():
        parts = path.relative_to(directory).parts
        if path.is_file() and "__pycache__" not in parts and not any(part.startswith(".") for part in parts):
            yield path


def _in_task(task: Task) -> Iterator[Path]:
    """Files that a declaration may name: any text in it that is the path of one."""
    declared: dict[str, Any] = task.declared.model_dump(mode="json", exclude_unset=True)
    for text in _texts(declared):
        if 0 < len(text) <= 500 and "\n" not in text and "\0" not in text:
            yield task.file.parent / text


def _is_file(path: Path) -> bool:
    """Whether a text that may be anything is the path of a file that can be seen: sentences are too long for a name."""
    try:
        return path.is_file()
    except OSError:
        return False


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in cast("dict[str, Any]", value).values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in cast("list[Any]", value):
            yield from _texts(each)


def portable_settings(project: Project) -> bytes:
    """The text of `changeover.toml` without the address of its store, which may hold a password and is another's there.

    Raises:
        ConfigError: The address cannot be taken out.
    """
    text = (project.root / SETTINGS_FILE).read_text(encoding="utf-8")
    if (url := project.settings.store.url) is not None:
        kept = [
            f"# left out by `changeover export`: {line.partition('=')[0].strip() or 'store'}"
            if url in line or line.strip() == "[store]"
            else line
            for line in text.splitlines()
        ]
        text = "\n".join(kept) + "\n"
    text = without_registered(text)
    if _without_store(read_settings(text.encode())) != _without_store(project.settings) or (url and url in text):
        raise ConfigError(
            f"`{SETTINGS_FILE}`: the address of the store cannot be left out. Write it on a line of its own: "
            '`[store]`, then `url = "…"`.'
        )
    return text.encode()


def read_settings(text: bytes) -> Settings:
    """The settings of an export.

    Raises:
        ConfigError: They are wrong.
    """
    try:
        values = tomllib.loads(text.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ConfigError(f"`{SETTINGS_FILE}` of the export cannot be read: {exc}.") from exc
    return toml.validate(Settings, values, where=f"{SETTINGS_FILE} of the export")


def _without_store(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(exclude={"store"})
