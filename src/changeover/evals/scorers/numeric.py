"""The `numeric` scorer: the number that an answer comes to."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field, JsonValue

from changeover.core.toml import Declared
from changeover.evals.scorers.base import Case, SampleTarget, Score, Scorer, pure
from changeover.evals.scorers.figures import Figure, Separator, figures, plain
from changeover.evals.scorers.prose import LIST_MARK


class NumericOptions(Declared):
    """Which number counts, and how close it must be."""

    which: Literal["last", "first", "only"] = "last"
    """`only`: an answer that states two different numbers scores 0."""
    after: str | None = None
    """Numbers are read only after the last place where this stands, such as `####` or `Answer:`."""
    absolute: float = Field(default=0.0, ge=0)
    """Largest difference from the target; the larger of the two tolerances counts."""
    relative: float = Field(default=0.0, ge=0, lt=1)
    """Largest difference as a share of the target."""
    percent: Literal["points", "share"] = "points"
    """What 12 % is, in the answer and in a target that is a text: `points`, 12; `share`, 0.12."""
    decimal: Separator = "auto"
    """What stands before the fraction of a number. `auto`: 38.000 is 38 or 38000, whichever fits."""


class NumericTarget(SampleTarget):
    """The right number."""

    value: int | float | str
    """A number, or a text with one, such as `1,815 million`."""
    absolute: float | None = Field(default=None, ge=0)
    """For this sample, instead of the option."""
    relative: float | None = Field(default=None, ge=0, lt=1)
    """For this sample, instead of the option."""


def score_numeric(case: Case[NumericOptions, NumericTarget]) -> Score:
    """1 if the answer's number is the target's, within the tolerance, else 0.

    1,815 is 1815; 1.815,5 is 1815.5; 3.2 million is 3200000; 1億2,345万 is 123450000; −5, -$5 and ▲5 are below 0.
    Fractions such as 3/4 and numbers in words are not read. The numbers of a numbered list are not counted.
    """
    options, target = case.options, case.target
    text = case.answer.text
    if options.after is not None:
        _, mark, text = text.rpartition(options.after)
        if not mark:
            return Score(value=0.0, detail={"read": None, "reason": f"`{options.after}` stands nowhere"})
    found = list(figures(LIST_MARK.sub("", text), options.decimal))
    if not found:
        return Score(value=0.0, detail={"read": None, "reason": "no number"})
    if options.which == "only" and len({_values(figure, options)[0] for figure in found}) > 1:
        shown: list[JsonValue] = [figure.shown for figure in found]
        return Score(value=0.0, detail={"read": shown, "reason": "more than one number"})
    chosen = found[0] if options.which == "first" else found[-1]
    [wanted, *_] = _wanted(target, options)
    absolute = _exact(options.absolute if target.absolute is None else target.absolute)
    relative = _exact(options.relative if target.relative is None else target.relative)
    allowed = max(absolute, relative * abs(wanted))
    right = any(abs(value - wanted) <= allowed for value in _values(chosen, options))
    return Score(value=float(right), detail={"read": chosen.shown, "wanted": plain(wanted)})


def _values(figure: Figure, options: NumericOptions) -> Sequence[Decimal]:
    """What a number may mean. One that falls into parts, as a date does, is its last part."""
    sign = Decimal(-1 if figure.negative else 1)
    unit = Decimal("0.01") if figure.percent and options.percent == "share" else Decimal(1)
    return [sign * unit * reading[-1] for reading in figure.readings]


def _wanted(target: NumericTarget, options: NumericOptions) -> Sequence[Decimal]:
    if not isinstance(target.value, str):
        return [_exact(target.value)]
    found = list(figures(target.value, options.decimal))
    if len(found) != 1 or len(found[0].readings[0]) != 1:
        raise ValueError(f"`{target.value}` is not one number")
    return _values(found[0], options)


def _exact(number: float) -> Decimal:
    return Decimal(str(number))


def _is_a_number(sample: object, target: NumericTarget, options: NumericOptions, prepared: object) -> None:
    del sample, prepared
    _wanted(target, options)


def _from_text(text: str) -> dict[str, Any]:
    return {"value": text}


SCORER = Scorer(
    version="1",
    options=NumericOptions,
    target=NumericTarget,
    from_text=_from_text,
    score=pure(score_numeric),
    check=_is_a_number,
)
