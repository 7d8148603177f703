"""Exports that somebody wrote by hand, signed with a key of theirs: each is refused with a sentence, and nothing is left of it."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.projects import open_written, write_project

from changeover.app.portable.archive import writing
from changeover.app.portable.arrive import arrive_in_new, checked
from changeover.app.portable.leave import Asking, leave
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
from changeover.app.portable.queries import shapes
from changeover.core.errors import ConfigError
from changeover.rollouts.pack.sign import public_pem
from changeover.store.schema import REVISION

AT = "2026-01-01T00:00:00+00:00"


def written(place: Path, rows: Mapping[str, Sequence[bytes]], settings: str = 'name = "theirs"\n') -> Path:
    """An export that keeps every rule of its form, with rows and settings of somebody's choice."""
    key = Ed25519PrivateKey.generate()
    files: dict[str, Listed] = {}
    tables: list[Table] = []
    with writing(place) as sink:
        for shape in shapes():
            lines = rows.get(shape.name, ())
            with sink.file(table_file(shape.name)) as out:
                out.write(b"".join(line + b"\n" for line in lines))
            files[table_file(shape.name)] = out.listed()
            tables.append(Table(name=shape.name, rows=len(lines), columns=dict(shape.columns)))
        with sink.file(f"{DECLARATIONS}changeover.toml") as out:
            out.write(settings.encode())
        files[f"{DECLARATIONS}changeover.toml"] = out.listed()
        text = Manifest(
            format=FORMAT,
            changeover="1",
            schema=REVISION,
            project="theirs",
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            content=True,
            keys=True,
            tables=tables,
            files=files,
            outside=[],
        ).text()
        for name, content in (
            (MANIFEST, text),
            (SIGNATURE, key.sign(text)),
            (PUBLIC_KEY, public_pem(key.public_key())),
        ):
            with sink.file(name) as out:
                out.write(content)
    return place


def observed(**values: Any) -> bytes:
    row = {"id": 1, "card": "c", "fact": "f", "value": 1, "source": "s", "locator": "l", "grade": "vendor"}
    return json.dumps({**row, "seen_at": AT, "confirmed_at": AT, **values}).encode()


def bring(place: Path, into: Path) -> None:
    with checked(place, None) as (archive, manifest):
        arrive_in_new(archive, manifest, into)


def test_an_export_made_by_hand_that_keeps_the_rules_arrives(tmp_path: Path) -> None:
    bring(written(tmp_path / "export", {"observations": [observed()]}), tmp_path / "there")
    assert (tmp_path / "there" / "changeover.toml").is_file()


@pytest.mark.parametrize("name", ["export", "export.zip"])
def test_what_another_process_of_this_number_left_is_neither_used_nor_removed(tmp_path: Path, name: str) -> None:
    theirs = [tmp_path / f".{each}.{os.getpid()}" for each in (name, "there")]
    for each in theirs:
        each.mkdir()
        (each / "rows").write_text("theirs")
    bring(written(tmp_path / name, {"observations": [observed()]}), tmp_path / "there")
    assert all((each / "rows").is_file() for each in theirs)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (observed(id=1 << 70), "`id` has more than 64 bits"),
        (observed(seen_at="0001-01-01T00:00:00+14:00"), "`seen_at` is no time"),
        (observed(seen_at="2026-01-01T00:00:00"), "`seen_at` is no time"),
        (b'{"value": "\xff\xfe"}', "row 1 is no JSON object"),
        (b'{"value": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "row 1 is no JSON object"),
    ],
)
def test_a_row_that_no_table_can_hold_is_refused_by_its_number(tmp_path: Path, row: bytes, says: str) -> None:
    place = written(tmp_path / "export", {"observations": [row]})
    with pytest.raises(ConfigError, match=says):
        bring(place, tmp_path / "there")
    assert [each.name for each in tmp_path.iterdir()] == ["export"]


def test_an_export_cannot_have_its_rows_written_into_a_store_of_its_choice(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    settings = f'name = "theirs"\n[store]\nurl = "sqlite:///{elsewhere}"\n'
    place = written(tmp_path / "export", {"observations": [observed()]}, settings)
    with pytest.raises(ConfigError, match="names a store"):
        bring(place, tmp_path / "there")
    assert [each.name for each in tmp_path.iterdir()] == ["export"]


def test_a_zip_file_damaged_anywhere_is_refused_with_a_sentence(tmp_path: Path) -> None:
    rows = [observed(id=number, value=f"{number}" * 40) for number in range(1, 50)]
    whole = written(tmp_path / "export.zip", {"observations": rows}).read_bytes()
    chance = random.Random(1)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for place in chance.choices(range(len(whole)), k=3):
            damaged[place] ^= chance.randrange(1, 256)
        (tmp_path / "damaged.zip").write_bytes(damaged)
        try:
            with checked(tmp_path / "damaged.zip", None):
                pass
        except ConfigError:
            refused += 1
    assert refused > 100


def test_a_sentence_in_a_task_that_is_too_long_for_a_name_does_not_stop_the_export(tmp_path: Path) -> None:
    project = write_project(tmp_path / "here")
    task = project / "tasks" / "echo.toml"
    task.write_text(re.sub("^description = .*", f'description = "{"w" * 300}"', task.read_text(), flags=re.MULTILINE))
    installation = open_written(project)
    try:
        leave(installation, tmp_path / "export", Asking(), Ed25519PrivateKey.generate())
    finally:
        installation.store.close()
    assert (tmp_path / "export" / "declarations" / "tasks" / "echo.toml").is_file()
