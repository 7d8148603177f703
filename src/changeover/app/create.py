"""Making a project's store, or bringing it to this code's schema: what only the running system does."""

from __future__ import annotations

from changeover.app.installation import Installation, read_declarations
from changeover.app.local import make_private
from changeover.core.clock import SystemClock
from changeover.core.settings import Project
from changeover.store.engine import Store
from changeover.store.migrate import migrate


def create_installation(project: Project) -> Installation:
    """Open a project; its store is made or migrated where needed.

    Raises:
        ConfigError: A declaration is wrong, or names a model, dataset or scorer that does not exist.
        StoreError: The store cannot be used, or a newer version of this code wrote it.
    """
    catalogue, tasks = read_declarations(project)
    make_private(project.state)
    store = Store.connect(project.store_url)
    migrate(store)
    return Installation(project, store, catalogue, tasks, SystemClock())
