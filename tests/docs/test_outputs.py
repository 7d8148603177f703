"""How what a page shows is compared with what was printed."""

from __future__ import annotations

import pytest
from tests.support.outputs import unlike

PRINTED = "PASS  repeats is better than echo on confirm\n      memory  1.0 GiB of 18.8 GiB, digest 446d4edcc9451acf\n"


@pytest.mark.parametrize(
    "shown",
    [
        "PASS  repeats is better than echo on confirm",
        "memory  980 MiB of 4.0 GiB, digest 0a7d4edcc9451ac0",
        "memory 1.0 GiB of …",
        "…",
    ],
)
def test_figures_and_what_is_left_out_may_differ(shown: str) -> None:
    assert unlike(shown, PRINTED) == []


@pytest.mark.parametrize(
    "shown", ["FAIL  smollm is worse than echo on confirm", "room 4 × 4,096 tokens", "memory of …"]
)
def test_other_words_are_named(shown: str) -> None:
    assert unlike(shown, PRINTED) == [shown]
