"""What the records say of rollouts under way: read in order of arrival, each exchange once, also after a restart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from changeover.core.clock import Clock
from changeover.evals.queries import find_comparison
from changeover.evals.sequential import PairedTest, TestPlan
from changeover.rollouts.actions import is_recheck
from changeover.rollouts.decide import BEFORE_PROMOTION, Evidence, Rollout
from changeover.rollouts.exchange import Exchanges, has_waited
from changeover.rollouts.guards import Guards
from changeover.rollouts.queries import approvals_of, overrides_of
from changeover.rollouts.shadow_queries import ShadowScore, differences_of, shadow_scores_of
from changeover.rollouts.terms import Terms, no_terms
from changeover.serving.queries import load_variants
from changeover.store.engine import Store
from changeover.tasks.exchanges import Outcomes
from changeover.tasks.feedback import Feedback, feedback_of, feedback_since, newest_feedback
from changeover.tasks.observed import (
    MOST_AT_ONCE,
    OVERLAP,
    SET_BACK,
    Observed,
    newest_seq,
    observed_of,
    observed_since,
)
from changeover.tasks.queries import current_route, recent_durations, revisions_of

KNOWN_FOR = timedelta(days=7)
"""How far back it is looked for what the incumbent used to take."""
SHADOW_ALPHA = 0.005
"""Error rate of each of the two processes by which scores of copied requests may take out a candidate: together 1 % of those
that lose nothing."""


class Observer:
    """Follows the records for all rollouts under way. Used from one thread."""

    def __init__(self, store: Store, is_ready: Callable[[str], bool], clock: Clock, terms: Terms = no_terms) -> None:
        """See nothing yet.

        Args:
            store: With the records.
            is_ready: Whether a deployment can answer.
            clock: Overrides end by it.
            terms: What else may stand in a candidate's way.
        """
        self._store = store
        self._is_ready = is_ready
        self._exchanges = Exchanges(is_ready, clock)
        self._clock = clock
        self._terms = terms
        self._seq: int | None = None
        """The newest exchange that was read; None while nobody is watched."""
        self._feedback = 0
        self._counted: dict[str, int] = {}
        """Exchanges that were read and may be read again, with their numbers. Only where writers take no turns."""
        self._watched: dict[int, Watched] = {}
        self._deployments: dict[str, str] = {}
        # Where writers do not take turns a number may be seen after a larger one: a stretch is read anew each time.
        self._overlap = 0 if store.engine.dialect.name == "sqlite" else OVERLAP

    def look(self, rollouts: Sequence[Rollout]) -> None:
        """Read what arrived since the last look, for these rollouts and no others.

        Raises:
            StoreError: It cannot be read; the next look reads it.
        """
        known = {rollout.id: self._watched.get(rollout.id) for rollout in rollouts}
        self._watched = {id: watched for id, watched in known.items() if watched is not None}
        if not rollouts:
            self._seq = None
            self._counted.clear()
            return
        with self._store.read() as connection:
            for rollout in rollouts:
                watched = self._watched.get(rollout.id)
                if watched is None or watched.is_at(rollout):
                    continue
                if rollout.plan.exchange and rollout.step_started_at != watched.rollout.step_started_at:
                    del self._watched[rollout.id]  # the exchange is over: what waited for it is left out
                else:
                    watched.follow(rollout, _revisions(connection, rollout))
            if self._seq is None or newest_seq(connection) < self._seq:  # nobody was watched, or rows were renumbered
                self._watched.clear()
                self._counted.clear()
                self._feedback = newest_feedback(connection)
                self._seq = newest_seq(connection)
            else:
                self._read_on(connection, self._seq)
            for rollout in rollouts:
                if rollout.id not in self._watched:
                    self._watched[rollout.id] = self._from_the_beginning(connection, rollout)
            self._read_feedback(connection)
            self._learn_names(connection, rollouts)

    def evidence(self, rollout: Rollout) -> Evidence:
        """What is known of a rollout's candidate, after a look."""
        watched = self._watched[rollout.id]
        guards = watched.guards_now
        with self._store.read() as connection:
            verdict = _verdict(connection, rollout)
            approved = [each.actor for each in approvals_of(connection, rollout.id)] if rollout.plan.approvals else []
            overridden = self._overridden(connection, rollout)
            exchange = self._exchanges.look(connection, rollout)
            terms = (
                self._terms(connection, rollout.task, rollout.candidate) if rollout.state in BEFORE_PROMOTION else None
            )
            if rollout.state == "shadow":
                watched.score(shadow_scores_of(connection, rollout.id, watched.scored_until))
        return Evidence(
            whole=watched.whole.outcomes(),
            step=watched.step.outcomes(),
            # What waits while engines are exchanged says nothing of the one that is still coming.
            guard=guards.evidence if exchange is None else 0.0,
            guards=guards.readings(),
            candidate_ready=self._is_ready(self._deployments[rollout.candidate]),
            verdict=verdict,
            approved=tuple(approved),
            overridden=tuple(overridden),
            scored=watched.scored,
            terms=terms,
            exchange=exchange,
        )

    def _read_on(self, connection: Connection, seq: int) -> None:
        """Take what came after a number, and on PostgreSQL what was committed late before it."""
        since = max(seq - self._overlap, 0)
        while True:
            batch = observed_since(connection, since)
            self._take(each for each in batch if each.id not in self._counted)
            if batch:
                since = batch[-1].seq
            if len(batch) < MOST_AT_ONCE:
                break
        self._seq = max(seq, since)
        self._forget()

    def _take(self, fresh: Iterable[Observed]) -> None:
        by_task: dict[str, list[Watched]] = {}
        for watched in self._watched.values():
            by_task.setdefault(watched.rollout.task, []).append(watched)
        for seen in fresh:
            if self._overlap:
                self._counted[seen.id] = seen.seq
            for watched in by_task.get(seen.task, ()):
                watched.take(seen)

    def _forget(self) -> None:
        if self._seq is not None and len(self._counted) > 4 * self._overlap:
            oldest = self._seq - 2 * self._overlap
            self._counted = {id: seq for id, seq in self._counted.items() if seq >= oldest}

    def _from_the_beginning(self, connection: Connection, rollout: Rollout) -> Watched:
        """All that is known of a rollout: it began just now, or this process did."""
        watched = Watched(rollout, _revisions(connection, rollout))
        watched.begin(
            recent_durations(
                connection,
                rollout.task,
                rollout.incumbent,
                since=rollout.created_at - KNOWN_FOR,
                until=rollout.created_at,
                limit=watched.guards.history,
            )
        )
        assert self._seq is not None, "it is set before"
        for seen in observed_of(connection, rollout.task, rollout.created_at, watched.first, self._seq):
            if self._overlap and seen.seq > self._seq - self._overlap:
                self._counted[seen.id] = seen.seq
            watched.take(seen)
        for given in feedback_of(connection, rollout.task, rollout.created_at - SET_BACK, self._feedback):
            watched.rate(given)
        return watched

    def _read_feedback(self, connection: Connection) -> None:
        while batch := feedback_since(connection, self._feedback):
            for given in batch:
                for watched in self._watched.values():
                    watched.rate(given)
            self._feedback = batch[-1].id

    def _learn_names(self, connection: Connection, rollouts: Iterable[Rollout]) -> None:
        missing = {rollout.candidate for rollout in rollouts} - set(self._deployments)
        if missing:
            found = load_variants(connection, missing)
            self._deployments.update((id, variant.deployment) for id, variant in found.items())

    def _overridden(self, connection: Connection, rollout: Rollout) -> list[str]:
        if rollout.override is None:
            return []
        now = self._clock.now()
        made = overrides_of(connection, rollout.id)
        return [each.gate for each in made if each.ended_at is None and each.expires_at > now]


