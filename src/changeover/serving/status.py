"""What is seen of a deployment: written by its keeper, read by whoever shows it, counts it or decides on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

State = Literal["starting", "ready", "restarting", "idle", "failed", "stopped"]

REFUSES_KEY: Final = "refuses its key"
REFUSED: Final = "refused its first answer"
"""Each begins what is said of a server of somebody else's that will not answer us as we ask: waiting changes little."""


@dataclass(frozen=True, kw_only=True)
class DeploymentStatus:
    """What a person sees of a deployment."""

    name: str
    state: State
    detail: str
    """Why it is in this state, or how far its start has come; empty when there is nothing to say."""
    address: str | None
    pid: int | None
    started_at: datetime | None
    """When the present process became ready."""
    restarts: int
    """Since somebody last asked for the deployment. One that was unloaded and woken again is none."""
    memory_bytes: int | None
    """Resident memory of its process and of all that this has started."""


def is_refusal(detail: str) -> bool:
    """Whether a deployment's detail says that its server will not answer us: by the key, or the model's name."""
    return detail.startswith((REFUSES_KEY, REFUSED))
