"""Two answers next to each other: what differs is marked, and no two answers take long."""

from __future__ import annotations

import re

import pytest

from changeover.console.differences import MOST_COMPARED, marked, plainly

WORDS = MOST_COMPARED // 2 - 1


def without_marks(text: str) -> str:
    return re.sub(r"</?(?:del|ins)>", "", text)


def test_words_that_differ_are_marked_on_their_side() -> None:
    before, after = marked("The total is 12 EUR.", "The total is 21 EUR, net.")
    assert before == "The total is<del> 12</del> EUR."
    assert after == "The total is<ins> 21</ins> EUR<ins>, net</ins>."


def test_marks_change_no_text_and_a_tag_of_a_model_stays_text() -> None:
    texts = "  <b>one</b>\n\ttwo ", "<b>two</b> \n"
    assert tuple(map(without_marks, marked(*texts))) == plainly(*texts)


def test_long_texts_that_are_nearly_the_same_are_marked_too() -> None:
    told = " ".join(f"word{each % 90}" for each in range(WORDS))
    before, after = marked(told, told.replace("word7 ", "other ", 1))
    assert (before.count("<del>"), after.count("<ins>")) == (1, 1)


@pytest.mark.parametrize("between", [" ", ", "], ids=["spaces", "commas"])
def test_long_texts_with_nothing_but_their_punctuation_in_common_are_not_compared_for_minutes(between: str) -> None:
    """Comparing them comma by comma takes time with the cube of their length: a minute here."""
    one, other = (between.join(f"{side}{each}" for each in range(WORDS)) for side in ("a", "b"))
    before, after = marked(one, other)
    assert (before.count("<del>"), after.count("<ins>")) == (1, 1)
    assert (without_marks(before), without_marks(after)) == plainly(one, other)
