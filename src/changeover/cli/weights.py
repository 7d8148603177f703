"""Fetching weights with a progress bar: for `changeover pull`, and for whatever deploys a model that is not here yet."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
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

from changeover.app import fetching
from changeover.app.fetching import Terms, embedded_artifact
from changeover.cli.frame import err, note
from changeover.core.errors import ArtifactError
from changeover.core.sizes import in_mib
from changeover.library.artifacts import Artifact
from changeover.library.cards import Card
from changeover.library.pull import present
from changeover.serving.conversions import expected_bytes, expected_s, maker
from changeover.serving.homes import Homes
from changeover.serving.plan import EnginePlan
from changeover.serving.weights import pending, ready_weights


class Bar:
    """One bar on the terminal; a line at the start and the end where there is no terminal."""

    def __init__(self, progress: Progress, label: str) -> None:
        self._progress = progress
        self._label = label
        self._task: TaskID | None = None

    def start(self, what: str, total_bytes: int | None, done_bytes: int = 0) -> None:
        description = f"{self._label}  {what}"
        if self._task is None:
            self._task = self._progress.add_task(description, total=total_bytes, completed=done_bytes)
        else:
            self._progress.reset(self._task, description=description, total=total_bytes, completed=done_bytes)
        if "resuming" in what and not err.is_terminal:
            note(f"{self._label}: {what}")

    def advance(self, done_bytes: int) -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=done_bytes)

    def finish(self) -> None:
        pass  # said by `verified`, once it is true: this is called after a refusal too

    def verified(self) -> None:
        if self._task is not None:
            self._progress.update(self._task, description=f"{self._label}  verified")


def fetch(cards: Sequence[Card], cache: Path, terms: Terms | None = None) -> list[Path]:
    """Fetch what the embedded engine needs and is not here yet, and verify it. Returns the paths in the cards' order."""
    with bars() as bar_of:
        return [fetch_one(card, embedded_artifact(card), cache, terms or Terms(), bar_of(card.id)) for card in cards]


def fetch_one(card: Card, artifact: Artifact, cache: Path, terms: Terms, bar: Bar) -> Path:
    """Fetch one artifact of a card unless it is here, and verify it."""
    here = present(artifact, cache)
    if not here and not err.is_terminal:
        note(f"fetching {card.id} ({in_mib(artifact.size_bytes)})")
    path = fetching.fetch_artifact(card, artifact, cache, terms, bar)
    if not here:
        bar.verified()
    return path


def fetch_artifact(card: Card, artifact: Artifact, cache: Path, terms: Terms) -> Path:
    """Fetch one artifact of a card unless it is here, with a bar of its own."""
    with bars() as bar_of:
        return fetch_one(card, artifact, cache, terms, bar_of(card.id))


def fetch_for(plan: EnginePlan, card: Card, cache: Path, terms: Terms, homes: Homes) -> Path | None:
    """Fetch what a plan's engine loads of a card, and make it into the form that it takes. Gives where it is.

    Raises:
        ArtifactError: It cannot be fetched, or not be made into that form.
        EngineError: No environment here can do that; said before anything is fetched.
    """
    artifact = next((each for each in card.artifacts if each.sha256 == plan.weights_digest), None)
    if artifact is None:
        raise ArtifactError(f"`{card.id}` has no artifact for `{plan.backend}`. `changeover models {card.id}`.")
    making = pending(plan)
    if making is not None:
        maker(making.conversion, homes)
    with bars() as bar_of:
        fetch_one(card, artifact, cache, terms, bar_of(card.id))
        if making is None:
            return plan.artifact
        what = f"{making.quantisation} {making.conversion.makes}"
        size, seconds = in_mib(expected_bytes(making)), expected_s(making)
        note(f"making {what} for {plan.backend}: about {size}, up to {seconds} s, once")
        return ready_weights(plan, homes, bar_of(card.id))


@contextmanager
def bars() -> Generator[Callable[[str], Bar]]:
    """Progress on the terminal: gives a bar for each name."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=False) as progress:
        yield lambda label: Bar(progress, label)
