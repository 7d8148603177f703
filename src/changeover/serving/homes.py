"""Homes: where an engine's own software is. Large engines do not share an environment with us or with each other."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from changeover.core.settings import EngineHome

_PLAIN: Final = re.compile(r"[-_.]+")


@dataclass(frozen=True)
class Python:
    """An interpreter, and the packages that it would import."""

    executable: str

    def version(self, package: str) -> str | None:
        """The version of a package that is installed there; None if it is not. Starts nothing."""
        if self.executable == sys.executable:
            try:
                return distribution(package).version
            except PackageNotFoundError:
                return None
        wanted = _plain(package)
        for found in Distribution.discover(path=self._path):
            if _plain(found.name or "") == wanted:
                return found.version
        return None

    @cached_property
    def _path(self) -> list[str]:
        # Not resolved: an environment's interpreter is a link to the one that it was made with.
        root = Path(self.executable).parent.parent
        return [str(each) for each in root.glob("lib/python*/site-packages")]


@dataclass(frozen=True, kw_only=True)
class Homes:
    """Where engines are, as the project says, as `changeover engines install` put them, or beside us."""

    declared: Mapping[str, EngineHome] = field(default_factory=dict[str, EngineHome])
    managed: Path | None = None
    """Folder with an environment for each engine that we installed."""

    def python(self, engine: str) -> Python:
        """The interpreter that runs an engine's package, whether it has that or not."""
        declared = self.declared.get(engine)
        if declared is not None and declared.python is not None:
            return Python(declared.python)
        if self.managed is not None and not unfinished(self.managed, engine).exists():
            own = self.managed / engine / "bin" / "python"
            if own.exists():
                return Python(str(own))
        return Python(sys.executable)

    def command(self, engine: str, name: str) -> str | None:
        """The program of an engine that is one; None if it is nowhere."""
        declared = self.declared.get(engine)
        if declared is not None and declared.command is not None:
            return shutil.which(declared.command)
        return shutil.which(name)

    def keeps(self, engine: str) -> Path | None:
        """The folder for what an engine keeps between its lives; None where we keep nothing."""
        return None if self.managed is None else self.managed.with_name("engine-data") / engine


def unfinished(managed: Path, engine: str) -> Path:
    """The file that is there while an environment is made, and after that was cut off: it is not to be used then."""
    return managed / f"{engine}.unfinished"


def _plain(package: str) -> str:
    return _PLAIN.sub("-", package).lower()
