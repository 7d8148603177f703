"""The library: what models exist, what may be done with each, where it runs."""

from __future__ import annotations

from changeover.console.areas.library.card import card, replaces, scores
from changeover.console.areas.library.finding import library, results
from changeover.console.areas.library.over_all import coverage, timeline
from changeover.console.routes import Page

PAGES: tuple[Page, ...] = (
    Page(path="/library", endpoint=library, right="look"),
    Page(path="/library/part", endpoint=results, right="look"),
    Page(path="/library/timeline", endpoint=timeline, right="look"),
    Page(path="/library/coverage", endpoint=coverage, right="look"),
    Page(path="/library/{card}", endpoint=card, right="look"),
    Page(path="/library/{card}/scores", endpoint=scores, right="look"),
    Page(path="/library/{card}/replaces", endpoint=replaces, right="look"),
)
