"""What was measured, as aligned lines: each figure beside what is asked of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from benchmarks.switch.candidates import WORDS, Canaries, Taken
from benchmarks.switch.load import Answer, problems
from benchmarks.switch.takeover import Followed, Ratio, Run, Windows, followed, windows

MOST_RATIO = 1.2
FEWEST = 100
"""Answers in a stretch: of fewer, a hundredth is none."""
MOST_FOLLOWED_MS = 250.0
MOST_DECIDED_MS = 1_000.0
Verdict = Literal["met", "not met", "not decided", ""]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the report."""

    words: str
    value: str
    note: str = ""
    target: str = ""
    verdict: Verdict = ""
    hard: bool = False
    """Missed, it makes the whole run fail."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """What one run showed."""

    title: str
    rows: Sequence[Row]
    figures: Mapping[str, Any]
    """The same and more, for machines."""

    @property
    def holds(self) -> bool:
        """No hard target was missed."""
        return not any(row.hard and row.verdict == "not met" for row in self.rows)


def section_of_run(title: str, run: Run) -> Section:
    """Switches under load."""
    kinds = {
        "whole answers": windows(run, lambda each: not each.stream, lambda each: each.ended),
        "first words of streams": windows(run, lambda each: each.stream, lambda each: each.first),
        "whole streams": windows(run, lambda each: each.stream, lambda each: each.ended),
    }
    rows = [*_integrity(run.answers, _offered(run))]
    figures: dict[str, Any] = {"switches": len(run.deeds), "seconds": run.seconds, **_counts(run.answers)}
    for words, found in kinds.items():
        measured = {f"p{share}": each for share in (50, 90, 99) if (each := found.ratio(share / 100)) is not None}
        noise = found.noise(0.99)
        figures[words] = {name: asdict(each) for name, each in measured.items()}
        figures[words]["noise"] = None if noise is None else asdict(noise)
        if measured:
            rows.append(_latencies(words, found, measured))
        if noise is not None:
            note = _interval(noise)
            rows.append(Row(words=f"{words}: p99 far / far, the noise", value=f"{noise.ratio:.2f}", note=note))
    seen = followed(run)
    figures["followed"] = [asdict(each) for each in seen]
    rows += _following("promote", [each for each in seen if each.kind == "promote"])
    rows += _following("rollback", [each for each in seen if each.kind == "rollback"])
    return Section(title=title, rows=rows, figures=figures)


def section_of_canaries(title: str, canaries: Canaries) -> Section:
    """Bad candidates."""
    rows = [*_integrity(canaries.answers, f"{canaries.per_second:.0f} a second offered")]
    by_name: dict[str, list[Taken]] = {}
    for taken in canaries.taken:
        by_name.setdefault(taken.name, []).append(taken)
    for name, taken in by_name.items():
        requests, seconds = [each.requests for each in taken], [each.seconds for each in taken]
        rows.append(
            Row(
                words=f"{WORDS[name]}: first bad answer to rollback",
                value=f"{statistics.median(seconds):.2f} s",
                note=f"{_span(seconds, 2)} s; {_span(requests)} requests to it, {_span([t.bad for t in taken])} bad, "
                f"{_span([t.after for t in taken])} after the deciding one",
            )
        )
    decided = [each.decided_ms for each in canaries.taken]
    if decided:
        most = max(decided)
        rows.append(
            Row(
                words="deciding answer to the rollback's revision",
                value=f"{statistics.median(decided):.0f} ms",
                note=f"{_span(decided)} ms over {len(decided)} rollbacks",
                target=f"all ≤ {MOST_DECIDED_MS:.0f} ms",
                verdict="met" if most <= MOST_DECIDED_MS else "not met",
            )
        )
    rows += [
        Row(words=f"{WORDS[name]}: not taken out", value="–", verdict="not met", hard=True) for name in canaries.late
    ]
    figures = {"taken": [asdict(each) for each in canaries.taken], "late": canaries.late, **_counts(canaries.answers)}
    return Section(title=title, rows=rows, figures=figures)


def lines(sections: Iterable[Section]) -> list[str]:
    """All sections, in columns of one width."""
    sections = list(sections)
    rows = [row for section in sections for row in section.rows]
    words, value, target, verdict = (
        max((len(getattr(row, part)) for row in rows), default=0) for part in ("words", "value", "target", "verdict")
    )
    out: list[str] = []
    for section in sections:
        out += ["", section.title]
        for row in section.rows:
            line = f"  {row.words:<{words}}  {row.value:>{value}}  {row.target:<{target}}  {row.verdict:<{verdict}}  "
            out.append((line + row.note).rstrip())
    return out[1:]


def _counts(answers: Sequence[Answer]) -> dict[str, Any]:
    return {
        "requests": len(answers),
        "failed": sum(answer.failed for answer in answers),
        "truncated": sum(answer.truncated for answer in answers),
        "problems": problems(answers),
    }


def _offered(run: Run) -> str:
    if run.demand.per_second:
        return f"{run.demand.per_second:.0f} a second offered"
    return f"{len(run.demand.lines)} callers that ask again at once, {len(run.answers) / run.seconds:.1f} a second"


def _integrity(answers: Sequence[Answer], offered: str) -> list[Row]:
    counts = _counts(answers)
    streams = sum(answer.stream for answer in answers)
    rows = [Row(words="requests", value=f"{len(answers):,}", note=f"{offered}, {streams:,} of them streams")]
    for words in ("failed", "truncated"):
        bad = counts[words]
        met: Verdict = "met" if bad == 0 and answers else "not met"
        rows.append(Row(words=words, value=f"{bad:,}", target="0", verdict=met, hard=True))
    rows += [Row(words="", value="", note=problem[:100]) for problem in counts["problems"]]
    return rows


def _latencies(words: str, found: Windows, measured: Mapping[str, Ratio]) -> Row:
    count = sum(len(window) for window in found.switching)
    p99 = measured["p99"]
    figures = ", ".join(f"{name} {each.above_ms:.1f} / {each.below_ms:.1f} ms" for name, each in measured.items())
    verdict: Verdict = "not decided"
    if p99.interval is not None and p99.fewest >= FEWEST:
        low, high = p99.interval
        verdict = "met" if high <= MOST_RATIO else "not met" if low > MOST_RATIO else "not decided"
    return Row(
        words=f"{words}: p99 near / far from a switch",
        value=f"{p99.ratio:.2f}",
        note=f"{_interval(p99)} all: {figures}; {count:,} near",
        target=f"≤ {MOST_RATIO}",
        verdict=verdict,
    )


def _interval(of: Ratio) -> str:
    return "[too few]" if of.interval is None else f"[{of.interval[0]:.2f}, {of.interval[1]:.2f}]"


def _following(kind: str, seen: Sequence[Followed]) -> list[Row]:
    if not seen:
        return []
    rows = [
        _times(f"{kind} to the first answer by the new route", [each.first_ms for each in seen]),
        _times(f"{kind} to the last request by the old one", [each.last_old_ms for each in seen]),
    ]
    alls = [each.all_ms for each in seen if each.all_ms is not None]
    if alls:
        row = _times(f"{kind} to all requests by the new one", alls)
        met: Verdict = "met" if max(alls) <= MOST_FOLLOWED_MS else "not met"
        rows.append(replace(row, target=f"all ≤ {MOST_FOLLOWED_MS:.0f} ms", verdict=met))
    return rows


def _times(words: str, found: Sequence[float]) -> Row:
    ordered = sorted(found)
    note = f"p95 {ordered[int(0.95 * (len(ordered) - 1))]:.0f} ms, at most {ordered[-1]:.0f} ms, of {len(ordered)}"
    return Row(words=words, value=f"{statistics.median(ordered):.0f} ms", note=note)


def _span(values: Sequence[float], digits: int = 0) -> str:
    least, most = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return least if least == most else f"{least} to {most}"
