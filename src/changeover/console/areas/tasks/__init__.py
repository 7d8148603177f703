"""Tasks: who answers each, how well, and what needs a person; and each task with everything that is known of it."""

from __future__ import annotations

from changeover.console.areas.tasks import deeds, details, live, overview, recorded
from changeover.console.routes import Page

PAGES = (
    Page(path="/tasks", endpoint=overview.tasks, right="look"),
    Page(path="/tasks-events", endpoint=overview.events, right="look"),
    Page(path="/tasks/{task}", endpoint=details.overview, right="look"),
    Page(path="/tasks/{task}/history", endpoint=details.history, right="look"),
    Page(path="/tasks/{task}/variants", endpoint=details.variants, right="look"),
    Page(path="/tasks/{task}/contract", endpoint=details.contract, right="look"),
    Page(path="/tasks/{task}/results", endpoint=details.results, right="look"),
    Page(path="/tasks/{task}/dataset", endpoint=recorded.dataset, right="look"),
    Page(path="/tasks/{task}/exchanges", endpoint=recorded.exchanges, right="look"),
    Page(path="/tasks/{task}/exchanges/{exchange}", endpoint=recorded.exchange, right="look"),
    Page(path="/tasks/{task}/live", endpoint=live.part, right="look"),
    Page(path="/tasks/{task}/events", endpoint=live.events, right="look"),
    Page(path="/tasks/{task}/switch", endpoint=deeds.choose, right="operate"),
    Page(path="/tasks/{task}/switch", endpoint=deeds.switch, right="operate", methods=("POST",)),
    Page(path="/tasks/{task}/rollback", endpoint=deeds.rollback, right="operate", methods=("POST",)),
)
