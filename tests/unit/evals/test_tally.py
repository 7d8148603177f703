"""How pairs become observations."""

from changeover.evals.comparison import Tally
from changeover.evals.datasets import Message, Sample
from changeover.evals.floor import Floor
from changeover.evals.queries import StoredAnswer, StoredScore
from changeover.evals.runner import Pair, Scored
from changeover.evals.sequential import TestPlan
from changeover.evals.weighing import Weighing


def side(value: float, error: str | None = None) -> Scored:
    answer = StoredAnswer(
        id=1,
        bundle="b",
        sample="s",
        repeat=0,
        text="x",
        error=None,
        finish_reason="stop",
        prompt_tokens=1,
        completion_tokens=1,
        duration_ms=1.0,
    )
    return Scored(answers=(answer,), score=StoredScore(value=value, detail={}, error=error), calls_new=1)


def pair(incumbent: float, candidate: float, cluster: str | None = None, error: str | None = None) -> Pair:
    sample = Sample(id="s", input=(Message(role="user", content="x"),), target="x", cluster=cluster)
    return Pair(sample=sample, incumbent=side(incumbent), candidate=side(candidate, error))


def tally(floor: float | None = None, margin: float = 0.05) -> Tally:
    return Tally(Weighing(TestPlan(margin=margin, max_samples=60)), Floor(floor), started=0.0)


def test_each_sample_on_its_own_is_one_observation() -> None:
    counts = tally()
    for _ in range(3):
        counts.add(pair(0.0, 1.0))
    assert counts.weighing.differences == [1.0, 1.0, 1.0]
    assert counts.weighing.evidence.samples == 3


def test_a_cluster_is_one_observation_counted_when_it_is_whole() -> None:
    counts = tally()
    counts.add(pair(0.0, 1.0, cluster="doc"))
    counts.add(pair(0.0, 0.0, cluster="doc"))
    assert counts.weighing.evidence.samples == 0, "more of it may come"
    counts.add(pair(1.0, 0.0, cluster="other"))
    assert counts.weighing.differences == [0.5]
    counts.weighing.close_cluster()
    assert counts.weighing.differences == [0.5, -1.0]
    assert len(counts.pairs) == 3


def test_a_sample_that_could_not_be_scored_is_counted_and_says_nothing() -> None:
    counts = tally()
    counts.add(pair(0.0, 0.0, error="the scorer broke"))
    counts.weighing.close_cluster()
    assert (counts.drawn, counts.unusable, counts.failed, counts.weighing.differences) == (1, 1, 1, [])


def test_a_pass_waits_until_the_candidate_is_surely_above_the_floor() -> None:
    plain, floored = tally(margin=0.2), tally(floor=0.8, margin=0.2)
    for value in [0.7, 1.0] * 30:
        plain.add(pair(value, value))
        floored.add(pair(value, value))
    assert plain.weighing.evidence.verdict == floored.weighing.evidence.verdict == "pass"
    assert plain.decided
    assert (floored.floor.standing, floored.decided) == ("reached", False), "its mean of 0.85 may be chance"
    for _ in range(60):
        floored.add(pair(1.0, 1.0))
    assert (floored.floor.standing, floored.decided) == ("above", True)


def test_a_candidate_that_is_surely_below_the_floor_ends_the_comparison_at_once() -> None:
    counts = tally(floor=0.5)
    while not counts.decided:
        counts.add(pair(0.1, 0.1))
    assert counts.floor.standing == "below"
    assert counts.weighing.evidence.verdict == "inconclusive", "it is as good as the incumbent, as far as is known"
    assert counts.drawn < 30


def test_a_cluster_is_one_observation_of_the_floor_too() -> None:
    counts = tally(floor=0.5)
    for _ in range(40):
        counts.add(pair(0.1, 0.1, cluster="one conversation"))
    assert counts.floor.standing == "open"
