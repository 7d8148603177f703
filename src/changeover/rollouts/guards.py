"""The guards of a rollout, put together: what the candidate does with real requests, weighed as it happens.

Pure, and the same for the same events in the same order, so that a restart reads them again from the rows.
"""

from __future__ import annotations

from typing import Literal

from changeover.evals.canary import BadEvents, DriftDetector, LatencyReference
from changeover.rollouts.decide import Plan, Reading

Watched = Literal["errors", "violations", "latency", "feedback"]

WEIGHTS: dict[Watched, float] = {"errors": 0.45, "violations": 0.15, "latency": 0.15, "feedback": 0.15}
"""Share of the whole evidence that each guard is: most is given to what must be told apart most finely. They add up to
1 less `RESERVE`."""
RESERVE = 0.10
"""Share of the false alarms that is kept for a latency reference that happens to be too low."""


def weights(plan: Plan, *, promoted: bool) -> dict[Watched, float]:
    """Share of the whole evidence that each guard is, before the promotion or after it."""
    more = (1.0 - RESERVE * plan.alpha) / (1.0 - RESERVE) if promoted else 1.0
    return {name: more * weight for name, weight in WEIGHTS.items()}


class Guards:
    """Weigh failures, broken contracts, slowness and dislikes of a candidate together.

    Each guard is an e-process against "no more are bad than tolerated, whatever happened before". They see the same
    requests and depend on each other; their weighted sum is an e-process whatever the dependence, by linearity. The
    weights add up to .9, so it reaches 1/alpha with chance .9 alpha at most, and the latency reference is too low with
    chance .1 alpha at most: one false alarm in 1/alpha rollouts, over all guards and however long it lasts.

    After the promotion the same sum of four drift detectors, in the same proportions, is a drift detector: on average
    `drift_requests` or more requests come before a false alarm, feedback counted as a request. They begin anew, and the
    latency reference stays as it was, since the former incumbent answers nothing any more: a machine that is slower by
    more than `slowdown` than before the promotion is then taken for a slower candidate. Its chance to be too low makes
    the mean shorter by that share only, so that the weights may add up to almost 1.

    An event counts when it was asked for, not when somebody looked; whether something is known of a request must not
    depend on whether it is bad. A failed request is a failure only: nothing is known of its contract or its speed.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._tolerated: dict[Watched, float] = {
            "errors": plan.tolerated_failures,
            "violations": plan.tolerated_violations,
            "latency": plan.tolerated_slow,
            "feedback": plan.tolerated_dislikes,
        }
        self._reference = LatencyReference(plan.tolerated_slow, plan.slowdown, RESERVE * plan.alpha)
        self._watches: dict[Watched, BadEvents | DriftDetector]
        self._watches = {name: BadEvents(rate) for name, rate in self._tolerated.items()}
        self._weights = WEIGHTS
        self._alarm_at = 1.0 / plan.alpha
        self._promoted = False
        self._alarm: tuple[float, tuple[Reading, ...]] | None = None

    @property
    def history(self) -> int:
        """How many of the incumbent's latest answers from before the rollout are worth giving to `incumbent`."""
        return self._reference.window

    def incumbent(self, duration_ms: float) -> None:
        """Add a request that the incumbent answered, in order of arrival. After the promotion it says nothing."""
        if not self._promoted:
            self._reference.add(duration_ms)

    def candidate(self, *, failed: bool, violated: bool | None, duration_ms: float | None) -> None:
        """Add a request that the candidate was asked, in order of arrival.

        Args:
            failed: Whether it gave no answer.
            violated: Whether the answer broke the contract; None: nobody checked.
            duration_ms: To the end of the answer; None: not known.
        """
        self._watches["errors"].update(failed)
        if not failed:
            if violated is not None:
                self._watches["violations"].update(violated)
            threshold = self._reference.threshold_ms
            if duration_ms is not None and threshold is not None:
                self._watches["latency"].update(duration_ms > threshold)
        self._look()

    def feedback(self, good: bool) -> None:
        """Add what a user said of an answer by the candidate."""
        self._watches["feedback"].update(not good)
        self._look()

    def promoted(self) -> None:
        """Go on as drift detectors. An alarm of before is over: somebody promoted in spite of it."""
        self._promoted = True
        self._watches = {name: DriftDetector(rate) for name, rate in self._tolerated.items()}
        self._weights = weights(self._plan, promoted=True)
        self._alarm_at = float(self._plan.drift_requests)
        self._alarm = None

    @property
    def evidence(self) -> float:
        """All guards together; an alarm where it has reached `decide.alarm_at`.

        Once it has, it stays at what raised the alarm, however seldom somebody looks.
        """
        return self._sum() if self._alarm is None else self._alarm[0]

    def readings(self) -> tuple[Reading, ...]:
        """Each guard, with what it has seen; after an alarm, as it was then."""
        return self._read() if self._alarm is None else self._alarm[1]

    def _look(self) -> None:
        if self._alarm is None and (reached := self._sum()) >= self._alarm_at:
            self._alarm = reached, self._read()

    def _sum(self) -> float:
        return sum(self._weights[name] * watch.evidence for name, watch in self._watches.items())

    def _read(self) -> tuple[Reading, ...]:
        return tuple(
            Reading(
                name=name,
                events=watch.events,
                bad=watch.bad_events,
                tolerated=self._tolerated[name],
                evidence=watch.evidence,
                note=self._note(name, watch.events),
            )
            for name, watch in self._watches.items()
        )

    def _note(self, name: Watched, events: int) -> str:
        if name == "latency":
            return self._reference.note
        if events:
            return ""
        return {
            "errors": "nothing asked yet",
            "violations": "no answer was checked yet",
            "feedback": "no feedback yet",
        }[name]
