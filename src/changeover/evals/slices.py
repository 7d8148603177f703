"""Slices: the same difference, for the samples with one tag."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean, pvariance

from changeover.evals.report.record import Slice
from changeover.evals.sequential import TestPlan, detectable_loss
from changeover.evals.weighing import Weighing

Row = tuple[Sequence[str], float, float, str | None]
"""Tags, the incumbent's score, the candidate's, cluster."""


def slices_of(rows: Sequence[Row], *, alpha: float, beta: float) -> tuple[Slice, ...]:
    """The slices by tag, largest first.

    Each has the interval that it would have alone: of twenty slices, one may miss by chance.

    Args:
        rows: Usable samples in drawn order.
        alpha: The comparison's error rate, for the loss that a slice could show.
        beta: Likewise.
    """
    by_tag: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        for tag in dict.fromkeys(row[0]):
            by_tag[tag].append(row)
    slices = [_slice(tag, members, alpha, beta) for tag, members in by_tag.items()]
    return tuple(sorted(slices, key=lambda each: (-each.samples, each.tag)))


def _slice(tag: str, rows: Sequence[Row], alpha: float, beta: float) -> Slice:
    weighing = Weighing(TestPlan(margin=0.5))  # only its observations and its interval are read
    for _, incumbent, candidate, cluster in rows:
        weighing.add(candidate - incumbent, cluster)
    weighing.close_cluster()
    spread = pvariance(weighing.differences)
    return Slice(
        tag=tag,
        samples=len(rows),
        incumbent_score=fmean(row[1] for row in rows),
        candidate_score=fmean(row[2] for row in rows),
        difference=fmean(weighing.differences),
        low=weighing.interval.low,
        high=weighing.interval.high,
        detectable_loss=detectable_loss(spread, len(weighing.differences), alpha, beta) if spread else None,
    )
