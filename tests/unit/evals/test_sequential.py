"""The sequential tests keep their promises: exactly for short streams, by simulation for long ones."""

from __future__ import annotations

import itertools
import math
import random
import time

import numpy as np
import pytest
from benchmarks.evidence.batch import BatchTest
from hypothesis import given, settings
from hypothesis import strategies as st
from ville import BettingTest

from changeover.evals.interval import DifferenceInterval
from changeover.evals.sequential import (
    PROCESSES,
    PairedTest,
    TestPlan,
    detectable_loss,
    fixed_n,
    log_optimal_bet,
)

MARGIN = 0.2

OUTCOMES = (-1.0, -0.5, 0.0, 0.5, 1.0)

NULL_BOUNDARY = {
    "no_worse": (
        {-1.0: 0.2, 0.0: 0.8},
        {-1.0: 0.4, 0.0: 0.4, 1.0: 0.2},
        {-1.0: 0.6, 1.0: 0.4},
        {-0.5: 0.5, 0.0: 0.4, 0.5: 0.1},
    ),
    "futility": ({0.0: 1.0}, {-1.0: 0.5, 1.0: 0.5}, {-1.0: 0.1, 0.0: 0.7, 0.5: 0.2}),
    "better": ({0.0: 1.0}, {-1.0: 0.5, 1.0: 0.5}, {-0.5: 0.2, 0.0: 0.7, 1.0: 0.1}),
    "worse": ({-1.0: 0.2, 0.0: 0.8}, {-1.0: 0.6, 1.0: 0.4}, {-1.0: 0.15, -0.5: 0.2, 0.0: 0.6, 1.0: 0.05}),
}
"""For each process, distributions of the difference that lie exactly on the edge of its null."""

DEEPER = {"no_worse": -0.3, "futility": 0.3, "better": -0.3, "worse": 0.3}
"""Which way a shift leads into the null."""


def _all_paths(outcomes: tuple[float, ...], length: int) -> np.ndarray:
    """Every stream of that length in lexicographic order, shape (length, paths)."""
    return np.array(list(itertools.product(outcomes, repeat=length))).T


def _e_values_along(paths: np.ndarray, plan: TestPlan) -> np.ndarray:
    """E-values before the first sample and after each, shape (length + 1, processes, paths)."""
    batch = BatchTest(plan, paths.shape[1])
    return np.array([batch.e_values(), *(batch.update(step) for step in paths)])


@pytest.mark.parametrize("process", PROCESSES)
def test_capital_is_a_fair_game_on_the_edge_of_its_null_whatever_came_before(process: str) -> None:
    length = 5
    paths = _all_paths(OUTCOMES, length)
    along = _e_values_along(paths, TestPlan(margin=MARGIN))[:, PROCESSES.index(process)]
    for distribution in NULL_BOUNDARY[process]:
        chances = np.array([distribution.get(outcome, 0.0) for outcome in OUTCOMES])
        for step in range(length):
            later = len(OUTCOMES) ** (length - step - 1)
            now = along[step].reshape(-1, len(OUTCOMES), later)[:, 0, 0]
            following = along[step + 1].reshape(-1, len(OUTCOMES), later)[:, :, 0] @ chances
            np.testing.assert_allclose(following, now, rtol=1e-12)


@pytest.mark.parametrize("process", PROCESSES)
def test_capital_shrinks_inside_its_null(process: str) -> None:
    outcomes = (-1.0, 0.0, 1.0)
    paths = _all_paths(outcomes, 6)
    along = _e_values_along(paths, TestPlan(margin=MARGIN))[:, PROCESSES.index(process)]
    mean = {"no_worse": -MARGIN, "futility": 0.0, "better": 0.0, "worse": -MARGIN}[process] + DEEPER[process]
    chances = {-1.0: (0.6 - mean) / 2, 0.0: 0.4, 1.0: (0.6 + mean) / 2}
    weight = np.prod(np.vectorize(chances.__getitem__)(paths), axis=0)
    expected = along @ weight
    assert np.all(np.diff(expected) < 0.0)
    assert expected[0] == pytest.approx(1.0)


