"""What ties the organisation to a model, an engine or a vendor."""

from __future__ import annotations

from changeover.console.routes import Page

PAGES: tuple[Page, ...] = ()
