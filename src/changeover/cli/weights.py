"""Fetching weights with a progress bar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from changeover.cli.frame import err, here, note
from changeover.core.errors import ArtifactError, ConfigError
from changeover.core.settings import SETTINGS_FILE, cache_directory
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.pull import present, pull


class Bar:
    """One bar on the terminal; a line at the start and the end where there is no terminal."""

    def __init__(self, progress: Progress, label: str) -> None:
        self._progress = progress
        self._label = label
        self._task: TaskID | None = None

    def start(self, what: str, total_bytes: int | None) -> None:
        description = f"{self._label}  {what}"
        if self._task is None:
            self._task = self._progress.add_task(description, total=total_bytes)
        else:
            self._progress.reset(self._task, description=description, total=total_bytes)

    def advance(self, done_bytes: int) -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=done_bytes)

    def finish(self) -> None:
        pass  # said by `verified`, once it is true: this is called after a refusal too

    def verified(self) -> None:
        if self._task is not None:
            self._progress.update(self._task, description=f"{self._label}  verified")


def library() -> tuple[Catalogue, Path]:
    """The library with the cache, of the project here; outside a project the library as it ships."""
    try:
        project = here()
    except ConfigError:
        if (Path.cwd() / SETTINGS_FILE).exists():
            raise
        return Catalogue.load(), cache_directory()
    return Catalogue.load(project.cards), project.cache


def fetch(cards: Sequence[Card], cache: Path) -> list[Path]:
    """Fetch what is not here yet, and verify it. Returns the paths in the cards' order."""
    paths: list[Path] = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=False) as progress:
        for card in cards:
            if not card.artifacts:
                raise ArtifactError(f"`{card.id}` has no artifact that can be fetched. `changeover models {card.id}`.")
            artifact = card.artifacts[0]
            if not present(artifact, cache) and not err.is_terminal:
                note(f"fetching {card.id} ({artifact.size_bytes / (1 << 20):.0f} MiB)")
            bar = Bar(progress, card.id)
            paths.append(pull(artifact, cache, bar))
            bar.verified()
    return paths
