"""Comparisons: the verdict, what it was made from, and every sample."""

from __future__ import annotations

from changeover.console.routes import Page

PAGES: tuple[Page, ...] = ()
