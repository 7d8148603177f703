"""An evidence pack is written: into a draft beside its place, whole, signed, and only then moved there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from changeover import __version__
from changeover.core.digest import canonical_json, sha256_file
from changeover.core.errors import ConfigError
from changeover.rollouts.decide import Rollout
from changeover.rollouts.pack import records
from changeover.rollouts.pack.collect import Asking, Collector
from changeover.rollouts.pack.files import Files
from changeover.rollouts.pack.records import Listed, Manifest
from changeover.rollouts.pack.report import to_html
from changeover.rollouts.pack.sign import public_pem


def check_free(directory: Path) -> None:
    """Refuse a place where something is.

    Raises:
        ConfigError: It is a file, or a directory that is not empty.
    """
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        raise ConfigError(f"`{directory}` is no directory. Name one that is not there yet: `--out`.")
    if directory.exists() and any(directory.iterdir()):
        raise ConfigError(f"`{directory}` is not empty, and nothing is written over. Name another: `--out`.")


def write_pack(
    connection: Connection, rollout: Rollout, asking: Asking, key: Ed25519PrivateKey, directory: Path
) -> Manifest:
    """Write everything that allowed a rollout into a new directory, signed.

    Raises:
        ConfigError: Something is there already.
        GateError: The comparison that the rollout names is gone.
    """
    directory = directory.absolute()
    check_free(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    draft = directory.with_name(f".{directory.name}.{os.getpid()}")
    draft.mkdir(mode=0o700)
    try:
        manifest = _write(connection, rollout, asking, key, draft)
        draft.chmod(0o755)
        draft.replace(directory)
    except BaseException:
        shutil.rmtree(draft)
        raise
    return manifest


def _write(connection: Connection, rollout: Rollout, asking: Asking, key: Ed25519PrivateKey, draft: Path) -> Manifest:
    collector = Collector.of(connection, rollout, asking)
    for name, values in collector.lines():
        _write_lines(draft / name, values)
    for name, value in collector.documents():
        (draft / name).write_bytes(_canonical(value) + b"\n")
    (draft / records.REPORT).write_text(to_html(Files(draft)), encoding="utf-8")
    (draft / records.PUBLIC_KEY).write_bytes(public_pem(key.public_key()))
    manifest = Manifest(
        format=records.FORMAT,
        changeover=__version__,
        rollout=rollout.id,
        task=rollout.task,
        created_at=asking.now,
        files={
            name: Listed(sha256=sha256_file(draft / name), bytes=(draft / name).stat().st_size)
            for name in records.LISTED
        },
    )
    text = _canonical(manifest)
    (draft / records.MANIFEST).write_bytes(text)
    (draft / records.SIGNATURE).write_bytes(key.sign(text))
    return manifest


def _write_lines(file: Path, values: Iterable[Any]) -> None:
    with file.open("wb") as out:
        out.writelines(_canonical(value) + b"\n" for value in values)


def _canonical(value: Any) -> bytes:
    return canonical_json(msgspec.to_builtins(value)).encode()
