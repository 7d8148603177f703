"""Whether a model under somebody else's name still answers as it did: evidence from counts of changed answers alone.

A few pinned samples are asked again and again. Each answer is compared with the first one to the same sample. While the
model stays what it was, answers of later looks differ from the first ones as often as those of the second asking do,
whatever that is for each sample: chance is not the same thing as change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CHECKS_A_YEAR = 365
FALSE_ALARMS_A_YEAR = 0.01
ALARM_AT = CHECKS_A_YEAR / FALSE_ALARMS_A_YEAR
"""Evidence at which it counts as another model. See `changed_evidence`."""

USUAL = (0.2, 1.0)
"""Beta prior of how often an unchanged model differs from itself: most hardly do."""
CHANGED = (1.0, 1.0)
"""Of how often a changed one does: anything."""


@dataclass(frozen=True)
class Look:
    """One look at the pinned samples."""

    changed: int
    """Answers that are not the first one to their sample."""
    pairs: int
    """Samples that were compared."""


def changed_evidence(looks: Sequence[Look]) -> float:
    """How much speaks for a change at one of the looks after the first, as the sum of e-values over all of them.

    The chance that this reaches c within the first T looks is at most T / c while nothing changes, whenever one looks:
    each e-value is a mixture of products over "rate p before, rate q after", divided by the likelihood of the one rate
    that explains everything best (universal inference: Wasserman, Ramdas & Balakrishnan 2020, doi:10.1073/pnas.1922664117),
    which is at least that of the true mean rate; against that, every product has mean at most 1 by the inequality of
    means, although samples differ in how often they vary; and T of them that start with capital 1 have T together. With
    `ALARM_AT` that is 1 % in 365 looks.

    Args:
        looks: In order; the first is the second asking of the baseline.
    """
    changed, pairs = sum(look.changed for look in looks), sum(look.pairs for look in looks)
    best = _best(changed, pairs)
    before_changed, before_pairs = 0, 0
    total = 0.0
    for look in looks[:-1]:
        before_changed += look.changed
        before_pairs += look.pairs
        after_changed, after_pairs = changed - before_changed, pairs - before_pairs
        # Only what has become more frequent is of interest; to leave out the rest lowers the sum and nothing else.
        if after_changed * before_pairs > before_changed * after_pairs:
            usual = _mixture(USUAL, before_changed, before_pairs)
            other = _mixture(CHANGED, after_changed, after_pairs)
            total += math.exp(min(usual + other - best, 700.0))
    return total


def _mixture(prior: tuple[float, float], changed: int, pairs: int) -> float:
    """Logarithm of the likelihood of a sequence, averaged over a beta prior of the rate."""
    a, b = prior
    return _log_beta(a + changed, b + pairs - changed) - _log_beta(a, b)


def _best(changed: int, pairs: int) -> float:
    """Logarithm of the largest likelihood that one rate can give."""
    same = pairs - changed
    return sum(count * math.log(count / pairs) for count in (changed, same) if count)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
