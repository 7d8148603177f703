"""Which of several things is beaten by another one on every axis that it is known on. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Values = Sequence[float | None]
"""One for each axis, more is better; None: not known."""


def beats(one: Values, other: Values, decisive: Sequence[int]) -> bool:
    """Whether `one` is known wherever `other` is, nowhere worse there, and somewhere better.

    What is not known of `one` can beat nothing; what is not known of `other` is not held against it. On one of the
    decisive axes `other` must be known: what may be better than anything is not beaten.
    """
    if all(other[place] is None for place in decisive):
        return False
    better = False
    for mine, its in zip(one, other, strict=True):
        if its is None:
            continue
        if mine is None or mine < its:
            return False
        better = better or mine > its
    return better


def fronts(of: Mapping[str, Values], decisive: Sequence[int]) -> dict[str, tuple[int, str | None]]:
    """By name: the front, from 1 on, and one of the front before that beats it.

    The first front is what nothing beats; the next what nothing but the first beats; and so on.
    """
    left, by, found, front = dict(of), dict[str, str](), dict[str, tuple[int, str | None]](), 1
    while left:
        beaten = {
            name: winner
            for name, values in left.items()
            if (winner := next((each for each, its in left.items() if beats(its, values, decisive)), None)) is not None
        }
        found.update({name: (front, by.get(name)) for name in left if name not in beaten})
        by.update({name: winner for name, winner in beaten.items() if winner not in beaten})
        left = {name: left[name] for name in beaten}
        front += 1
    return found


def in_order(values: Values) -> tuple[tuple[bool, float], ...]:
    """A key that sorts by the first axis, then by the next; what is not known comes last."""
    return tuple((value is None, -(value or 0.0)) for value in values)
