"""Writing down for `changeover fit` that a model fits here: what `changeover models` shows as planned."""

from __future__ import annotations

from changeover.app.installation import attach
from changeover.app.verified import note_planned
from changeover.cli.frame import note
from changeover.core.errors import StoreError
from changeover.core.settings import Project
from changeover.library.cards import Card
from changeover.library.fit import Fit


def note_fit(project: Project, card: Card, judged: Fit) -> None:
    """Keep it with what was computed. The answer stands whether or not it can be kept."""
    evidence = {
        "fit": judged.verdict,
        "hardware": judged.hardware,
        "quantisation": judged.quantisation,
        "context_tokens": judged.context_tokens,
        "concurrency": judged.concurrency,
        "needs_bytes": judged.needs_bytes,
        "has_bytes": judged.has_bytes,
        "engine": judged.engine,
    }
    try:
        installation = attach(project)
        try:
            note_planned(installation, card, evidence)
        finally:
            installation.store.close()
    except StoreError as exc:
        note(f"that it fits is not written down: {exc.message}")
