"""What a process that serves does once all is there that stays to its end."""

from __future__ import annotations

import gc


def settle_in() -> None:
    """What lives until the end is not looked at again by the collector: that would cost a tenth of the speed."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
