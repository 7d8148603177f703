"""Making a project's store, or bringing it to this code's schema: what only the running system does."""

from __future__ import annotations

from changeover.app.installation import Installation, problems_of, read_declarations, read_tools
from changeover.app.local import make_private
from changeover.core.clock import SystemClock
from changeover.core.errors import ConfigError
from changeover.core.settings import Project
from changeover.library.catalogue import Catalogue
from changeover.library.licences.policy import load_policy
from changeover.store.engine import Store
from changeover.store.migrate import migrate
from changeover.tasks.applied import newest_applied, tasks_of


def create_installation(project: Project) -> Installation:
    """Open a project; its store is made or migrated where needed.

    Where a declaration is broken, everything is as it was applied last, and `problems` says why.

    Raises:
        ConfigError: A declaration is wrong, or names a model, dataset or scorer that does not exist; and nothing was
            ever applied.
        StoreError: The store cannot be used, or a newer version of this code wrote it.
    """
    try:
        catalogue, tasks, tools = read_declarations(project)
        policy, problems = load_policy(project.policy), problems_of(tasks, tools)
    except ConfigError as exc:
        catalogue, tasks, tools, policy, problems = Catalogue.load(), {}, read_tools(project, {}), None, (exc,)
    if problems and not project.state.is_dir():
        raise problems[0]
    make_private(project.state)
    store = Store.connect(project.store_url)
    try:
        if problems and store.revision() is None:
            raise problems[0]
        migrate(store)
        if problems:
            with store.read() as connection:
                applied = newest_applied(connection)
            if applied is None:
                raise problems[0]
            tasks = tasks_of(applied.document, project.root)
    except BaseException:
        store.close()
        raise
    return Installation(project, store, catalogue, tasks, SystemClock(), policy, problems, tools)
