"""Many tasks decided at once: e-BH keeps the share of wrong discoveries low, however the tasks depend on each other.

Source: Wang & Ramdas 2022, "False discovery rate control with e-values", doi:10.1111/rssb.12489.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

RATE = 0.10


def e_bh(e_values: Mapping[str, float], rate: float = RATE) -> set[str]:
    """Which null hypotheses are rejected so that at most `rate` of the rejected ones are expected to be true.

    It holds under any dependence, such as tasks that share their models, their judge or their samples.

    Args:
        e_values: By name, one for each task that was compared, the undecided too: e-values *where each comparison
            stopped*, such as `Evidence.no_worse`. Never `Evidence.peak`: the largest value on the way is picked with
            hindsight. The chance that it ever reaches 1/a is still at most a, but its mean under the null exceeds 1,
            and the mean is what this rests on.
        rate: Expected share of wrong discoveries, above 0 and below 1.

    Raises:
        ValueError: An e-value is negative or not a number, or the rate is impossible.
    """
    if not 0.0 < rate < 1.0:
        raise ValueError(f"`rate` is `{rate}`; it must lie above 0 and below 1.")
    return {name for name, needed in discovery_rates(e_values).items() if needed <= rate}


def discovery_rates(e_values: Mapping[str, float]) -> dict[str, float]:
    """The smallest rate at which e-BH would count each among its discoveries; above 1 it never would.

    With K e-values sorted from the largest, the k-th is rejected where K / (k' e_k') is small enough for some k' >= k.
    """
    for name, value in e_values.items():
        if not value >= 0.0:
            raise ValueError(f"The e-value of `{name}` is `{value}`; it must be 0 or more.")
    ordered = sorted(e_values, key=lambda name: e_values[name])
    rates: dict[str, float] = {}
    least = math.inf
    for fewer, name in enumerate(ordered):  # from the smallest: all K - fewer that are not smaller go together
        value = e_values[name]
        share = len(ordered) / ((len(ordered) - fewer) * value) if value else math.inf
        least = min(least, share)
        rates[name] = least
    return {name: rates[name] for name in e_values}
