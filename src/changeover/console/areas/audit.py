"""Who did what, when, and why."""

from __future__ import annotations

from changeover.console.routes import Page

PAGES: tuple[Page, ...] = ()
