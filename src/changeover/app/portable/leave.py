"""Export: every table as JSON lines and every declaration as it is, with a signed list of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from changeover import __version__
from changeover.app.installation import Installation
from changeover.app.portable.archive import Sink, writing
from changeover.app.portable.files import belongings_of, portable_settings
from changeover.app.portable.manifest import (
    DECLARATIONS,
    FORMAT,
    MANIFEST,
    PUBLIC_KEY,
    SIGNATURE,
    Listed,
    Manifest,
    Table,
    table_file,
)
from changeover.app.portable.queries import Shape, rows_of, shapes
from changeover.core.digest import BLOCK_BYTES, canonical_json
from changeover.core.errors import ConfigError
from changeover.core.settings import SETTINGS_FILE
from changeover.rollouts.pack.collect import without_words
from changeover.rollouts.pack.sign import public_pem
from changeover.store.schema import REVISION

Row = dict[str, Any]
ABSENT: Final = "left out of the export"
"""In place of an answer's text. It stands where a failure does: then no later comparison takes the empty text for it."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What kind of export is wanted."""

    content: bool = True
    """With the texts of requests and answers."""
    keys: bool = False
    """With the digests of API keys. A secret cannot be found from one; whoever has the secret gets in there too."""


def leave(installation: Installation, place: Path, asking: Asking, key: Ed25519PrivateKey) -> Manifest:
    """Write everything into a new directory, or into a new file whose name ends with `.zip`.

    All rows are of one moment, whatever goes on meanwhile. Memory does not grow with their number.

    Raises:
        ConfigError: Something is there already, or cannot be written.
        StoreError: The store cannot be read.
    """
    now = installation.clock.now()
    belongings = belongings_of(installation.project, installation.tasks)
    settings = portable_settings(installation.project)
    files: dict[str, Listed] = {}
    tables: list[Table] = []
    with writing(place) as sink:
        with installation.store.read() as connection:
            for shape in shapes():
                change = _change(shape.name, asking, installation.project.root.resolve(), now)
                listed, rows = _write_table(sink, connection, shape, change)
                files[table_file(shape.name)] = listed
                tables.append(Table(name=shape.name, rows=rows, columns=dict(shape.columns)))
        with sink.file(f"{DECLARATIONS}{SETTINGS_FILE}") as out:
            out.write(settings)
        files[f"{DECLARATIONS}{SETTINGS_FILE}"] = out.listed()
        for name, path in belongings.files.items():
            files[f"{DECLARATIONS}{name}"] = _copy(sink, f"{DECLARATIONS}{name}", path)
        manifest = Manifest(
            format=FORMAT,
            changeover=__version__,
            schema=REVISION,
            project=installation.project.settings.name,
            created_at=now,
            content=asking.content,
            keys=asking.keys,
            tables=tables,
            files=files,
            outside=list(belongings.outside),
        )
        text = manifest.text()
        for name, content in (
            (MANIFEST, text),
            (SIGNATURE, key.sign(text)),
            (PUBLIC_KEY, public_pem(key.public_key())),
        ):
            with sink.file(name) as out:
                out.write(content)
    return manifest


def _write_table(sink: Sink, connection: Connection, shape: Shape, change: Callable[[Row], Row]) -> tuple[Listed, int]:
    number = 0
    with sink.file(table_file(shape.name)) as out, closing(rows_of(connection, shape.name)) as rows:
        for row in rows:
            number += 1
            try:
                out.write(canonical_json(change(row)).encode() + b"\n")
            except ValueError as exc:
                raise ConfigError(f"Row {number} of `{shape.name}` has no JSON form: {exc}.") from exc
    return out.listed(), number


def _copy(sink: Sink, name: str, path: Path) -> Listed:
    with sink.file(name) as out, path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            out.write(block)
    return out.listed()


def _change(name: str, asking: Asking, root: Path, now: datetime) -> Callable[[Row], Row]:
    """What is different of a table's rows in an export."""
    changes: list[Callable[[Row], Row]] = []
    if name == "dataset_versions":
        changes.append(lambda row: {**row, "path": _below(row["path"], root)})
    if name in _OF_THIS_MACHINE:
        changes.append(_OF_THIS_MACHINE[name])
    if name == "keys" and not asking.keys:
        changes.append(lambda row: _useless(row, now))
    if not asking.content and name in _WITHOUT_CONTENT:
        changes.append(_WITHOUT_CONTENT[name])

    def changed(row: Row) -> Row:
        for change in changes:
            row = change(row)
        return row

    return changed


def _below(path: str, root: Path) -> str:
    """A path as another machine has it, if it lies in the project."""
    return Path(path).relative_to(root).as_posix() if Path(path).is_relative_to(root) else path


def _useless(row: Row, now: datetime) -> Row:
    """A key that opens nothing: its name, role and limits stay, for who reads records and usage."""
    return {**row, "digest": f"none {row['id']}", "revoked_at": row.get("revoked_at", now.isoformat())}


def _without(row: Row, *keys: str) -> Row:
    return {key: value for key, value in row.items() if key not in keys}


def _without_error(row: Row) -> Row:
    return {**row, "error": ABSENT} if "error" in row else row


def _exchange(row: Row) -> Row:
    told = _without(row, "request", "response")
    return told if len(told) == len(row) else {**told, "content": "none"}


def _answer(row: Row) -> Row:
    return {**_without(row, "text", "tool_calls"), "error": ABSENT}


def _comparison(row: Row) -> Row:
    summary: Mapping[str, Any] | None = row.get("summary")
    if not summary or summary.get("stopped") is None:
        return row
    # After the colon it repeats what a scorer said, who may have repeated an answer.
    return {**row, "summary": {**summary, "stopped": str(summary["stopped"]).partition(":")[0]}}


_OF_THIS_MACHINE: Mapping[str, Callable[[Row], Row]] = {
    "deployments": lambda row: _without(row, "address", "pid"),
    "spending": lambda row: {**row, "leased": 0},
}
"""What is true only where the export was made."""

_WITHOUT_CONTENT: Mapping[str, Callable[[Row], Row]] = {
    "exchanges": _exchange,
    "answers": _answer,
    "scores": lambda row: _without_error({**row, "detail": {}}),
    "comparisons": _comparison,
    "comparison_samples": lambda row: {**row, "detail": without_words(row["detail"])},
    "shadow_scores": _without_error,
    "feedback": lambda row: _without(row, "comment"),
}
