"""Puts together what answers for tools in a gateway. Brings in every library that tools need, so it is loaded late."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from changeover.core.clock import Clock
from changeover.core.settings import JobSettings
from changeover.gateway.admit import Admission
from changeover.gateway.door import Door
from changeover.gateway.keys import Keyring
from changeover.store.engine import Store
from changeover.tasks.declarations import Task
from changeover.tools.access import Keys
from changeover.tools.confine import left_open, offered
from changeover.tools.declarations import Tools
from changeover.tools.desk import Desk
from changeover.tools.documents.processes import Readers
from changeover.tools.jobs import Jobs
from changeover.tools.runs import Runs, Told

log = logging.getLogger(__name__)

COMPUTING = 2
"""Threads in which tools search, cite and check: what they do holds the interpreter, and more would only hold up others."""


def make_desk(
    *,
    door: Door,
    store: Store,
    clock: Clock,
    settings: JobSettings,
    keyring: Keyring,
    tools: Callable[[], Tools],
    tasks: Callable[[], Mapping[str, Task]],
    cache: Path,
    places: Admission,
    told: Told,
) -> Desk:
    """Make the desk of a gateway, with its readers and its jobs. Nothing of it runs yet.

    Args:
        door: What tools ask tasks through.
        store: Where jobs are.
        clock: Says what is over.
        settings: How much at once, and how long results are kept.
        keyring: The keys as they are now.
        tools: The tools as they were applied last.
        tasks: The tasks as they were applied last.
        cache: Directory for what is looked up.
        places: How many run at once.
        told: Counts runs.
    """
    if left := left_open(offered()):
        log.warning("tools: this kernel does not keep functions and readers of files from %s", " and ".join(left))
    keys = Keys(keyring, store, clock)
    reader = Readers(settings.readers, settings.reader_memory_mib)
    runs = Runs(
        door=door,
        reader=reader,
        tasks=tasks,
        key=keys.now,
        cache=cache,
        places=places,
        told=told,
        clock=clock,
        pool=ThreadPoolExecutor(COMPUTING, "tools"),
    )
    jobs = Jobs(store=store, clock=clock, settings=settings, runs=runs, tools=tools, keys=keys)
    return Desk(tools=tools, runs=runs, jobs=jobs)
