"""Stores with the schema and nothing in them: on SQLite, copies of one that was migrated once."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from changeover.store.engine import Store
from changeover.store.migrate import migrate


def made(url: str) -> Store:
    """Open a database that is empty, or a SQLite file that is not there yet, with this code's schema.

    As after `changeover.store.migrate`, of which `tests/unit/store` is about; on SQLite without its time.
    """
    store = Store.connect(url)
    file = _file(store)
    if file is None:
        migrate(store)
    elif not file.exists():
        file.write_bytes(_migrated())
    return store


def lay(url: str) -> None:
    """Put an empty store where a project on SQLite has none yet. Elsewhere nothing: opening the project makes it."""
    store = Store.connect(url)
    file = _file(store)
    store.close()
    if file is not None and not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_bytes(_migrated())


def _file(store: Store) -> Path | None:
    url = store.engine.url
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "empty.db"
        store = Store.connect(f"sqlite:///{file}")
        migrate(store)
        store.close()  # the last connection brings the write-ahead log home
        return file.read_bytes()
