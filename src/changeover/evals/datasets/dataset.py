"""The set of samples that a comparison draws from, in a random order that is the same for everybody."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from changeover.core.digest import sha256_value
from changeover.evals.datasets.read import Inputs, inputs_of, read_samples
from changeover.evals.datasets.samples import Sample


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A checked set of samples, in the order of its file."""

    name: str
    path: Path
    samples: tuple[Sample, ...]
    digest: str
    """Identity of its samples, whatever their order in the file and how its JSON was spaced."""
    lines: Mapping[str, int] = field(default_factory=dict[str, int], compare=False, repr=False)
    """Line of each sample, by id, for messages."""

    def where(self, sample: Sample) -> str:
        """Where a sample stands, for messages: file and line."""
        return f"{self.path}:{self.lines[sample.id]}" if sample.id in self.lines else str(self.path)

    @classmethod
    def load(cls, path: Path, name: str | None = None, template: str | None = None) -> Dataset:
        """Read a JSONL file.

        Args:
            path: The file.
            name: By default the file's own.
            template: The task's input template, Jinja, which turns a sample's variables into one user message.

        Raises:
            DatasetError: The first thing that is wrong, with file and line.
        """
        return cls._read(path, name, inputs_of(template))

    @classmethod
    def load_unrendered(cls, path: Path, name: str | None = None) -> Dataset:
        """Read a JSONL file without its task: variables stand in the input as JSON. To look at, never to measure."""
        return cls._read(path, name, inputs_of(None, plain=True))

    @classmethod
    def _read(cls, path: Path, name: str | None, inputs: Inputs) -> Dataset:
        samples, lines = read_samples(path, inputs)
        return cls(name=name or path.stem, path=path, samples=samples, digest=digest_of(samples), lines=lines)

    def shuffled(self, seed: int) -> tuple[Sample, ...]:
        """The samples in the random order in which a comparison draws them; clusters stay together.

        The order depends on the seed and the ids alone: on no file order, platform or version, and a sample added
        later leaves the others in order.
        """

        def draw(sample: Sample) -> tuple[bytes, bytes]:
            whole = ("cluster", sample.cluster) if sample.cluster is not None else ("sample", sample.id)
            return _ticket(seed, *whole), _ticket(seed, "sample", sample.id)

        return tuple(sorted(self.samples, key=draw))


def digest_of(samples: Iterable[Sample]) -> str:
    """Identity of a set of samples, whatever their order."""
    return sha256_value(sorted(sample.digest for sample in samples))


def _ticket(seed: int, kind: str, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{kind}\0{name}".encode()).digest()
