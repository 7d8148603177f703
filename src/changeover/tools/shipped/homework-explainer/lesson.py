"""Looks through an explanation: does its first step give the answer away, and are its sums right?"""

from __future__ import annotations

import re
from decimal import Decimal, DivisionByZero, InvalidOperation
from itertools import islice, product
from typing import Any, cast

_NUMBER = r"\d+(?:[.,]\d+)*"
_SIGN = r"[+×*·÷:/−-]"
_SUM = re.compile(
    rf"(?<![\w.,])({_NUMBER}(?:\s*{_SIGN}\s*{_NUMBER})+)\s*=\s*([−-]?{_NUMBER})(?![\d^]|\s*(?:%|[+×*·÷/−-]|:\s*\d))"
)
_GOES_ON = re.compile(r"(?:[+×*·÷/−^(-]|[\d)]\s*:)\s*$")
"""Before a sum: it is the end of a longer one."""
_MOST_READINGS = 64
_NEAR = Decimal("0.01")


def problem(value: Any) -> str | None:
    """What is wrong with an explanation; None if nothing is."""
    try:
        lesson = read(value)
    except ValueError:
        return "it has no steps, or no answer"
    if gives_away(lesson["steps"], lesson["answer"]):
        return "the first step gives the answer away. Let it say how to begin"
    if lesson["wrong_sums"]:
        return f"these sums are wrong: {'; '.join(lesson['wrong_sums'])}"
    return None


def read(said: Any) -> dict[str, Any]:
    """The explanation, with the sums in it that are wrong.

    Raises:
        ValueError: It is none.
    """
    lesson = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
    listed: object = lesson.get("steps")
    given = cast("list[Any]", listed) if isinstance(listed, list) else []
    steps = [" ".join(str(step).split()) for step in given if str(step).strip()]
    answer = " ".join(str(lesson.get("answer") or "").split())
    if not steps or not answer:
        raise ValueError("the model gave no explanation with steps and an answer. Try again, or type the problem")
    wrong = [each for step in steps for each in wrong_sums(step)]
    return {
        "given": " ".join(str(lesson.get("given") or "").split()),
        "steps": steps,
        "answer": answer,
        "wrong_sums": wrong,
    }


def gives_away(steps: list[str], answer: str) -> bool:
    """Whether the number of the answer is what the first step comes to."""
    number = re.search(_NUMBER, answer)
    return bool(number and steps and re.search(rf"=\s*{re.escape(number[0])}(?![\d.,]*\d)", steps[0]))


def wrong_sums(text: str) -> list[str]:
    """Sums whose result is not what they make: `7 × 8 = 54`. Rounded results, and 1,200 read either way, are right."""
    return [
        " ".join(found[0].split())
        for found in _SUM.finditer(text)
        if not _GOES_ON.search(text[: found.start()]) and not _is_right(found[1], found[2])
    ]


def _is_right(left: str, result: str) -> bool:
    tokens = re.findall(rf"{_NUMBER}|{_SIGN}", left)
    below = -1 if result[0] in "−-" else 1
    readings = product(*map(_readings, tokens[::2]), _readings(result.lstrip("−-")))
    for *numbers, said in islice(readings, _MOST_READINGS):
        try:
            true = _computed(numbers, tokens[1::2])
        except (DivisionByZero, InvalidOperation):
            return True
        places = max(0, -cast("int", said.as_tuple().exponent))
        if abs(true - below * said) <= (max(_NEAR, Decimal(1).scaleb(-places) / 2) if true % 1 and places else 0):
            return True
    return False


def _readings(number: str) -> list[Decimal]:
    """What a number may be: 2.5 and 2,5 are one, 1,200 may be a little more than 1, or 1200."""
    whole = [Decimal(re.sub("[.,]", "", number))] if re.fullmatch(r"\d{1,3}(?:[.,]\d{3})+", number) else []
    head, separator, tail = number.replace(",", ".").rpartition(".")
    return [Decimal(f"{head.replace('.', '')}{separator}{tail}"), *whole]


def _computed(numbers: list[Decimal], signs: list[str]) -> Decimal:
    """Multiplied and divided first, then added."""
    terms = [numbers[0]]
    for sign, number in zip(signs, numbers[1:], strict=True):
        if sign in "×*·":
            terms[-1] *= number
        elif sign in "÷:/":
            terms[-1] /= number
        else:
            terms.append(number if sign == "+" else -number)
    return sum(terms, Decimal(0))
