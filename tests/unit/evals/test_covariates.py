"""The test with known scores keeps its promise exactly: over all orders of small pools, over all draws of small worlds."""

from __future__ import annotations

import itertools
import json
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from changeover.evals.covariates import BET_CAP, CovariateTest, Pool, partners, pool_of, sequential_test
from changeover.evals.sequential import PROCESSES, Evidence, PairedTest, TestPlan

MARGIN = 0.2

Row = tuple[float, float, tuple[float, ...]]
"""Incumbent's, candidate's, covariate models' scores on one observation."""

EDGES: dict[str, list[list[Row]]] = {
    "no_worse": [
        [(1, 0, (1, 0)), (1, 1, (1, 1)), (0, 0, (0, 0.5)), (0, 1, (1, 0)), (1, 0, (0, 0))],
        [(1, 0.5, (1,)), (0.5, 0, (0.25,)), (0, 0, (0,)), (1, 1, (1,)), (0.5, 0.5, (0.75,))],
        [(1, 0, ()), (0, 0, ()), (0, 0, ()), (1, 1, ()), (1, 1, ())],
    ],
    "futility": [
        [(1, 0, (1, 0)), (1, 1, (1, 1)), (0, 0, (0, 0.5)), (0, 1, (1, 0)), (1, 1, (0, 0))],
        [(1, 0.5, (1,)), (0.5, 1, (0.25,)), (0, 0, (0,)), (1, 0.75, (1,)), (0.5, 0.75, (0.75,))],
    ],
}
"""Pools of five on the very edge of a null: a loss of exactly the margin, and none."""
EDGES["worse"], EDGES["better"] = EDGES["no_worse"], EDGES["futility"]


def _pool(rows: list[Row]) -> Pool:
    return Pool(
        models=tuple(f"model-{number}" for number in range(len(rows[0][2]))),
        incumbent=tuple(float(row[0]) for row in rows),
        features=tuple(tuple(map(float, row[2])) for row in rows),
    )


def _along(rows: list[Row], unscored: int | None = None) -> list[Evidence]:
    """Evidence before the first observation and after each, in the order given."""
    test = CovariateTest(TestPlan(margin=MARGIN), _pool(rows), "dataset")
    return [test.evidence, *(test.update(None if row[1] == unscored else row[1] - row[0]) for row in rows)]


@pytest.mark.parametrize("process", PROCESSES)
def test_over_all_orders_of_a_pool_on_the_edge_of_its_null_capital_is_a_fair_game(process: str) -> None:
    for rows in EDGES[process]:
        orders = [[getattr(look, process) for look in _along(list(order))] for order in itertools.permutations(rows)]
        np.testing.assert_allclose(np.mean(orders, axis=0), 1.0, rtol=1e-9)
        # Stopping when it looks best so far does not help.
        stopped = [next((value for value in order if value >= 1.2), order[-1]) for order in orders]
        assert np.mean(stopped) == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("process", PROCESSES)
def test_over_all_orders_of_a_pool_inside_its_null_capital_shrinks(process: str) -> None:
    for rows in EDGES[process]:
        deeper = [(a, max(c - 0.3, 0) if process in ("no_worse", "better") else min(c + 0.3, 1), x) for a, c, x in rows]
        orders = [[getattr(look, process) for look in _along(list(order))] for order in itertools.permutations(deeper)]
        means = np.mean(orders, axis=0)
        assert np.all(np.diff(means) < 1e-12)
        assert means[-1] < 1.0


@pytest.mark.parametrize("process", PROCESSES)
def test_what_could_not_be_scored_never_adds_evidence(process: str) -> None:
    for rows in EDGES[process]:
        for missing in {row[1] for row in rows}:
            orders = [
                [getattr(look, process) for look in _along(list(order), missing)]
                for order in itertools.permutations(rows)
            ]
            assert np.all(np.mean(orders, axis=0) <= 1.0 + 1e-9)


WORLDS: dict[str, list[tuple[float, tuple[float, ...], float, float]]] = {
    # chance, the incumbent's and others' scores, and the candidate's chance to be right
    "lost the margin": [(0.5, (1.0, 1.0), 0.6, 1.0), (0.3, (0.0, 1.0), 0.4, 1.0), (0.2, (1.0, 0.0), 0.4, 1.0)],
    "lost nothing": [(0.5, (1.0, 1.0), 0.8, 1.0), (0.3, (0.0, 1.0), 0.6, 1.0), (0.2, (1.0, 0.0), 0.6, 1.0)],
}


