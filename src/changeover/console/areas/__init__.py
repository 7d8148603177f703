"""The parts of the console, a file each: the pages of one subject, and what their forms do."""

from __future__ import annotations

from changeover.console.areas import (
    audit,
    comparisons,
    deployments,
    keys,
    library,
    lock_in,
    measuring,
    playground,
    rollouts,
    tasks,
    tools,
    trials,
    usage,
)
from changeover.console.routes import Page

AREAS: tuple[tuple[Page, ...], ...] = (
    tasks.PAGES,
    rollouts.PAGES,
    comparisons.PAGES,
    trials.PAGES,
    measuring.PAGES,
    library.PAGES,
    deployments.PAGES,
    lock_in.PAGES,
    tools.PAGES,
    playground.PAGES,
    usage.PAGES,
    keys.PAGES,
    audit.PAGES,
)
"""The pages of each."""
