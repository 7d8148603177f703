"""Tools that come with the package, and making tools of one's own: whole folders, copied or written at once."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Generator, Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import msgspec

from changeover.core.errors import ChangeoverError, ConfigError, UnknownToolError, nearest
from changeover.tools.declarations import TOOL_FILE, TOOL_NAME

BASELINES = "baselines.json"
TITLE = re.compile(r"^title = .*$", re.MULTILINE)


def shipped_folder() -> Path:
    """Where they lie."""
    return Path(str(files("changeover.tools") / "shipped"))


def shipped_names() -> list[str]:
    """Their names, sorted."""
    return sorted(file.parent.name for file in shipped_folder().glob(f"*/{TOOL_FILE}"))


def baselines() -> Mapping[str, Mapping[str, Any]]:
    """What small models reached on the datasets of the shipped tools' tasks, by the task's whole name; see `benchmarks/tools.py`."""
    try:
        measured = msgspec.json.decode((shipped_folder() / BASELINES).read_bytes())
    except FileNotFoundError:
        return {}
    return cast("dict[str, dict[str, Any]]", measured["tasks"])


def named(names: Iterable[str]) -> list[str]:
    """Shipped tools by name; `all` is every one.

    Raises:
        UnknownToolError: One does not exist; names the nearest.
    """
    known, asked = shipped_names(), list(dict.fromkeys(names))
    if asked == ["all"]:
        return known
    for name in asked:
        if name not in known:
            raise UnknownToolError(f"No tool named `{name}` comes with changeover. {nearest(name, known)}")
    return asked


def add_tools(directory: Path, names: Iterable[str]) -> list[str]:
    """Copy shipped tools into a project's directory of tools, each whole or not at all. Gives what was copied.

    Raises:
        UnknownToolError: One does not exist. Nothing was copied.
        ConfigError: One is there already. Nothing was copied.
        ChangeoverError: The directory cannot be written.
    """
    asked = named(names)
    for name in asked:
        _check_free(directory, name)
    for name in asked:
        _make(directory, name, lambda draft, name=name: _copy(shipped_folder() / name, draft))
    return asked


def derive_tool(directory: Path, name: str, *, of: str, title: str | None) -> Path:
    """Copy a shipped tool under another name, to be changed.

    Raises:
        UnknownToolError: There is none of that name.
        ConfigError: The new name cannot be one, or is taken.
    """
    [source] = named([of])
    _check_free(directory, name)

    def write(draft: Path) -> None:
        _copy(shipped_folder() / source, draft)
        for file in draft.rglob("*.toml"):
            # A tool's name stands in its folder's name and, for readers, in comments.
            file.write_text(file.read_text().replace(f"`{source}.", f"`{name}.").replace(f"# {source}:", f"# {name}:"))
        if title is not None:
            declared = draft / TOOL_FILE
            said = f"title = {toml_text(title)}"
            declared.write_text(TITLE.sub(lambda _: said, declared.read_text(), count=1))

    return _make(directory, name, write)


def new_tool(directory: Path, name: str, *, title: str | None, first_incumbent: str) -> Path:
    """Write a small tool that works at once and explains itself.

    Args:
        directory: Of the project's tools.
        name: Of its folder.
        title: For people; None: made of the name.
        first_incumbent: A card of the library, or `echo`.

    Raises:
        ConfigError: The name cannot be one, or is taken.
    """
    _check_free(directory, name)
    words = {
        '"TOOL_TITLE"': toml_text(title or name.replace("-", " ").capitalize()),
        "TOOL_NAME": name,
        "FIRST_INCUMBENT": first_incumbent,
    }

    def write(draft: Path) -> None:
        _copy(Path(str(files("changeover.templates") / "tool")), draft)
        for file in draft.rglob("*.toml"):
            text = file.read_text()
            for placeholder, word in words.items():
                text = text.replace(placeholder, word)
            file.write_text(text)

    return _make(directory, name, write)


def toml_text(text: str) -> str:
    """A text as TOML writes it."""
    return msgspec.json.encode(text).decode().replace("\x7f", "\\u007f")


def _check_free(directory: Path, name: str) -> None:
    if not TOOL_NAME.fullmatch(name):
        raise ConfigError(f"`{name}` cannot be a tool's name: use lower-case letters, digits and `-`, at most 40.")
    if (directory / name).exists():
        raise ConfigError(
            f"`{directory / name}` is there already. Nothing was changed; name another, or remove it first."
        )


def _make(directory: Path, name: str, write: Callable[[Path], None]) -> Path:
    """Make a folder beside its place first, then move it there: who reads meanwhile sees it whole or not at all."""
    draft = directory.parent / f".{name}.{os.getpid()}"
    with _reported(directory / name):
        try:
            write(draft)
            directory.mkdir(exist_ok=True)
            draft.rename(directory / name)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return directory / name


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copyfile)


@contextlib.contextmanager
def _reported(place: Path) -> Generator[None]:
    try:
        yield
    except OSError as exc:
        # Copying a tree collects its reasons, one for each file; the last line has the last of them.
        reason = exc.strerror or str(exc).rstrip("')]\"").rpartition("] ")[2]
        raise ChangeoverError(f"Cannot make `{place}`: {reason}.") from exc