def test_exact_chance_of_a_wrong_pass_is_within_alpha_for_every_short_stream() -> None:
    plan = TestPlan(margin=0.4)
    paths = _all_paths((-1.0, 0.0, 1.0), 8)
    along = _e_values_along(paths, plan)[:, 0]
    passed = (along >= 1 / plan.alpha).any(axis=0)
    assert passed.any()
    for lost, gained in ((0.4, 0.0), (0.5, 0.1), (0.7, 0.3)):
        weight = np.prod(np.select([paths < 0, paths > 0], [lost, gained], 1 - lost - gained), axis=0)
        assert weight[passed].sum() <= plan.alpha


def _simulate(plan: TestPlan, discordance: float, mean: float, replications: int) -> tuple[float, float, float]:
    """Share of passes and of fails, and mean number of samples."""
    rng = np.random.default_rng(11)
    batch = BatchTest(plan, replications, ("no_worse", "futility"))
    used, passes, fails = 0.0, 0, 0
    alive = replications
    while alive:
        draw = rng.random(alive)
        wins = (discordance + mean) / 2
        values = batch.update(np.where(draw < wins, 1.0, np.where(draw < discordance, -1.0, 0.0)))
        go, no_go = values[0] >= 1 / plan.alpha, values[1] >= 1 / plan.beta
        passes += int(go.sum())
        fails += int((no_go & ~go).sum())
        used += batch.samples * int((go | no_go).sum())
        batch.keep(~(go | no_go))
        alive = batch.replications
    return passes / replications, fails / replications, used / replications


def test_error_rates_and_power_hold_by_simulation_with_fewer_calls_than_a_fixed_number() -> None:
    plan = TestPlan(margin=0.1)
    wrong_go, _, _ = _simulate(plan, 0.3, -0.1, 1500)
    power, wrong_no_go, samples = _simulate(plan, 0.3, 0.0, 1500)
    _, _, clear = _simulate(plan, 0.4, 0.1, 1500)
    noise = 3 * math.sqrt(0.05 * 0.95 / 1500)
    assert wrong_go <= 0.05 + noise
    assert wrong_no_go <= 0.10 + noise
    assert power >= 0.90 - noise
    assert samples < 0.8 * fixed_n(0.3, 0.1)
    assert clear < 0.35 * fixed_n(0.3, 0.1)


def test_no_verdict_comes_before_the_least_number_of_samples_and_then_the_peaks_decide() -> None:
    plan = TestPlan(margin=0.2, min_samples=40)
    won = _run([0.0] * 39, plan)
    assert won.evidence.peak.no_worse >= 1 / plan.alpha
    assert (won.evidence.verdict, won.evidence.shown, won.evidence.finished) == ("inconclusive", None, False)
    assert won.samples_left() == 1
    assert won.update(0.0).verdict == "pass"
    early = _run([-1.0] * 10 + [0.0] * 29, plan)
    assert early.evidence.peak.futility >= 1 / plan.beta
    assert early.evidence.verdict == "inconclusive"
    assert early.update(0.0).verdict == "fail", "a bound that was reached at the tenth sample counts at the fortieth"


def test_what_could_not_be_scored_does_not_count_towards_the_least_number_of_samples() -> None:
    plan = TestPlan(margin=0.2, min_samples=40)
    test = _run([0.0] * 39, plan)
    assert test.update(None).verdict == "inconclusive"
    assert test.update(0.0).verdict == "pass"


def test_fewer_samples_than_the_least_number_never_decide() -> None:
    evidence = _run([1.0] * 30, TestPlan(margin=0.2, min_samples=40, max_samples=30)).evidence
    assert (evidence.verdict, evidence.finished) == ("inconclusive", True)


