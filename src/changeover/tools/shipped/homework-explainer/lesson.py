"""Looks through an explanation: does its first step give the answer away, and are its sums right?"""

from __future__ import annotations

import re
from decimal import Decimal, DivisionByZero, InvalidOperation
from typing import Any, cast

_NUMBER = r"\d+(?:[.,]\d+)?"
_SUM = re.compile(rf"(?<![\d.,^/*×·+−-])\s*({_NUMBER})\s*([+×*·÷:/−-])\s*({_NUMBER})\s*=\s*([−-]?{_NUMBER})(?![\d^])")
_NEAR = Decimal("0.01")


def problem(value: Any) -> str | None:
    """What is wrong with an explanation; None if nothing is."""
    lesson = read(value)
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
    return {"given": " ".join(str(lesson.get("given") or "").split()), "steps": steps, "answer": answer, "wrong_sums": wrong}


def gives_away(steps: list[str], answer: str) -> bool:
    """Whether the number of the answer is what the first step comes to."""
    number = re.search(_NUMBER, answer)
    return bool(number and steps and re.search(rf"=\s*{re.escape(number[0])}(?![\d.,]*\d)", steps[0]))


def wrong_sums(text: str) -> list[str]:
    """Sums of two numbers whose result is not what they make: `7 × 8 = 54`. Rounded results count as right."""
    wrong: list[str] = []
    for found in _SUM.finditer(text):
        left, right, result = (Decimal(found[group].replace(",", ".").replace("−", "-")) for group in (1, 3, 4))
        try:
            true = _computed(left, found[2], right)
        except (DivisionByZero, InvalidOperation):
            continue
        places = max(0, -cast("int", result.as_tuple().exponent))
        if abs(true - result) > max(_NEAR, Decimal(1).scaleb(-places) / 2) if true % 1 else true != result:
            wrong.append(" ".join(found[0].split()))
    return wrong


def _computed(left: Decimal, sign: str, right: Decimal) -> Decimal:
    if sign == "+":
        return left + right
    if sign in "−-":
        return left - right
    return left * right if sign in "×*·" else left / right
