"""What a word counts for in a text, by how few of the texts have it and how often this one does (BM25)."""

from __future__ import annotations

import math
from typing import Final

SATURATION: Final = 1.2
"""How soon more of the same word counts for nothing (k1 of BM25)."""
LENGTH: Final = 0.5
"""How far a text that says a lot is held to have said each thing by chance (b of BM25)."""


def weight(often: float, known_by: int, of: int, length: float) -> float:
    """What a word counts for in one text.

    Args:
        often: How often the text has it.
        known_by: How many texts have it.
        of: How many there are.
        length: Of the text, in average lengths.
    """
    if not often:
        return 0.0
    rarity = math.log(1 + (of - known_by + 0.5) / (known_by + 0.5))
    return rarity * often * (SATURATION + 1) / (often + SATURATION * (1 - LENGTH + LENGTH * length))
