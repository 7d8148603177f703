"""Reading the files of an evidence pack: regular files of a bounded size, strict JSON, one type for each."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from changeover.evals.queries import Comparison
from changeover.rollouts.pack import records
from changeover.rollouts.pack.records import (
    Asked,
    BundlesFile,
    CopyScore,
    DatasetRecord,
    Rating,
    RolloutFile,
    SampleRecord,
    TrialRecord,
)
from changeover.rollouts.queries import Approval, Override
from changeover.tasks.routes import Route

MOST_BYTES = 256 << 20
"""Of a file that is read at once."""
LONGEST_LINE = 64 << 20


@dataclass(frozen=True)
class Files:
    """The files of a pack as values. What is wrong with one is raised when it is read."""

    directory: Path

    @cached_property
    def rollout(self) -> RolloutFile:
        return self._whole(records.ROLLOUT)

    @cached_property
    def bundles(self) -> BundlesFile:
        return self._whole(records.BUNDLES)

    @cached_property
    def comparisons(self) -> list[Comparison]:
        return self._whole(records.COMPARISONS)

    @cached_property
    def datasets(self) -> list[DatasetRecord]:
        return self._whole(records.DATASETS)

    @cached_property
    def routes(self) -> list[Route]:
        """Oldest first: from the revision that the rollout found to the last that it wrote."""
        return self._whole(records.ROUTES)

    @cached_property
    def approvals(self) -> list[Approval]:
        return self._whole(records.APPROVALS)

    @cached_property
    def overrides(self) -> list[Override]:
        return self._whole(records.OVERRIDES)

    @cached_property
    def trials(self) -> list[TrialRecord]:
        """The trial that the rollout came from; none where it came from none."""
        return self._whole(records.TRIALS)

    def samples(self) -> Iterator[SampleRecord]:
        return self._lines(records.SAMPLES)

    def guard(self) -> Iterator[Asked]:
        """The candidate's exchanges in order of arrival."""
        return self._lines(records.GUARD)

    def shadow_scores(self) -> Iterator[CopyScore]:
        return self._lines(records.SHADOW_SCORES)

    def feedback(self) -> Iterator[Rating]:
        return self._lines(records.FEEDBACK)

    def samples_of(self, comparison: str) -> list[SampleRecord]:
        """Samples of one comparison, in drawn order."""
        return [sample for sample in self.samples() if sample.compared.comparison == comparison]

    def _whole(self, name: str) -> Any:
        return msgspec.json.decode(read_bounded(self.directory / name), type=records.TYPES[name])

    def _lines(self, name: str) -> Iterator[Any]:
        decoder = msgspec.json.Decoder(records.TYPES[name])
        with open_regular(self.directory / name) as file:
            while line := file.readline(LONGEST_LINE):
                if not line.endswith(b"\n"):
                    raise ValueError(f"`{name}` breaks off in the middle of a line, or has one that is too long")
                yield decoder.decode(line)


def open_regular(file: Path) -> BinaryIO:
    """Open a file that is one: no link, no device, nothing that waits.

    Raises:
        ValueError: It is something else.
        OSError: It is not there.
    """
    if not stat.S_ISREG(file.lstat().st_mode):
        raise ValueError(f"`{file.name}` is no regular file")
    return os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW), "rb")


def read_bounded(file: Path, most: int = MOST_BYTES) -> bytes:
    """The bytes of a regular file of at most so many."""
    with open_regular(file) as opened:
        text = opened.read(most + 1)
    if len(text) > most:
        raise ValueError(f"`{file.name}` has more than {most} bytes")
    return text
