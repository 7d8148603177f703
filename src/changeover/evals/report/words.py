"""How a report says things: figures, the verdict's sentence, and texts of unknown origin made safe to look at.

Shared by all its forms, so that they cannot say different things of one comparison.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from changeover.evals.report.language import ENGLISH, Language
from changeover.evals.report.record import ComparisonReport, Slice
from changeover.evals.sequential import Process, Shown

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters; a lone carriage return too
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # marks and overrides of direction, invisible ones
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # shorthand, musical and tag characters
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"  # halves of surrogate pairs; what will never be a character
)
"""The joiners U+200C and U+200D are left: Persian and families of emoji are written with them."""

MOST_DECIMALS = 12
"""Of a price; what is less is nothing."""


def visible(text: str) -> str:
    """Text with everything that hides, reorders or breaks text replaced by something that can be seen."""
    return _UNSAFE.sub(_show, text.replace("\r\n", "\n"))


def _show(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)  # the pictures of control characters
    if 0xD800 <= code <= 0xDFFF or 0xFDD0 <= code <= 0xFDEF or (code >= 0xFFFE and code <= 0xFFFF):
        return "\ufffd"
    return f"[U+{code:04X}]"


def shorten(text: str, most: int) -> tuple[str, int]:
    """Give the text, at most `most` characters of it, and how many were left out."""
    return (text, 0) if len(text) <= most else (text[:most].rstrip(), len(text) - most)


def as_text(value: Any, most: int = 4000) -> str:
    """A JSON value as a person reads it: strings as they are, the rest as JSON on as many lines as it needs."""
    if isinstance(value, str):
        text = value
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
        if len(text) > 72:
            text = json.dumps(value, ensure_ascii=False, default=str, indent=2)
    shown, left = shorten(text, most)
    return f"{shown} … {count(left)} more characters" if left else shown


def count(number: int) -> str:
    return f"{number:,}"


def several(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: `1 sample`, `31 samples`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def points(share: float, *, digits: int = 1) -> str:
    """A difference of scores in points of 100, with its sign."""
    if not math.isfinite(share):
        return "–"
    value = round(100 * share, digits) + 0.0  # no negative zero
    sign = "+" if value > 0 else "−" if value < 0 else ""
    return f"{sign}{abs(value):.{digits}f}"


def score(share: float) -> str:
    """A mean score in points of 100."""
    return f"{100 * share:.1f}" if math.isfinite(share) else "–"


def size(share: float) -> str:
    """A margin or a loss in points, without a sign and without needless zeros."""
    text = f"{100 * abs(share):.1f}".removesuffix(".0")
    return f"{text} point" if text == "1" else f"{text} points"


def interval(low: float, high: float, *, digits: int = 1) -> str:
    """An interval of a difference, in points."""
    return f"{points(low, digits=digits)} to {points(high, digits=digits)}"


def percent(share: float) -> str:
    """A share, with as many digits as it deserves."""
    return f"{100 * share:.1f}".removesuffix(".0") + " %" if math.isfinite(share) else "–"


def odds(e_value: float) -> str:
    """An e-value as odds."""
    if not e_value < 10_000:
        return "> 10,000 : 1"
    if e_value >= 10:
        # Downwards: 19.96 has not reached 20.
        return f"{math.floor(e_value):,} : 1"
    if e_value >= 0.1:
        return f"{math.floor(10 * e_value) / 10:.1f} : 1"
    return f"{e_value:.2f} : 1" if e_value >= 0.01 else "< 0.01 : 1"


def needed(rate: float) -> str:
    """The odds that an error rate asks for."""
    return f"{1 / rate:,.1f}".removesuffix(".0") + " : 1"


def times(ratio: float) -> str:
    if not math.isfinite(ratio):
        return "–"
    return f"{ratio:,.0f}×" if ratio >= 100 else f"{ratio:.1f}×" if ratio >= 10 else f"{ratio:.2f}×"


def amount(value: float, unit: str) -> str:
    """A latency, a length or a cost with its unit."""
    if not math.isfinite(value):
        return "–"
    if unit == "ms":
        return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.0f} ms"
    if unit == "USD":
        return dollars(value)
    return f"{value:,.0f} {unit}"


def dollars(value: float) -> str:
    """US dollars to the cent, and less than one to three digits that count: never as a power of ten.

    >>> dollars(1234.5), dollars(0.433), dollars(0.0000128), dollars(0.0)
    ('$1,234.50', '$0.433', '$0.0000128', '$0')
    """
    if value >= 1:
        return f"${value:,.2f}"
    if value <= 0:
        return "$0"
    digits = min(2 - math.floor(math.log10(value)), MOST_DECIMALS)
    return f"${value:.{digits}f}".rstrip("0").rstrip(".")


def duration(seconds: float) -> str:
    """How long something took, in at most two units."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, left = divmod(minutes, 60)
    return f"{hours} h {left:02d} m" if hours else f"{minutes} m {rest:02d} s"


def p_value(value: float) -> str:
    """A p-value with its sign: `= 0.03`, `< 0.001`."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}" if value < 0.1 else f"= {value:.2f}"


def headline(report: ComparisonReport) -> str:
    """The verdict in one sentence, without its word: `B is better than A on code`."""
    candidate, incumbent, task = report.candidate.deployment, report.incumbent.deployment, report.task
    if report.verdict == "inconclusive":
        return f"It is open whether {candidate} can replace {incumbent} on {task}"
    claim = report.shown or ("no worse" if report.verdict == "pass" else "not as good")
    return f"{candidate} is {claim} {'as' if claim == 'not as good' else 'than'} {incumbent} on {task}"


def headline_parts(report: ComparisonReport, language: Language = ENGLISH) -> list[tuple[str, bool]]:
    """The same in a language, in parts, and whether each is a name."""
    names = {report.candidate.deployment, report.incumbent.deployment, report.task}
    longest_first = sorted(names, key=len, reverse=True)
    either = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
    said, parts, done = language.said(headline(report)), list[tuple[str, bool]](), 0
    for match in either.finditer(said):
        parts += [(said[done : match.start()], False), (match[0], True)]
        done = match.end()
    return [part for part in [*parts, (said[done:], False)] if part[0]]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a process gathers evidence for."""

    process: Process
    words: Shown
    e_value: float
    """At the end."""
    rate: float
    """Error rate; the bound is its inverse."""


def claims(report: ComparisonReport) -> dict[Process, Claim]:
    """What the four processes say at the end."""
    said: tuple[tuple[Process, Shown, float, float], ...] = (
        ("no_worse", "no worse", report.no_worse, report.alpha),
        ("better", "better", report.better, report.alpha),
        ("futility", "not as good", report.futility, report.beta),
        ("worse", "worse", report.worse, report.alpha),
    )
    return {name: Claim(process=name, words=words, e_value=value, rate=rate) for name, words, value, rate in said}


def main_claim(report: ComparisonReport) -> Claim:
    """The strongest claim that was shown, or else the one that came nearest to a verdict."""
    found = claims(report)
    for claim in found.values():
        if claim.words == report.shown:
            return claim
    among: dict[str, tuple[Process, ...]] = {
        "pass": ("no_worse",),
        "fail": ("futility", "worse"),
        "inconclusive": ("no_worse", "futility"),
    }
    return max((found[name] for name in among[report.verdict]), key=lambda claim: claim.e_value * claim.rate)


def untold(part: Slice, report: ComparisonReport) -> bool:
    """Whether a slice leaves a loss of the margin open because it is small, and not because there is one."""
    blind = part.detectable_loss is None or part.detectable_loss > report.margin
    return blind and part.low <= -report.margin and part.high >= 0.0
