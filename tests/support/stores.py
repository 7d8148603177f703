"""Stores with the schema and nothing in them: on SQLite, copies of one that was migrated once."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy.engine import make_url

from changeover.store.engine import Store
from changeover.store.migrate import migrate


def made(url: str) -> Store:
    """Open a database that is empty, or not there yet, with this code's schema: as after `changeover.store.migrate`."""
    lay(url)
    store = Store.connect(url)
    migrate(store)
    return store


def lay(url: str) -> None:
    """Put an empty store where there is no SQLite file yet. Elsewhere nothing: whoever opens it migrates."""
    address = make_url(url)
    if address.get_backend_name() != "sqlite" or not address.database:
        return
    file = Path(address.database)
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_bytes(_migrated())


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "empty.db"
        store = Store.connect(f"sqlite:///{file}")
        migrate(store)
        store.close()  # the last connection brings the write-ahead log home
        return file.read_bytes()
