"""How tied this installation is to what answers now, and what leaving would cost, task by task."""

from __future__ import annotations

from changeover.app.lockin.answers import Report
from changeover.app.lockin.report import lockin

__all__ = ["Report", "lockin"]
