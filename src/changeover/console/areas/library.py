"""The library: what models exist, what may be done with each, where it runs."""

from __future__ import annotations

from changeover.console.routes import Page

PAGES: tuple[Page, ...] = ()
