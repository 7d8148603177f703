"""Bringing a database to this code's schema."""

from __future__ import annotations

import importlib

from changeover.core.errors import StoreError
from changeover.store.engine import Store
from changeover.store.schema import REVISION

STEPS = "changeover.store.upgrade"
"""Loaded at a first start and after an upgrade: Alembic takes 11 MB, which a gateway would keep for as long as it runs."""


def migrate(store: Store, to: str = REVISION) -> bool:
    """Upgrade the store to this code's schema, or to an earlier one; True if anything was done.

    Raises:
        StoreError: The store is newer than this code, or there is no such schema.
    """
    found = store.revision()
    if found == to:
        return False
    if found is not None and found > REVISION:
        raise StoreError(
            f"The store has schema `{found}`, newer than this changeover's `{REVISION}`. Upgrade changeover."
        )
    importlib.import_module(STEPS).upgrade(store, found, to)
    return True
