# ruff: noqa: RUF001 - curly quotes are what small models write
"""Replies as small judges really write them."""

from __future__ import annotations

import pytest

from changeover.evals.judges.parse import read_reason, read_score, read_verdict


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ('{"reason": "A names the figure.", "better": "A"}', "first"),
        ('{"reason": "B", "better": "b"}', "second"),
        ('{"reason": "the same", "better": "tie"}', "tie"),
        ('```json\n{"reason": "x", "better": "Answer B"}\n```', "second"),
        ('{"better": "answer-A"}', "first"),
        ('{"winner": "[[B]]"}', "second"),
        ('{"reason": "neither is right", "better": "neither"}', "tie"),
        ('Sure! Here it is:\n{"reason": "It says "hello".", "better": "A"}', "first"),
        ("{'reason': 'x', 'better': 'B'}", "second"),
        ('{"reason": "A is better than B at first sight", "better": "B"}', "second"),
        ("A", "first"),
        ("**B**", "second"),
        ("Answer: A.", "first"),
        ("The better one is: Answer A", "first"),
        ("A and B are equally good.", "tie"),
        ("Tie.", "tie"),
        ("The better answer is B because it is complete.", "second"),
        ("Answer A is clearly better: it is right.", "first"),
        ("I would choose Answer B.", "second"),
        ("Both answers are equally good.", "tie"),
        ("It’s a tie", "tie"),
        ("My verdict: [[A]]", "first"),
        ("<think>A is better. No, B is better.</think>\n\nBetter: A", "first"),
        # What says nothing, two things, or only repeats the question:
        ('{"reason": "why", "better": "A or B or tie"}', None),
        ('"better": "A or B or tie"', None),
        ("Better: A, B or tie?", None),
        ('{"better": "A"} {"better": "B"}', None),
        ("Answer A is better. Answer B is better.", None),
        ("A is not better than B.", None),
        ("Answer A's style is nice. A good answer says more.", None),
        ('{"reason": "it was cut off before', None),
        ("<think>A is better, I am sure, and", None),
        ('{"better": "C"}', None),
        ("{" * 3000, None),
        ("", None),
    ],
)
def test_verdicts(reply: str, verdict: str | None) -> None:
    assert read_verdict(reply) == verdict


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ('{"reason": "good", "score": 4}', 4.0),
        ('{"reason": "good", "score": "4"}', 4.0),
        ('{"score": 3.5}', 3.5),
        ('Here:\n```\n{"reason": "2 of 3 facts", "score": 2}\n```', 2.0),
        ('{"reason": "says "no"", "score": 5}', 5.0),
        ("4", 4.0),
        ("**4/5**", 4.0),
        ("Score: 3", 3.0),
        ("I give it a score of 4 out of 5.", 4.0),
        ("Level 2, because the date is missing.", 2.0),
        ("<think>score: 1</think>score: 5", 5.0),
        ('{"reason": "x", "score": 6}', None),
        ('{"reason": "x", "score": 0}', None),
        ('{"reason": "x", "score": -1}', None),
        ('{"reason": "x", "score": true}', None),
        ('{"reason": "x", "score": NaN}', None),
        ("Score: 8/10", None),
        ("Score: 3. On reflection, score: 4.", None),
        ("The answer names 3 of the facts.", None),
        ('{"score": 2} {"score": 3}', None),
        ("", None),
    ],
)
def test_scores_on_a_scale_of_five(reply: str, score: float | None) -> None:
    assert read_score(reply, 5) == score


def test_a_reason_is_short_and_on_one_line() -> None:
    assert read_reason('{"reason": "First.\\n  Second.", "better": "A"}') == "First. Second."
    assert len(read_reason("word " * 200)) == 300