def test_exact_error_rates_hold_where_a_verdict_has_to_wait() -> None:
    plan = TestPlan(margin=0.4, min_samples=7)
    paths = list(itertools.product((-1.0, 0.0, 1.0), repeat=8))
    verdicts = np.array([_run(list(path), plan).evidence.verdict for path in paths])
    array = np.array(paths).T
    for lost, gained, wrong, bound in ((0.4, 0.0, "pass", plan.alpha), (0.1, 0.1, "fail", plan.alpha + plan.beta)):
        weight = np.prod(np.select([array < 0, array > 0], [lost, gained], 1 - lost - gained), axis=0)
        assert (verdicts == wrong).any()
        assert weight[verdicts == wrong].sum() <= bound


def test_one_paired_test_gives_what_a_batch_gives() -> None:
    rng = np.random.default_rng(5)
    plan = TestPlan(margin=0.05)
    stream = rng.choice([-1.0, -0.25, 0.0, 0.75, 1.0], size=(40, 3))
    batch, singles = BatchTest(plan, 3), [PairedTest(plan) for _ in range(3)]
    for row in stream:
        together = batch.update(row)
        for column, (single, difference) in enumerate(zip(singles, row.tolist(), strict=True)):
            seen = single.update(difference)
            assert [getattr(seen, name) for name in PROCESSES] == pytest.approx(together[:, column].tolist())


@given(
    stream=st.lists(st.one_of(st.sampled_from([-1.0, 0.0, 1.0]), st.floats(-1.0, 1.0)), max_size=60),
    margin=st.sampled_from([0.01, 0.05, 0.3, 0.8]),
)
@settings(max_examples=60, deadline=None)
def test_any_stream_gives_what_a_batch_gives(stream: list[float], margin: float) -> None:
    plan = TestPlan(margin=margin)
    batch, single = BatchTest(plan, 1), PairedTest(plan)
    for difference in stream:
        together = batch.update(np.array([difference]))
        seen = single.update(difference)
        assert [getattr(seen, name) for name in PROCESSES] == pytest.approx(together[:, 0].tolist(), rel=1e-9)


def test_bets_use_earlier_samples_only() -> None:
    first, second = PairedTest(TestPlan(margin=0.05)), PairedTest(TestPlan(margin=0.05))
    for _ in range(2):
        first.update(0.0)
        second.update(0.0)
    before = first.bets()
    first.update(1.0)
    second.update(-1.0)
    assert before != first.bets() == second.bets(), "a win and a loss differ alike"


def test_closed_form_bet_is_the_maximiser_of_expected_log_capital() -> None:
    for tie, gap, discordance in ((0.02, 0.02, 0.2), (0.02, 0.08, 0.1), (0.0, 0.05, 0.3), (-0.05, 0.1, 0.4)):
        win = (discordance + gap - tie) / 2
        grid = np.linspace(0.0, 0.75 / (1 - tie), 20_001)
        growth = win * np.log1p(grid * (tie + 1)) + (discordance - win) * np.log1p(grid * (tie - 1))
        growth += (1 - discordance) * np.log1p(grid * tie)
        assert log_optimal_bet(tie, gap, discordance) == pytest.approx(grid[growth.argmax()], abs=2e-4)


@pytest.mark.parametrize("margin", [0.001, 0.02, 0.3, 0.6, 0.99])
def test_no_sample_can_cost_more_than_three_quarters_of_the_capital(margin: float) -> None:
    for difference in (-1.0, 0.0, 1.0):
        test = PairedTest(TestPlan(margin=margin))
        before = test.evidence
        for _ in range(30):
            now = test.update(difference)
            assert all(getattr(now, name) >= (0.25 - 1e-9) * getattr(before, name) for name in PROCESSES)
            before = now


class FixedBet(BettingTest):
    """The peer's e-process with one constant bet on a higher mean, in the units of differences."""

    bet: float

    def _process(self, x: np.ndarray) -> np.ndarray:
        self._log_up += float(np.log1p(self.bet * (x - self.m0)).sum())
        return np.array([self._log_up])