@pytest.mark.parametrize("process", PROCESSES)
def test_over_all_draws_of_a_population_on_the_edge_of_its_null_capital_is_a_fair_game(process: str) -> None:
    world = WORLDS["lost the margin" if process in ("no_worse", "worse") else "lost nothing"]
    mean = sum(chance * (right - scores[0]) for chance, scores, right, _ in world)
    assert mean == pytest.approx(-MARGIN if process in ("no_worse", "worse") else 0.0)
    expected = np.zeros(3)
    for draws in itertools.product(range(len(world)), repeat=4):
        pool = Pool(
            models=("other",),
            incumbent=tuple(world[kind][1][0] for kind in draws),
            features=tuple((world[kind][1][1],) for kind in draws),
        )
        weight = math.prod(world[kind][0] for kind in draws)
        for answers in itertools.product((0.0, 1.0), repeat=2):
            rights = [world[kind][2] for kind in draws[:2]]
            chance = math.prod(r if answer else 1 - r for r, answer in zip(rights, answers, strict=True))
            test = CovariateTest(TestPlan(margin=MARGIN, max_samples=2), pool, "population")
            values = [getattr(test.evidence, process)]
            for answer, incumbent in zip(answers, pool.incumbent, strict=False):
                values.append(getattr(test.update(answer - incumbent), process))
            expected += weight * chance * np.array(values)
    np.testing.assert_allclose(expected, 1.0, rtol=1e-9)


SCORES = st.sampled_from([0.0, 0.25, 0.5, 1.0])
ROWS = st.lists(st.tuples(SCORES, SCORES, st.tuples(SCORES, SCORES)), min_size=4, max_size=30)


