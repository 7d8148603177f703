"""The playground: one prompt on several deployments, side by side."""

from __future__ import annotations

from changeover.console.routes import Page

PAGES: tuple[Page, ...] = ()
