"""A private folder of Unix sockets: whoever may not enter it cannot even knock at an engine's door."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from changeover.core.errors import ConfigError

LONGEST_PATH: Final = 107
"""Bytes of a socket's path that Linux takes, without the one that ends it; other systems take 103."""
_NOBODY: Final = 65534
"""Whom engines become where we are root."""


def folder_for(state: Path) -> Path:
    """Where the sockets of a project's engines are: always the same place, so that the next start clears what a kill left."""
    digest = hashlib.sha256(os.fsencode(state.absolute())).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"changeover-{os.geteuid()}-{digest}"


class Sockets:
    """The folder, and the names that are free in it. Made when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self._made = False

    def fresh(self) -> Path:
        """A path on which nobody listens.

        Raises:
            ConfigError: The folder cannot be made, or its path is too long for a socket.
        """
        if not self._made or not self._folder.is_dir():  # whoever tidies temporary files up may have taken it
            self._make()
        return self._folder / f"{next(self._numbers)}.sock"

    def close(self) -> None:
        """Remove the folder, with whatever is left in it."""
        if self._made:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._made = False

    def _make(self) -> None:
        if len(os.fsencode(self._folder)) + len("/123456.sock") > LONGEST_PATH:
            raise ConfigError(
                f"`engines.listen`: `{self._folder}` is too long a path for sockets. Set `TMPDIR` to a shorter one."
            )
        shutil.rmtree(self._folder, ignore_errors=True)  # of an earlier process that was killed
        try:
            self._folder.mkdir(mode=0o700)
            if os.geteuid() == 0:
                os.chown(self._folder, _NOBODY, _NOBODY)  # engines that we start ourselves are nobody by then
        except OSError as exc:
            raise ConfigError(
                f"`engines.listen`: no folder for sockets can be made: {exc.strerror} (`{self._folder}`)."
            ) from exc
        self._made = True
