"""What the embedded engine takes of a machine's memory beside weights and context. `serving.memory` counts by it too."""

from __future__ import annotations

from typing import Final

from changeover.core.sizes import MIB

SAFETY: Final = 1.1
"""On top of an estimate. A measurement needs none: it was taken of the engine at work."""
PROCESS_BYTES: Final = 192 * MIB
"""Its code, and what it computes in."""
PROMPTS_BYTES: Final = 256 * MIB
"""Prompts that it keeps beside its slots: `cache_ram_mib` of `serving.backends`."""


def estimate(weights: int, context: int) -> int:
    """Bytes of an embedded engine that was never measured."""
    return round(SAFETY * (weights + context + PROCESS_BYTES + PROMPTS_BYTES))
