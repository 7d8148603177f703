"""Many tasks decided at once keep the share of wrong discoveries low, however they depend on each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeover.evals.multiplicity import discovery_rates, e_bh


@pytest.mark.parametrize(
    ("e_values", "rate", "found"),
    [
        ({}, 0.1, set()),
        ({"a": 9.99}, 0.1, set()),
        ({"a": 10.0}, 0.1, {"a"}),
        ({"a": 20.0, "b": 9.0}, 0.1, {"a"}),
        ({"a": 20.0, "b": 10.0}, 0.1, {"a", "b"}),
        ({"a": 11.0, "b": 11.0}, 0.1, {"a", "b"}),
        ({"a": 11.0, "b": 9.0, "c": 0.0}, 0.1, set()),
        ({"a": math.inf, "b": 0.0}, 0.1, {"a"}),
        ({"a": 40.0, "b": 20.0}, 0.05, {"a", "b"}),
        ({"a": 30.0, "b": 14.9, "c": 10.1}, 0.1, {"a", "b", "c"}),
    ],
)
def test_the_rule_by_hand(e_values: dict[str, float], rate: float, found: set[str]) -> None:
    assert e_bh(e_values, rate) == found


@given(
    st.lists(st.floats(0.0, 1e6), max_size=12),
    st.sampled_from([0.01, 0.05, 0.1, 0.3]),
)
def test_it_is_the_textbooks_step_up_rule(values: list[float], rate: float) -> None:
    ordered = sorted(values, reverse=True)
    count = max((k for k, value in enumerate(ordered, 1) if value >= len(values) / (k * rate) * (1 - 1e-12)), default=0)
    found = e_bh({str(number): value for number, value in enumerate(values)}, rate)
    assert abs(len(found) - count) <= sum(math.isclose(v * k * rate, len(values)) for k, v in enumerate(ordered, 1))


def test_the_adjusted_rate_is_where_a_task_becomes_a_discovery() -> None:
    e_values = {"a": 50.0, "b": 12.0, "c": 11.0, "d": 0.4}
    for name, needed in discovery_rates(e_values).items():
        if needed < 1.0:
            assert name in e_bh(e_values, needed * 1.001)
            assert name not in e_bh(e_values, needed * 0.999)
    assert discovery_rates(e_values)["d"] > 1.0


@pytest.mark.parametrize("shared", [0.0, 0.7, 1.0])
def test_the_share_of_wrong_discoveries_stays_below_the_rate_whatever_the_dependence(shared: float) -> None:
    rng = np.random.default_rng(4)
    wrong, nulls, tasks = [], 20, 30
    for _ in range(2000):
        noise = math.sqrt(shared) * rng.standard_normal() + math.sqrt(1 - shared) * rng.standard_normal(tasks)
        noise[nulls:] += 3.0
        values = np.exp(2.0 * noise - 2.0)  # likelihood ratios: their mean is 1 where the null is true
        found = e_bh({str(number): float(value) for number, value in enumerate(values)})
        wrong.append(sum(int(name) < nulls for name in found) / max(1, len(found)))
    assert np.mean(wrong) <= 0.10 + 3 * np.std(wrong) / math.sqrt(2000)


def test_running_maxima_would_break_the_promise() -> None:
    """Why e-values are taken where each comparison stopped."""
    rng = np.random.default_rng(5)
    steps = rng.standard_normal((4000, 400)) * 0.3
    paths = np.exp(np.cumsum(steps - 0.045, axis=1))
    assert paths[:, -1].mean() < 1.5
    assert np.maximum.accumulate(paths, axis=1)[:, -1].mean() > 2.0


@pytest.mark.parametrize("e_values", [{"a": -1.0}, {"a": math.nan}])
def test_impossible_e_values_are_refused(e_values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="e-value of `a`"):
        e_bh(e_values)


@pytest.mark.parametrize("rate", [0.0, 1.0, math.nan])
def test_impossible_rates_are_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        e_bh({"a": 1.0}, rate)
