"""A project opened to look at it: one that was never started has nothing in its store yet, and that is no error."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from changeover.app.installation import Installation, open_installation, problems_of, read_declarations, was_started
from changeover.core.clock import SystemClock
from changeover.core.settings import Project
from changeover.library.licences.policy import load_policy
from changeover.store.engine import Store
from changeover.store.schema import metadata

NOWHERE = "sqlite://"
"""A database in memory, gone when it is closed."""


@contextmanager
def opened_to_look(project: Project) -> Generator[Installation]:
    """The project, started or not; nothing of it is changed or made.

    Raises:
        ConfigError: A card or the policy is wrong.
        StoreError: The store cannot be used, or is of another version.
    """
    if was_started(project):
        installation = open_installation(project)
    else:
        catalogue, tasks, tools = read_declarations(project)
        store = Store.connect(NOWHERE)
        metadata.create_all(store.engine)
        problems, policy = problems_of(tasks, tools), load_policy(project.policy)
        installation = Installation(project, store, catalogue, tasks, SystemClock(), policy, problems, tools)
    try:
        yield installation
    finally:
        installation.store.close()