def _verdict(connection: Connection, rollout: Rollout) -> str | None:
    if rollout.state != "evaluation" or rollout.comparison is None:
        return None
    return find_comparison(connection, rollout.comparison).verdict


def _revisions(connection: Connection, rollout: Rollout) -> tuple[int, int] | None:
    """Route revisions by which the candidate is asked for this rollout: the first one, and that of its present step.

    None where there is none yet.
    """
    own = revisions_of(connection, rollout.task, rollout.id)
    if own is None:
        route = current_route(connection, rollout.task)
        # What is rechecked answers already, by a route that no rollout wrote.
        if route is not None and is_recheck(rollout, route):
            return route.revision, route.revision
    return own


@dataclass
class _Count:
    asked: int = 0
    failed: int = 0

    def add(self, failed: bool) -> None:
        self.asked += 1
        self.failed += failed

    def outcomes(self) -> Outcomes:
        return Outcomes(asked=self.asked, failed=self.failed)


class Watched:
    """One rollout: its guards, and how many requests its candidate was asked.

    What belongs to it, and to its step, is told by the route revision that answered, never by the time: a clock that is
    set back must not blind the guards, and what an earlier rollout of the same candidate saw is none of this one's.
    """

    def __init__(self, rollout: Rollout, revisions: tuple[int, int] | None) -> None:
        """Know the rollout, and the first and the present route revision by which its candidate is asked."""
        self.rollout = rollout
        self.guards = Guards(rollout.plan)
        self.whole = _Count()
        self.step = _Count()
        self.scored: str | None = None
        """What the scores of copied requests show: `pass`, `fail`, `inconclusive`; None: nothing is scored."""
        self._revisions = revisions
        self._drifting = False
        self._rated: set[tuple[str, str]] = set()
        self.scored_until: datetime | None = None
        """When the last score that was weighed was written: by that it is known which came first."""
        self._test = PairedTest(TestPlan(margin=rollout.plan.shadow_margin, alpha=SHADOW_ALPHA, beta=SHADOW_ALPHA))

    @property
    def first(self) -> int | None:
        """The first route revision by which the candidate is asked; None: nobody asks it yet."""
        return None if self._revisions is None else self._revisions[0]

    @property
    def guards_now(self) -> Guards:
        """The guards as they count now. An alarm of before a promotion is over: somebody promoted in spite of it."""
        if self.rollout.state != "baking" or self._drifting:
            return self.guards
        unseen = Guards(self.rollout.plan)
        unseen.promoted()
        return unseen

    def begin(self, durations_before: Iterable[float]) -> None:
        """Know what the incumbent's answers took before the rollout began: milliseconds, oldest first."""
        for duration_ms in durations_before:
            self.guards.incumbent(duration_ms)

    def is_at(self, rollout: Rollout) -> bool:
        """Whether the rollout is where it was known to be."""
        return self.rollout == rollout

    def follow(self, rollout: Rollout, revisions: tuple[int, int] | None) -> None:
        """Know where the rollout is now."""
        if revisions != self._revisions:
            self.step = _Count()
        self.rollout, self._revisions = rollout, revisions

    def take(self, seen: Observed) -> None:
        """Count an exchange of the task."""
        rollout = self.rollout
        copied = seen.side == "shadow"
        if seen.internal and not copied:
            return
        self._drift_from(seen.revision)
        failed = rollout.candidate in seen.failed_variants
        if failed or seen.variant == rollout.candidate:
            if self._is_own(seen.revision):
                failed = failed or seen.status >= 500 or seen.truncated
                self._take_candidate(seen, failed=failed, copied=copied)
        elif seen.variant == rollout.incumbent and _is_whole(seen) and not copied and self._is_during(seen):
            self.guards.incumbent(seen.duration_ms)

    def _is_during(self, seen: Observed) -> bool:
        return self._is_own(seen.revision) or seen.started_at >= self.rollout.created_at

    def _take_candidate(self, seen: Observed, *, failed: bool, copied: bool) -> None:
        # One that its caller gave up, or that the caller itself got wrong, says nothing; nor one that waited for an exchange.
        if (not failed and not _is_whole(seen)) or has_waited(self.rollout, seen.started_at):
            return
        # A copy is no request of a caller's: it counts where copies are asked for, and nowhere else.
        if self._is_of_step(seen.revision) and copied == (self.rollout.state == "shadow"):
            self.step.add(failed)
        self.whole.add(failed)
        self.guards.candidate(
            failed=failed,
            violated=None if failed else seen.violation is not None,
            duration_ms=None if failed else seen.duration_ms,
        )

    def rate(self, given: Feedback) -> None:
        """Count what a caller said of an answer: its first word, for a sequential test takes nothing back."""
        rollout, who = self.rollout, (given.exchange, given.key)
        self._drift_from(given.revision)
        # After the promotion what was answered before it says nothing any more.
        known = self._is_of_step(given.revision) if self._drifting else self._is_own(given.revision)
        if given.variant == rollout.candidate and known and who not in self._rated:
            self._rated.add(who)
            self.guards.feedback(given.good)

    def _drift_from(self, revision: int | None) -> None:
        """Watch for drift from the first request on that the promoted candidate was asked."""
        if self.rollout.state == "baking" and not self._drifting and self._is_of_step(revision):
            self._drifting = True
            self.guards.promoted()

    def _is_own(self, revision: int | None) -> bool:
        return self._revisions is not None and revision is not None and revision >= self._revisions[0]

    def _is_of_step(self, revision: int | None) -> bool:
        return self._revisions is not None and revision is not None and revision >= self._revisions[1]

    def score(self, fresh: Sequence[ShadowScore]) -> None:
        """Weigh scores of copied requests that were written since the last ones, in order."""
        for difference in differences_of(fresh):
            self.scored = self._test.update(difference).verdict
        if fresh:
            self.scored_until = fresh[-1].at


def _is_whole(seen: Observed) -> bool:
    return seen.status < 300 and not seen.truncated and not seen.abandoned
