"""What was asked and what it cost, by team, task and deployment."""

from __future__ import annotations

from changeover.console.routes import Page

PAGES: tuple[Page, ...] = ()
