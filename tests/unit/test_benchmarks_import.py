"""Benchmarks are run by hand: whatever they import must be there all the same."""

import importlib
import pkgutil

import benchmarks
import pytest

ELSEWHERE = {f"benchmarks.evals.{name}" for name in ("bare_loop", "evalscope_run", "inspect_task", "launch")}
"""Run as processes of their own, with arguments, some in an environment of another tool's."""


@pytest.mark.parametrize(
    "name",
    sorted(
        each.name for each in pkgutil.walk_packages(benchmarks.__path__, "benchmarks.") if each.name not in ELSEWHERE
    ),
)
def test_a_benchmark_finds_what_it_imports(name: str) -> None:
    assert importlib.import_module(name).__name__ == name
