"""How often citing is right, on sentences that were labelled by hand."""

import pytest
from benchmarks.citing import KINDS, measure, pairs

EVERY = list(pairs())


def test_there_are_pairs_of_every_kind_in_three_languages() -> None:
    assert len(EVERY) >= 80
    assert {(pair.language, pair.kind) for pair in EVERY} == {
        (code, kind) for code in ("en", "de", "ja") for kind in KINDS
    }
    assert len({pair.claim for pair in EVERY}) == len(EVERY)


@pytest.mark.parametrize(("half", "precision", "recall"), [("a", 0.98, 0.83), ("b", 0.93, 0.81)])
def test_what_is_told_to_be_borne_out_is_and_most_of_what_is_true_is_told(
    half: str, precision: float, recall: float
) -> None:
    found = measure([pair for pair in EVERY if pair.half == half])
    assert found.precision >= precision
    assert found.recall >= recall
    assert found.right["number"].split("/")[0] == found.right["number"].split("/")[1]