def test_capital_is_the_mixture_of_three_e_processes_of_a_peer_with_the_same_bets() -> None:
    plan = TestPlan(margin=MARGIN)
    test = PairedTest(plan)
    peers = [FixedBet(-MARGIN, bounds=(-1.0, 1.0), alternative="greater") for _ in range(3)]
    for difference in random.Random(4).choices([-1.0, -0.5, 0.0, 0.25, 1.0], k=60):
        for peer, bet in zip(peers, test.bets()[0], strict=True):
            peer.bet = bet
            peer.update([difference])
        now = test.update(difference)
        mixture = sum(w * math.exp(peer._log_up) for w, peer in zip((0.6, 0.25, 0.15), peers, strict=True))
        assert now.no_worse == pytest.approx(mixture, rel=1e-9)


def test_a_peers_own_bets_need_more_samples_on_the_same_streams_and_agree_on_what_is_clear() -> None:
    rng = np.random.default_rng(21)
    plan, ours, theirs, wrong_ours, wrong_theirs = TestPlan(margin=0.1), 0, 0, 0, 0
    for _ in range(20):
        for mean in (0.0, -0.1):
            draws = rng.random(800)
            stream = np.where(draws < (0.3 + mean) / 2, 1.0, np.where(draws < 0.3, -1.0, 0.0))
            capital = np.exp(np.maximum.accumulate(_peer_log_capital(stream, -0.1)))
            test = PairedTest(plan)
            looks = [test.update(value).no_worse for value in stream.tolist()]
            if mean == 0.0:
                ours += next((count for count, value in enumerate(looks) if value >= 20), 800)
                theirs += int(np.searchsorted(capital, 20.0))
            else:
                wrong_ours += max(looks) >= 20
                wrong_theirs += capital[-1] >= 20
    assert ours < 0.9 * theirs
    assert max(wrong_ours, wrong_theirs) <= 4  # 5 % of 20 is 1


def _peer_log_capital(stream: np.ndarray, null: float) -> np.ndarray:
    return BettingTest(null, bounds=(-1.0, 1.0), alternative="greater")._process(stream)


@pytest.mark.parametrize(
    ("stream", "claimed"),
    [
        ([1.0] * 200, "better"),
        ([-1.0] * 200, "worse"),
        ([0.0] * 200, "no worse"),
        ([1.0] + [0.0] * 200, "no worse"),
        ([-1.0] + [0.0] * 300, "no worse"),
    ],
)
def test_streams_without_spread_or_with_one_discordant_pair_end_as_they_should(
    stream: list[float], claimed: str
) -> None:
    assert _run(stream, TestPlan(margin=0.05)).evidence.shown == claimed


def test_what_could_not_be_scored_says_nothing() -> None:
    test = PairedTest(TestPlan(margin=0.05))
    before = test.update(1.0)
    assert test.update(None) == before
    assert test.update(0.0) == _run([1.0, 0.0], TestPlan(margin=0.05)).evidence


def test_five_hundred_samples_with_their_interval_take_less_than_a_tenth_of_a_second() -> None:
    test, interval = PairedTest(TestPlan(margin=0.02)), DifferenceInterval()
    started = time.process_time()
    for difference in [1.0, 0.0, -1.0, 0.0, 0.0] * 100:
        test.update(difference)
        interval.update(difference)
    assert time.process_time() - started < 0.1  # some 25 ms on an idle machine


def _run(differences: list[float], plan: TestPlan) -> PairedTest:
    test = PairedTest(plan)
    for difference in differences:
        test.update(difference)
    return test


def test_a_clearly_better_candidate_passes_and_is_called_better() -> None:
    evidence = _run([1.0, 1.0, 0.0, 1.0, 1.0] * 6, TestPlan(margin=0.05)).evidence
    assert (evidence.verdict, evidence.shown, evidence.finished) == ("pass", "better", True)


def test_an_equal_candidate_passes_as_no_worse_and_not_as_better() -> None:
    evidence = _run([0.0] * 400, TestPlan(margin=0.05)).evidence
    assert (evidence.verdict, evidence.shown) == ("pass", "no worse")


