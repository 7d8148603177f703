"""Scores in drawn order become observations, and observations become evidence. A comparison and its replay share it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from changeover.evals.covariates import About, CovariateTest, Pool, sequential_test
from changeover.evals.interval import DifferenceInterval
from changeover.evals.sequential import Evidence, SequentialTest, TestPlan


class Weighing:
    """The test and the interval of one comparison.

    Both see one observation for each sample, but one for a whole cluster (its mean difference): samples of one document
    or conversation are not independent of each other.
    """

    def __init__(self, plan: TestPlan, pool: Pool | None = None, about: About = "population") -> None:
        """Begin without a sample.

        Args:
            plan: What must be shown.
            pool: What is known beforehand of every observation, in drawn order; None: nothing.
            about: What the error rates shall be about, where a pool is known; without one, always the population.
        """
        self.test: SequentialTest = sequential_test(plan, pool, about)
        self.pool = pool if isinstance(self.test, CovariateTest) else None
        """None where it is of no use."""
        self.about: About = about if self.pool is not None else "population"
        finite = len(self.pool) if self.pool is not None and self.about == "dataset" else None
        self.interval = DifferenceInterval(pool=finite)
        self.differences: list[float] = []
        """One for each observation that could be scored, candidate minus incumbent."""
        self._cluster: str | None = None
        self._waiting: list[float | None] = []
        """Differences of the samples of the cluster that is being drawn; they come one after the other."""

    @classmethod
    def from_documents(cls, plan: TestPlan, pool: Mapping[str, Any] | None) -> Weighing:
        """Begin as a comparison began, from what it kept."""
        return cls(plan) if pool is None else cls(plan, Pool.from_document(pool), pool["about"])

    def pool_document(self) -> dict[str, Any] | None:
        """What has to be kept of the pool so that this can be repeated."""
        return None if self.pool is None else {"about": self.about, **self.pool.document()}

    @property
    def evidence(self) -> Evidence:
        """What is known now."""
        return self.test.evidence

    def document(self) -> dict[str, float]:
        """What is kept after each sample, and checked by a replay."""
        evidence = self.evidence
        return {
            "observations": evidence.samples,
            "no_worse": evidence.no_worse,
            "futility": evidence.futility,
            "better": evidence.better,
            "worse": evidence.worse,
            "low": self.interval.low,
            "high": self.interval.high,
        }

    def add(self, difference: float | None, cluster: str | None) -> Evidence:
        """Count the next sample in drawn order: candidate minus incumbent, or None where it could not be scored."""
        if cluster is None or cluster != self._cluster:
            self.close_cluster()
        self._cluster = cluster
        self._waiting.append(difference)
        if cluster is None:
            self.close_cluster()
        return self.evidence

    def finish(self, *, stopped: bool) -> None:
        """End. The last cluster is whole if the samples ended with it, and not where a verdict or a budget ended them.

        Args:
            stopped: Whether it was stopped before its last sample by anything but a verdict.
        """
        if not stopped and self.evidence.verdict == "inconclusive":
            self.close_cluster()

    def close_cluster(self) -> None:
        """Count what was drawn of a cluster, once it is known to be whole."""
        if not self._waiting:
            return
        known = [difference for difference in self._waiting if difference is not None]
        # Where the pool's mean is of all samples of a cluster, a part of them is no observation of it.
        whole = len(known) == len(self._waiting) or self.pool is None
        self._waiting = []
        if not known or not whole:
            self.interval.update(None)
            self.test.update(None)
            return
        difference = sum(known) / len(known)
        self.differences.append(difference)
        self.interval.update(difference)
        self.test.update(difference)
