"""Tools as they were applied last. A folder that changes is used as it was until somebody applies it again.

What a tool does stands in the files of its folder, so a copy of them is kept in the state directory under their digest,
and read from there. Several processes on a machine share the copies.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import cast

from changeover.app.installation import Installation, read_tools
from changeover.core.errors import ConfigError
from changeover.tasks.applied import newest_applied, tools_of
from changeover.tools.declarations import Tool, Tools

log = logging.getLogger(__name__)

COPIES = "tools"
"""In the state directory."""
UNUSED_S = 25 * 3600.0
"""After so long a copy that is not applied any more is removed: a run takes a day at most, and reads its files as it goes."""
LEFT_OUT = shutil.ignore_patterns("*.jsonl", "__pycache__")
"""Datasets measure a tool, and are no part of what it does."""


class AppliedTools:
    """The tools of a project, by the newest declarations that were seen."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._copies = installation.project.state / COPIES
        self._revision: int | None = None
        self._in_use: frozenset[str] = frozenset()
        """Names of copies."""
        self._said: set[tuple[str, str]] = set()
        self.current = Tools()

    @property
    def revision(self) -> int:
        """Of the declarations that they were read from."""
        return self._revision or 0

    def follow(self, revision: int) -> None:
        """Read them again if the declarations have another revision than before. Takes its time.

        Raises:
            StoreError: The store cannot be used.
        """
        if revision == self._revision:
            return
        with self._installation.store.read() as connection:
            applied = newest_applied(connection)
        wanted = {} if applied is None else tools_of(applied.document)
        self.current = self._read(wanted)
        self._revision = revision
        self._forget(wanted)

    def _read(self, wanted: Mapping[str, str]) -> Tools:
        found = Tools()
        there: Mapping[str, Tool] = self._installation.tools
        if (
            any(digest != there[name].digest for name, digest in wanted.items() if name in there)
            or wanted.keys() - there
        ):
            there = read_tools(self._installation.project, {})
        for name, digest in wanted.items():
            tool = self.current.get(name)
            if tool is not None and tool.digest == digest:
                found[name] = tool
                continue
            try:
                found[name] = self._kept(name, digest, there.get(name))
            except (ConfigError, OSError) as exc:
                found.refuse(name, exc if isinstance(exc, ConfigError) else ConfigError(f"{name}: {exc}."))
                self._say(name, digest, str(exc))
        return found

    def _kept(self, name: str, digest: str, tool: Tool | None) -> Tool:
        """The copy of a tool; made where its folder is as it was applied."""
        folder = self._copies / digest[:16] / name
        if not folder.is_dir():
            if tool is None or tool.digest != digest:
                raise ConfigError(
                    f"tool `{name}` is not here as it was applied: its folder is gone, or another. Apply it again: "
                    "`changeover apply`."
                )
            _copy(tool, folder)
        if tool is not None and tool.digest == digest:
            return replace(tool, folder=folder)
        self._say(name, digest, "its folder was changed; it is used as it was applied until `changeover apply`")
        load = import_module("changeover.tools.load")
        return cast("Tool", load.load_tool(folder))

    def _say(self, name: str, digest: str, what: str) -> None:
        if (name, digest) not in self._said:
            self._said.add((name, digest))
            log.warning("tool %s: %s", name, what)

    def _forget(self, wanted: Mapping[str, str]) -> None:
        """Remove copies that nobody has used for long. Whatever is, or was until now, in use gets the time of this moment."""
        before, self._in_use = self._in_use, frozenset(digest[:16] for digest in wanted.values())
        now = self._installation.clock.now().timestamp()
        for directory in self._copies.iterdir() if self._copies.is_dir() else ():
            with contextlib.suppress(OSError):  # another process removed it
                if directory.name in self._in_use | before:
                    os.utime(directory, (now, now))
                elif now - directory.stat().st_mtime > UNUSED_S:
                    shutil.rmtree(directory)


def _copy(tool: Tool, target: Path) -> None:
    """Copy a tool's folder, whole or not at all.

    Raises:
        ConfigError: It was changed since it was read.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as draft:
        made = shutil.copytree(tool.folder, Path(draft) / target.name, ignore=LEFT_OUT)
        if import_module("changeover.tools.load").digest_of(made) != tool.digest:
            raise ConfigError(f"tool `{tool.name}`: its folder was changed while it was read. Apply it again.")
        with contextlib.suppress(OSError):  # another process was quicker
            made.rename(target)
