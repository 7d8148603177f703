"""Which adapters an engine is to hold next."""

from __future__ import annotations

from pathlib import Path

from changeover.serving.plan import Adapter
from changeover.serving.riders import Load, next_load

A, B, C = (Adapter(deployment=name, artifact=Path(name)) for name in "abc")


def test_what_lacks_is_added_together_behind_what_is_held() -> None:
    assert next_load([A], [A, B, C], one_by_one=False) == Load((A, B, C), (B, C))


def test_after_several_failed_each_is_tried_alone() -> None:
    assert next_load([A], [A, B, C], one_by_one=True) == Load((A, B), (B,))


def test_one_that_nobody_wants_goes_with_the_next_change_and_not_before() -> None:
    assert next_load([A, B], [A], one_by_one=False) is None
    assert next_load([A, B], [A, C], one_by_one=False) == Load((A, C), (C,))


def test_the_same_adapter_at_another_scale_is_another_one() -> None:
    half = Adapter(deployment="a", artifact=Path("a"), scale=0.5)
    assert next_load([A], [half], one_by_one=False) == Load((half,), (half,))
