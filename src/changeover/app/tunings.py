"""What was found by tuning models on this machine: threads that a deployment gets where nobody named any. Read, not measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from changeover.app.installation import Installation
from changeover.serving.queries import Deployment, tunings_on
from changeover.serving.tuned import KeptTuning, this_machine

Tunings = Mapping[tuple[str, str], KeptTuning]
"""By model and kind of engine."""


def tunings_here(installation: Installation, connection: Connection) -> Tunings:
    """What new deployments get; nothing where the project itself names threads."""
    return {} if installation.project.settings.engines.threads is not None else tunings_on(connection, this_machine())


def tuned_options(tunings: Tunings, model: str, backend: str) -> Mapping[str, int]:
    """Options that were found best for a model; empty where nobody measured it."""
    found = tunings.get((model, backend))
    return {} if found is None else {"threads": found.tuning.threads}


def threads_of(row: Deployment, tunings: Tunings) -> str | None:
    """The threads of a deployment that is there, and since when they are known to be best; None where nobody chose any."""
    return threads_in(row.options, tunings.get((row.model, row.backend)))


def threads_in(options: Mapping[str, Any], found: KeptTuning | None) -> str | None:
    """The threads that options name, in words: `1, tuned 2026-11-30`."""
    threads = options.get("threads")
    if threads is None:
        return None
    return f"{threads}, {found.says}" if found is not None and found.tuning.threads == threads else str(threads)
