"""What kind of engine a deployment has, in the few words that a table has room for."""

from __future__ import annotations

from changeover.serving.queries import Deployment


def engine_of(row: Deployment) -> str:
    """The engine's kind, and what it stands for where the kind alone says little: `ray: 2 × local`, `adapter on big`."""
    options = row.options
    if row.backend == "ray":
        least, most = options.get("replicas", 1), options.get("most_replicas")
        count = f"{least}–{most}" if most and most != least else str(least)
        return f"ray: {count} × {options.get('engine', 'local')}"
    if row.backend == "adapter":
        return f"adapter on {options.get('base', '?')}"
    return row.backend
