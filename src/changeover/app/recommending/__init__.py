"""Which model to try next for a task, and why: requirements first, then what could run, then what is not beaten."""

from __future__ import annotations

from changeover.app.recommending.choices import Choice, Shortlist
from changeover.app.recommending.shortlist import recommend

__all__ = ["Choice", "Shortlist", "recommend"]
