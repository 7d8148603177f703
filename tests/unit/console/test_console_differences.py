"""Two answers next to each other: what differs is marked, and no two answers take long."""

from __future__ import annotations

import re

import pytest

from changeover.console.differences import marked, plainly
from changeover.evals.differences import LONGEST_COMPARED, MOST_COMPARED, compare

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


def test_a_character_of_a_language_without_spaces_is_a_word_of_its_own() -> None:
    before, after = marked("本日の売上は百万円です。", "本日の売上は三百万円です。")
    assert (before, after) == ("本日の売上は百万円です。", "本日の売上は<ins>三</ins>百万円です。")


def test_lines_that_break_elsewhere_say_the_same() -> None:
    compared = compare("one two\nthree", "one\n  two three ")
    assert compared is not None
    assert compared.alike == 1.0
    assert not any(differs for _, differs in (*compared.before, *compared.after))


def test_what_is_too_long_to_be_compared_is_shown_as_it_is() -> None:
    for text in ("x" * (LONGEST_COMPARED + 1), "x " * (MOST_COMPARED + 1)):
        assert compare(text, "x") is None
        assert marked(text, "y") == plainly(text, "y")
