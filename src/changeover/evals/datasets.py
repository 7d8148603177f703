"""Datasets: a JSONL file of samples that people write, read whole and checked before anything is measured.

One sample a line:

    {"id": "q3-report", "input": "Summarise: …", "target": {"facts": [["1,815"]]}, "tags": ["long"]}

`id`, `input` and `target` are required; `tags`, `cluster` and `source` may be left out; other keys are refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from changeover.core.digest import canonical_json, sha256_text, sha256_value
from changeover.core.errors import DatasetError, nearest

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message of what a model is asked."""

    role: Role
    content: str


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One case: what is asked, and what a good answer is."""

    id: str
    input: tuple[Message, ...]
    target: str | Mapping[str, Any]
    """The ideal answer, in the shape that the task's scorer reads."""
    tags: tuple[str, ...] = ()
    """Slices it belongs to."""
    cluster: str | None = None
    """Samples of one conversation or document share it: a comparison counts their mean as one observation."""
    source: str | None = None
    """Where the sample comes from, for people."""

    @cached_property
    def digest(self) -> str:
        """Identity of everything in the sample."""
        return sha256_value(asdict(self))

    @property
    def text(self) -> str:
        """All that the model is told, one message after the other."""
        return "\n".join(message.content for message in self.input)


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
    def load(cls, path: Path, name: str | None = None) -> Dataset:
        """Read a JSONL file. The name is the file's own unless one is given.

        Raises:
            DatasetError: The first thing that is wrong, with file and line.
        """
        samples: dict[str, Sample] = {}
        lines: dict[str, int] = {}
        for number, line in _lines(path):
            sample = _parse(line, f"{path}:{number}")
            if sample.id in samples:
                raise DatasetError(
                    f"{path}:{number}: id `{sample.id}` is also the sample's on line {lines[sample.id]}. "
                    "Give each sample an id of its own."
                )
            samples[sample.id], lines[sample.id] = sample, number
        if not samples:
            raise DatasetError(f"{path}: the file has no sample. Write one JSON object a line: id, input, target.")
        digest = sha256_value(sorted(sample.digest for sample in samples.values()))
        return cls(name=name or path.stem, path=path, samples=tuple(samples.values()), digest=digest, lines=lines)

    def shuffled(self, seed: int) -> tuple[Sample, ...]:
        """The samples in the random order in which a comparison draws them; clusters stay together.

        The order depends on the seed and the ids alone: on no file order, platform or version, and a sample added
        later leaves the others in order.
        """

        def draw(sample: Sample) -> tuple[bytes, bytes]:
            whole = ("cluster", sample.cluster) if sample.cluster is not None else ("sample", sample.id)
            return _ticket(seed, *whole), _ticket(seed, "sample", sample.id)

        return tuple(sorted(self.samples, key=draw))


def _ticket(seed: int, kind: str, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{kind}\0{name}".encode()).digest()


class _MessageLine(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    role: Role
    content: str


class _SampleLine(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = Field(min_length=1, max_length=200)
    input: list[_MessageLine] = Field(min_length=1)
    target: str | dict[str, Any] = Field(min_length=1)
    tags: list[str] = []
    cluster: str | None = None
    source: str | None = None


def _lines(path: Path) -> list[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1. A byte-order mark is skipped."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(f"No dataset file `{path}`. Write it, or name another.") from None
    except OSError as exc:
        raise DatasetError(f"{path}: the dataset cannot be read: {exc.strerror}.") from exc
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        raise DatasetError(f"{path}:{line}: not UTF-8 text. Save the file as UTF-8.") from exc
    # Not `splitlines`: JSON strings may hold characters that it takes for line ends.
    return [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def _parse(line: str, where: str) -> Sample:
    value = _json(line, where)
    if not isinstance(value, dict):
        raise DatasetError(f"{where}: one JSON object is expected on a line, with id, input and target.")
    fields = cast("dict[str, Any]", value)
    if isinstance(text := fields.get("input"), str) and text:
        fields = {**fields, "input": [{"role": "user", "content": text}]}
    try:
        row = _SampleLine.model_validate(fields)
    except ValidationError as exc:
        raise DatasetError(f"{where}: {_explain(exc)}") from exc
    return Sample(
        id=row.id,
        input=tuple(Message(role=message.role, content=message.content) for message in row.input),
        target=row.target,
        tags=tuple(row.tags),
        cluster=row.cluster,
        source=row.source,
    )


def _json(line: str, where: str) -> Any:
    try:
        value = json.loads(line, parse_constant=_refuse_constant, object_pairs_hook=_object)
        sha256_text(canonical_json(value))  # a sample needs a digest: infinities and lone surrogates have none
    except json.JSONDecodeError as exc:
        raise DatasetError(f"{where}: not JSON at column {exc.colno}: {exc.msg.lower()}.") from exc
    except UnicodeEncodeError as exc:
        raise DatasetError(f"{where}: a string holds half of a surrogate pair. Write the character itself.") from exc
    except RecursionError as exc:
        raise DatasetError(f"{where}: nested too deeply.") from exc
    except ValueError as exc:
        raise DatasetError(f"{where}: {exc}.") from exc
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"`{name}` is no JSON number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for key, value in pairs:
        if key in known:
            raise ValueError(f"key `{key}` stands twice in one object")
        known[key] = value
    return known


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    kind = first["type"]
    top, *inner = (str(part) for part in first["loc"])
    key = ".".join([top, *inner])
    if kind == "extra_forbidden":
        known, name = (_MessageLine.model_fields, inner[-1]) if inner else (_SampleLine.model_fields, top)
        return f"`{key}`: unknown key. {nearest(name, known)}"
    if top == "target" and (kind == "missing" or first["input"] in (None, "", {})):
        return "the sample has no target. Say what a good answer is, as a string or an object."
    if kind == "missing":
        return f"`{key}`: missing. Add it."
    if top == "target":
        return "`target`: a string or an object is expected."
    if top == "input" and not inner:
        return "`input`: a text or a list of messages, each with role and content, is expected."
    return f"`{key}`: {first['msg'].lower()}."