@given(rows=ROWS, margin=st.sampled_from([0.01, 0.1, 0.5]), about=st.sampled_from(["dataset", "population"]))
@settings(max_examples=60, deadline=None)
def test_no_observation_costs_more_than_the_cap_and_evidence_stays_a_number(
    rows: list[Row], margin: float, about: str
) -> None:
    pool = _pool(rows)
    plan = TestPlan(margin=margin, max_samples=len(rows) // 2)
    test = CovariateTest(plan, pool, about)  # type: ignore[arg-type]  # hypothesis gives a str
    before = test.evidence
    for incumbent, candidate, _ in rows[: len(rows) // 2]:
        now = test.update(candidate - incumbent)
        for process in PROCESSES:
            assert math.isfinite(getattr(now, process))
            assert getattr(now, process) >= (1.0 - BET_CAP - 1e-9) * getattr(before, process)
        before = now


def _world(seed: int, count: int, models: int, delta: float) -> tuple[list[Row], float]:
    """A pool of right and wrong answers of alike models, and the candidate's true mean difference on it."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(0.9, 1.2, count)
    right = (ease + rng.normal(0, 0.8, (models + 2, count)) > 0).astype(float)
    candidate = right[1].copy()
    surplus = round((candidate.mean() - right[0].mean() - delta) * count)
    flip = rng.permutation(np.flatnonzero(candidate == (1.0 if surplus > 0 else 0.0)))[: abs(surplus)]
    candidate[flip] = 1.0 - candidate[flip]
    rows = [(a, c, tuple(x)) for a, c, x in zip(right[0], candidate, right[2:].T.tolist(), strict=True)]
    return rows, float((candidate - right[0]).mean())


def test_wrong_passes_and_power_hold_by_simulation_with_fewer_samples_than_without_covariates() -> None:
    plan = TestPlan(margin=0.05)
    wrong, right, spent, spent_plain = 0, 0, 0, 0
    for seed in range(30):
        for delta in (-0.05, 0.0):
            rows, mean = _world(seed, 500, 5, delta)
            assert mean == pytest.approx(delta)
            test, plain = CovariateTest(plan, _pool(rows), "dataset"), PairedTest(plan)
            for incumbent, candidate, _ in rows:
                if not test.evidence.finished:
                    test.update(candidate - incumbent)
                if not plain.evidence.finished:
                    plain.update(candidate - incumbent)
            wrong += delta < 0.0 and test.evidence.verdict == "pass"
            if delta == 0.0:
                right += test.evidence.verdict == "pass"
                spent += test.evidence.samples
                spent_plain += plain.evidence.samples
    assert wrong <= 5  # 5 % of 30 is 1.5
    assert right >= 24  # 90 % of 30 is 27
    assert spent < 0.7 * spent_plain


@pytest.mark.parametrize(("lost", "certain"), [(4, "no_worse"), (6, "worse")])
def test_a_pool_that_was_drawn_whole_is_certain(lost: int, certain: str) -> None:
    rows: list[Row] = [(1.0, 0.0 if number < lost else 1.0, ()) for number in range(100)]
    random.Random(3).shuffle(rows)
    test = CovariateTest(TestPlan(margin=0.05), _pool(rows), "dataset")
    for incumbent, candidate, _ in rows:
        test.update(candidate - incumbent)
    assert getattr(test.evidence, certain) > 1e100
    assert test.evidence.futility > 1e100, "some loss is certain too"
    assert test.evidence.better < 1.0
    with pytest.raises(ValueError, match="were drawn"):
        test.update(0.0)


def test_a_loss_of_exactly_the_margin_is_never_called_certain() -> None:
    rows: list[Row] = [(1.0, 0.0 if number % 20 == 7 else 1.0, ()) for number in range(100)]
    test = CovariateTest(TestPlan(margin=0.05), _pool(rows), "dataset")
    for incumbent, candidate, _ in rows:
        test.update(candidate - incumbent)
    assert test.evidence.no_worse < 1e3
    assert test.evidence.worse < 1e3
    assert test.evidence.finished


def test_a_plan_with_fewer_samples_than_it_needs_ends_inconclusive() -> None:
    rows, _ = _world(1, 400, 3, 0.0)
    test = CovariateTest(TestPlan(margin=0.02, max_samples=10), _pool(rows), "dataset")
    for incumbent, candidate, _ in rows[:10]:
        test.update(candidate - incumbent)
    assert (test.evidence.verdict, test.evidence.shown, test.evidence.finished) == ("inconclusive", None, True)


@pytest.mark.parametrize("about", ["dataset", "population"])
def test_no_verdict_comes_before_the_least_number_of_samples(about: str) -> None:
    rows, _ = _world(1, 400, 3, 0.0)
    pool, plan = _pool(rows), TestPlan(margin=0.2, max_samples=200, min_samples=150)
    test = CovariateTest(plan, pool, about)  # type: ignore[arg-type]  # a str
    seen = [test.update(None)]
    seen += [test.update(candidate - incumbent) for incumbent, candidate, _ in rows[1:152]]
    assert seen[100].peak.no_worse >= 1 / plan.alpha
    assert [evidence.verdict for evidence in seen[:150]] == ["inconclusive"] * 150, "one could not be scored"
    assert seen[150].verdict == "pass"


@pytest.mark.parametrize("about", ["dataset", "population"])
def test_a_pool_read_back_from_json_gives_the_same_e_values_bit_by_bit(about: str) -> None:
    rows, _ = _world(2, 60, 3, 0.0)
    rows = [(a / 3, c / 3, tuple(score / 7 for score in x)) for a, c, x in rows]
    pool, plan = _pool(rows), TestPlan(margin=0.05, max_samples=20)
    again = Pool.from_document(json.loads(json.dumps(pool.document())))
    assert again == pool
    first, second = CovariateTest(plan, pool, about), CovariateTest(plan, again, about)  # type: ignore[arg-type]  # a str
    for incumbent, candidate, _ in rows[:20]:
        assert first.update(candidate - incumbent) == second.update(candidate - incumbent)


def test_the_next_bets_do_not_depend_on_which_observation_is_next() -> None:
    rows, _ = _world(4, 40, 2, 0.0)
    swapped = [*rows[:10], *reversed(rows[10:])]
    tests = [CovariateTest(TestPlan(margin=0.05), _pool(order), "dataset") for order in (rows, swapped)]
    for incumbent, candidate, _ in rows[:10]:
        for test in tests:
            test.update(candidate - incumbent)
    np.testing.assert_allclose(tests[0].bets(), tests[1].bets(), rtol=1e-9)


def test_models_without_a_score_everywhere_constants_and_copies_are_left_out() -> None:
    incumbent = (1.0, 0.0, 1.0, 0.0)
    models = {
        "holes": (1.0, None, 0.0, 0.0),
        "short": (1.0, 0.0),
        "constant": (1.0, 1.0, 1.0, 1.0),
        "useful": (1.0, 0.0, 0.0, 0.0),
        "copy": (1.0, 0.0, 0.0, 0.0),
        "the incumbent again": incumbent,
        "late": (0.0, 0.0, 0.0, 1.0),
    }
    pool = pool_of(incumbent, models, "dataset")
    assert pool is not None
    assert pool.models == ("useful", "late")
    assert pool.features[3] == (0.0, 1.0)
    few = pool_of(incumbent, models, "dataset", most=1)
    assert few is not None
    assert few.models == ("useful",)


def test_for_a_population_the_choice_of_models_does_not_look_at_scores() -> None:
    models = {"constant": (1.0, 1.0), "copy": (1.0, 1.0), "holes": (None, 1.0)}
    pool = pool_of((1.0, 0.0), models, "population")
    assert pool is not None
    assert pool.models == ("constant", "copy")


def test_without_all_scores_of_the_incumbent_there_is_no_pool() -> None:
    assert pool_of((1.0, None), {"other": (1.0, 0.0)}, "dataset") is None
    assert pool_of((), {}, "dataset") is None


def test_the_plain_test_is_used_where_there_is_no_pool_or_no_partner() -> None:
    rows, _ = _world(5, 40, 2, 0.0)
    pool = _pool(rows)
    whole, half = TestPlan(margin=0.05), TestPlan(margin=0.05, max_samples=20)
    assert (partners(whole, pool), partners(half, pool)) == (0, 1)
    assert isinstance(sequential_test(whole, None, "dataset"), PairedTest)
    assert isinstance(sequential_test(whole, pool, "population"), PairedTest)
    assert isinstance(sequential_test(half, pool, "population"), CovariateTest)
    assert isinstance(sequential_test(whole, pool, "dataset"), CovariateTest)
    with pytest.raises(ValueError, match="partner"):
        CovariateTest(whole, pool, "population")


@pytest.mark.parametrize("difference", [0.5, -1.5, math.nan, math.inf])
def test_differences_that_do_not_fit_the_known_score_are_refused_and_change_nothing(difference: float) -> None:
    test = CovariateTest(TestPlan(margin=0.05), _pool([(1.0, 0.0, ()), (0.0, 0.0, ())]), "dataset")
    before = test.evidence
    with pytest.raises(ValueError, match="does not fit"):
        test.update(difference)
    assert test.evidence == before


@pytest.mark.parametrize(
    "document",
    [
        {"models": [], "incumbent": [], "features": []},
        {"models": ["a"], "incumbent": [1.0], "features": [[]]},
        {"models": [], "incumbent": [1.0], "features": []},
        {"models": ["a"], "incumbent": [1.0], "features": [[1.5]]},
        {"models": [], "incumbent": [math.nan], "features": [[]]},
    ],
)
def test_impossible_pools_are_refused(document: dict[str, list[object]]) -> None:
    with pytest.raises(ValueError, match="pool"):
        Pool.from_document(document)


def test_samples_left_ends_at_zero_and_never_exceeds_the_pool() -> None:
    rows, _ = _world(6, 300, 3, 0.05)
    test = CovariateTest(TestPlan(margin=0.05), _pool(rows), "dataset")
    assert test.samples_left() is None
    for count, (incumbent, candidate, _) in enumerate(rows, start=1):
        test.update(candidate - incumbent)
        left = test.samples_left()
        assert left is None or left <= 300 - count
        if test.evidence.finished:
            break
    assert test.samples_left() == 0


@pytest.mark.parametrize("about", ["dataset", "population"])
def test_pools_of_constant_scores_and_of_one_cluster_size_do_no_harm(about: str) -> None:
    pool = _pool([(1.0, 1.0, (1.0, 0.0))] * 200)
    test = CovariateTest(TestPlan(margin=0.1, max_samples=100), pool, about)  # type: ignore[arg-type]  # a str
    while not test.evidence.finished:
        test.update(0.0)
    assert (test.evidence.verdict, test.evidence.shown) == ("pass", "no worse")