def test_a_clearly_worse_candidate_fails_and_is_called_worse() -> None:
    evidence = _run([-1.0, 0.0, -1.0] * 20, TestPlan(margin=0.05)).evidence
    assert (evidence.verdict, evidence.shown) == ("fail", "worse")


def test_a_candidate_that_fails_before_the_loss_is_shown_is_not_as_good() -> None:
    test = PairedTest(TestPlan(margin=0.05))
    rng = random.Random(2)
    while test.evidence.verdict == "inconclusive":
        draw = rng.random()
        test.update(-1.0 if draw < 0.2 else 1.0 if draw < 0.28 else 0.0)
    assert (test.evidence.verdict, test.evidence.shown) == ("fail", "not as good")


def test_running_out_of_samples_is_inconclusive_and_claims_nothing() -> None:
    evidence = _run([1.0, -1.0, 0.0, 0.0] * 5, TestPlan(margin=0.02, max_samples=20)).evidence
    assert (evidence.verdict, evidence.shown, evidence.finished) == ("inconclusive", None, True)


def test_no_sample_at_all_is_inconclusive() -> None:
    evidence = PairedTest(TestPlan(margin=0.02)).evidence
    assert (evidence.samples, evidence.verdict, evidence.finished) == (0, "inconclusive", False)
    assert [evidence.no_worse, evidence.futility, evidence.better, evidence.worse] == [1.0] * 4


def test_a_verdict_stays_and_the_peak_never_falls() -> None:
    test = _run([1.0] * 30, TestPlan(margin=0.05))
    peak = test.evidence.peak.no_worse
    for _ in range(60):
        test.update(-1.0)
    assert test.evidence.verdict == "pass"
    assert test.evidence.no_worse < 1.0
    assert test.evidence.peak.no_worse == peak


def test_very_long_certain_streams_stay_finite() -> None:
    evidence = _run([1.0] * 3000, TestPlan(margin=0.2)).evidence
    assert math.isfinite(evidence.no_worse)
    assert evidence.no_worse > 1e250
    assert evidence.worse < 1e-250


@pytest.mark.parametrize("difference", [1.0000001, -1.5, math.nan, math.inf, -math.inf])
def test_differences_outside_the_score_range_are_refused_and_change_nothing(difference: float) -> None:
    test = _run([0.0, 1.0], TestPlan(margin=0.05))
    before = test.evidence
    with pytest.raises(ValueError, match="not in -1 to 1"):
        test.update(difference)
    assert test.evidence == before
    assert test.update(0.5) == _run([0.0, 1.0, 0.5], TestPlan(margin=0.05)).evidence


@pytest.mark.parametrize(
    "settings",
    [
        {"margin": 0.0},
        {"margin": 1.0},
        {"margin": math.nan},
        {"margin": 0.1, "alpha": 0.0},
        {"margin": 0.1, "beta": 1.0},
        {"margin": 0.1, "max_samples": 0},
    ],
)
def test_impossible_plans_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        TestPlan(**settings)  # type: ignore[arg-type]  # the point of the test


def test_samples_left_falls_with_the_evidence_and_ends_at_zero() -> None:
    test = PairedTest(TestPlan(margin=0.05))
    assert test.samples_left() is None
    estimates = []
    while test.evidence.verdict == "inconclusive":
        test.update([1.0, 0.0, 0.0, 0.0][test.evidence.samples % 4])
        estimates.append(test.samples_left())
    assert estimates[-1] == 0
    assert estimates[7] is not None
    assert estimates[7] < 4 * len(estimates)
    assert estimates[7] > estimates[-5] > 0


def test_fixed_n_reproduces_the_published_sizes() -> None:
    assert [fixed_n(variance, 0.02) for variance in (0.224, 0.128, 0.032)] == [4796, 2741, 686]


def test_detectable_loss_turns_fixed_n_round() -> None:
    assert detectable_loss(0.224, 4796) == pytest.approx(0.02, rel=1e-3)
    assert fixed_n(0.0, 0.1) == 1
    with pytest.raises(ValueError, match="negative"):
        fixed_n(-0.1, 0.1)
