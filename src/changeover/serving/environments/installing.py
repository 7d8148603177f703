"""Making an engine's environment by `venv` and pip, and taking it away again.

An environment cannot be moved once it is made, so it is made in its place, and `NAME.unfinished` beside it says so
meanwhile: what that names counts as not there, and the next attempt begins anew. Beside them `NAME.log` has what pip
said, and `installed.json` inside an environment what was asked of it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from changeover.core.errors import EngineError
from changeover.core.sizes import MIB, in_gib
from changeover.library import marks
from changeover.library.fetch.progress import Silent
from changeover.library.pull import locked
from changeover.serving.environments.declared import Environment
from changeover.serving.homes import unfinished

Say = Callable[[str], None]
"""Told what happens, in a few words; often."""
ROOM: Final = 1.5
"""pip has an archive and what is in it for a while: so much more than what stays."""


@dataclass(frozen=True, kw_only=True)
class Installing:
    """How an environment is made, in order."""

    directory: Path
    commands: Sequence[Sequence[str]]
    emptied: Sequence[str]
    """Modules in it whose code is taken out, before the last command."""


def steps(wanted: Environment, directory: Path) -> Installing:
    """What would be done. The last command imports what was installed: the check."""
    python = str(directory / "bin" / "python")
    # Our own pip works for it: an older one inside would only be another thing to keep.
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "--no-input")
    commands: list[Sequence[str]] = [(sys.executable, "-m", "venv", "--clear", "--without-pip", str(directory))]
    commands.append((*pip, "install", "--progress-bar", "off", *wanted.requirements))
    if wanted.unwanted:
        commands.append((*pip, "uninstall", "--yes", *wanted.unwanted))
    commands.append((python, "-I", "-c", f"import {', '.join(wanted.imports)}"))
    return Installing(directory=directory, commands=commands, emptied=wanted.emptied)


def installed(name: str, managed: Path) -> Mapping[str, Any] | None:
    """What was asked of an environment that is there whole; None where it is not."""
    if unfinished(managed, name).exists():
        return None
    try:
        return json.loads((managed / name / "installed.json").read_bytes())
    except (OSError, ValueError):
        return None


def install(name: str, wanted: Environment, managed: Path, say: Say) -> bool:
    """Make an environment; False where it is there already, just as it would be made. One that is otherwise is replaced.

    Raises:
        EngineError: There is no room, or pip could not do it; nothing half is left.
    """
    try:
        managed.mkdir(parents=True, exist_ok=True)
        with locked(managed / f"{name}.lock", Silent()):
            said = installed(name, managed)
            if said is not None and said.get("requirements") == list(wanted.requirements):
                return False
            _require_room(name, wanted, managed)
            _install(name, wanted, managed, say)
    except OSError as exc:
        raise EngineError(
            f"`{managed}` cannot be used: {exc.strerror or exc}. Set `CHANGEOVER_CACHE` or mend it."
        ) from exc
    return True


def remove(name: str, managed: Path) -> bool:
    """Take an environment away, whole or not; False where there is none."""
    directory, mark = managed / name, unfinished(managed, name)
    found = directory.exists() or mark.exists()
    _clear(directory)
    for beside in (mark, managed / f"{name}.log", managed / f"{name}.lock"):
        beside.unlink(missing_ok=True)
    return found


def _install(name: str, wanted: Environment, managed: Path, say: Say) -> None:
    directory, mark = managed / name, unfinished(managed, name)
    plan = steps(wanted, directory)
    started = time.monotonic()
    mark.touch()
    try:
        _clear(directory)
        with (managed / f"{name}.log").open("w", encoding="utf-8") as log:
            for command in plan.commands:
                if command is plan.commands[-1]:
                    _empty(plan)
                _run(command, name, log.write, say)
        marks.write(
            directory / "installed.json",
            {"requirements": list(wanted.requirements), "seconds": round(time.monotonic() - started, 1)},
        )
    except BaseException:
        say("taking away what was begun")
        _clear(directory)
        mark.unlink(missing_ok=True)
        raise
    mark.unlink()


def _run(command: Sequence[str], name: str, keep: Callable[[str], object], say: Say) -> None:
    lines: list[str] = []
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                keep(line)
                lines = [*lines[-20:], line.strip()]
                if words := _words(line):
                    say(words)
            status = process.wait()
        except BaseException:
            process.kill()
            raise
    if status:
        raise EngineError(f"`{name}` could not be installed: {_reason(lines)} All of it is in `{name}.log` beside it.")


def _words(line: str) -> str | None:
    """What a line of pip's means to a person; None for most of them."""
    verb, _, rest = line.strip().partition(" ")
    if verb not in ("Collecting", "Downloading", "Installing", "Uninstalling", "Using", "Processing"):
        return None
    return f"{verb.lower()} {rest.partition(' (from')[0].rpartition('/')[2][:60]}"


def _reason(lines: Sequence[str]) -> str:
    wrong = [line for line in lines if "error" in line.lower()] or [line for line in lines if line] or ["no reason"]
    return wrong[-1].removeprefix("ERROR: ")[:300].rstrip(".") + "."


def _empty(plan: Installing) -> None:
    for packages in plan.directory.glob("lib/python*/site-packages"):
        for module in plan.emptied:
            if (packages / module).is_file():
                (packages / module).write_text("")


def _require_room(name: str, wanted: Environment, managed: Path) -> None:
    needed, free = round(wanted.megabytes * MIB * ROOM), shutil.disk_usage(managed).free
    if free < needed:
        raise EngineError(
            f"Installing `{name}` needs about {in_gib(needed)} in `{managed}`, and {in_gib(free)} are free. "
            "Free some space and ask again."
        )


def _clear(directory: Path) -> None:
    if directory.is_symlink():
        directory.unlink()
    elif directory.exists():
        shutil.rmtree(directory)
