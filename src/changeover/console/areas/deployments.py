"""Deployments: what runs, in how much memory, and what it says in its log."""

from __future__ import annotations

from changeover.console.routes import Page

PAGES: tuple[Page, ...] = ()
