"""Rollouts: each step as it happens, its evidence and guards, and the deeds that steer it."""

from __future__ import annotations

from changeover.console.routes import Page

PAGES: tuple[Page, ...] = ()
