"""Every query on kept samples and dataset versions.

A comparison keeps the samples that it is about to score, so that it can be made again when the file is gone, and so
that a sample that was scored cannot be changed under its id unseen.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, Select, Table, func, or_, select

from changeover.core.digest import canonical_json
from changeover.core.errors import DatasetError
from changeover.evals.datasets.dataset import Dataset
from changeover.evals.datasets.samples import Message, Sample
from changeover.evals.queries import batched
from changeover.store.schema import comparisons, dataset_versions, samples


def keep_version(connection: Connection, dataset: Dataset, now: datetime) -> None:
    """Keep a dataset as it is: each sample once, by digest, and which of them this version of the file holds."""
    path = _name(dataset.path)
    if connection.execute(_version(dataset.digest, path).limit(1)).first() is not None:
        return
    known = _known(connection, (sample.digest for sample in dataset.samples))
    fresh = {
        sample.digest: {"digest": sample.digest, "document": _stored(sample)}
        for sample in dataset.samples
        if sample.digest not in known
    }
    _add(connection, samples, list(fresh.values()))
    members = [[sample.id, sample.digest] for sample in dataset.samples]
    _add(
        connection,
        dataset_versions,
        [{"digest": dataset.digest, "path": path, "members": members, "created_at": now}],
    )


def find_version(connection: Connection, digest: str) -> Dataset | None:
    """A dataset as it was when it was kept, in its file's order; None if it never was."""
    query = select(dataset_versions).where(dataset_versions.c.digest == digest)
    row = connection.execute(query.order_by(dataset_versions.c.created_at.desc()).limit(1)).first()
    return None if row is None else _dataset(connection, row.digest, row.path, row.members)


def newest_version(connection: Connection, path: Path) -> Dataset | None:
    """The version of a file that was kept last; None if none was."""
    query = select(dataset_versions).where(dataset_versions.c.path == _name(path))
    row = connection.execute(query.order_by(dataset_versions.c.created_at.desc()).limit(1)).first()
    return None if row is None else _dataset(connection, row.digest, row.path, row.members)


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version of a dataset that was kept, without its samples."""

    digest: str
    path: str
    samples: int
    created_at: datetime


def versions_for(connection: Connection, task: str, path: Path, limit: int) -> list[Version]:
    """Versions that were kept of a task's file, or that a comparison of the task was made on; newest first."""
    used = select(comparisons.c.dataset).where(comparisons.c.task == task)
    row = dataset_versions.c
    rows = connection.execute(
        select(row.digest, row.path, row.created_at, func.json_array_length(row.members).label("samples"))
        .where(or_(row.path == _name(path), row.digest.in_(used)))
        .order_by(row.created_at.desc())
        .limit(limit)
    )
    return [
        Version(digest=each.digest, path=each.path, samples=int(each.samples), created_at=each.created_at)
        for each in rows
    ]


def edited_in_place(connection: Connection, dataset: Dataset) -> list[str]:
    """Ids whose sample was kept from the same file before, and is another one now; in the file's order.

    Samples that only read differently because the task's input template was changed are not among them: what stands in
    the file is what was scored.
    """
    before = _kept_of(connection, dataset.path)
    changed = [sample for sample in dataset.samples if sample.digest not in before.get(sample.id, {sample.digest})]
    if not changed:
        return []
    wanted = {digest for sample in changed for digest in before[sample.id]}
    written: dict[str, set[str]] = {}
    for document in _documents(connection, wanted).values():
        written.setdefault(document["id"], set()).add(_as_written(document))
    return [sample.id for sample in changed if _as_written(_stored(sample)) not in written.get(sample.id, ())]


def check_not_edited(connection: Connection, dataset: Dataset) -> None:
    """Check that no sample that was scored was edited in its file.

    Raises:
        DatasetError: Some were; names the first, and says to write the change to a new file.
    """
    changed = edited_in_place(connection, dataset)
    if not changed:
        return
    first = next(sample for sample in dataset.samples if sample.id == changed[0])
    others = f", and {len(changed) - 1} more" if len(changed) > 1 else ""
    raise DatasetError(
        f"{dataset.where(first)}: sample `{first.id}`{others} changed after it was scored. Its scores are evidence: put "
        f"the old text back, and write the change to a new file such as `{_next_name(dataset.path)}` that the task names."
    )


def _version(digest: str, path: str) -> Select[Any]:
    return select(dataset_versions.c.digest).where(dataset_versions.c.digest == digest, dataset_versions.c.path == path)


def _kept_of(connection: Connection, path: Path) -> dict[str, set[str]]:
    """Digests under which each id was kept from a file."""
    found: dict[str, set[str]] = {}
    query = select(dataset_versions.c.members).where(dataset_versions.c.path == _name(path))
    for members in connection.execute(query).scalars():
        for id, digest in cast("list[list[str]]", members):
            found.setdefault(id, set()).add(digest)
    return found


def _known(connection: Connection, digests: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for part in batched(digests):
        found |= set(connection.execute(select(samples.c.digest).where(samples.c.digest.in_(part))).scalars())
    return found


def _documents(connection: Connection, digests: Iterable[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for part in batched(digests):
        rows = connection.execute(select(samples.c.digest, samples.c.document).where(samples.c.digest.in_(part)))
        found.update((row.digest, row.document) for row in rows)
    return found


def _add(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows, except those that another process has written meanwhile."""
    if rows:
        # Both databases have the clause, each in a module of its own; the other one's takes as long to load as a query.
        dialect = importlib.import_module(f"sqlalchemy.dialects.{connection.dialect.name}")
        connection.execute(dialect.insert(table).on_conflict_do_nothing(), rows)


def _stored(sample: Sample) -> dict[str, Any]:
    return {**sample.document, "variables": sample.variables}


def _as_written(document: Mapping[str, Any]) -> str:
    """What stands in the file: variables in place of the message that a template made of them."""
    written = dict(document)
    if written.pop("variables", None) is not None:
        written["input"] = document["variables"]
    return canonical_json(written)


def _dataset(connection: Connection, digest: str, path: str, members: list[list[str]]) -> Dataset:
    documents = _documents(connection, (member[1] for member in members))
    place = Path(path)
    kept = tuple(_sample(documents[member[1]]) for member in members)
    return Dataset(name=place.stem, path=place, samples=kept, digest=digest)


def _sample(document: Mapping[str, Any]) -> Sample:
    return Sample(
        id=document["id"],
        input=tuple(Message(**message) for message in document["input"]),
        target=document["target"],
        tools=tuple(document["tools"]),
        tags=tuple(document["tags"]),
        cluster=document["cluster"],
        source=document["source"],
        variables=document.get("variables"),
    )


def _name(path: Path) -> str:
    """A file's name in the store. The end of a very long path is what tells it from others."""
    return str(path.resolve())[-500:]


def _next_name(path: Path) -> str:
    """`v1.jsonl` gives `v2.jsonl`, `cases.jsonl` gives `cases-v2.jsonl`."""
    head = path.stem.rstrip("0123456789")
    number = path.stem[len(head) :]
    stem = f"{head}{int(number) + 1}" if number else f"{path.stem}-v2"
    return stem + path.suffix
