"""The report as JUnit XML, for systems that gate on it.

The file fails exactly where the command ends with a status other than 0. A `fail` and an `inconclusive` are both
`<failure>`, told apart by their `type`: most systems show `<skipped>` as green, and inconclusive must hold. A slice
never fails, because the verdict is about all samples; one too small to tell whether it loses the
margin is `<skipped>`, which is what it is: not tested.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from changeover.evals.report import words
from changeover.evals.report.record import ComparisonReport, Slice

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 has no way to write. Source: its production 2, `Char`."""
_MOST_SLICES = 500


def to_junit(report: ComparisonReport) -> str:
    """One comparison as a JUnit document with one suite."""
    return fleet_to_junit([report])


def fleet_to_junit(reports: Iterable[ComparisonReport]) -> str:
    """Many comparisons as one JUnit document, a suite for each."""
    root = Element("testsuites", name="changeover")
    totals = {"tests": 0, "failures": 0, "errors": 0, "time": 0.0}
    for report in reports:
        suite = _suite(report)
        root.append(suite)
        for key in ("tests", "failures", "errors"):
            totals[key] += int(suite.get(key, "0"))
        totals["time"] += report.seconds
    root.attrib.update({key: _seconds(value) if key == "time" else str(value) for key, value in totals.items()})
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _suite(report: ComparisonReport) -> Element:
    slices = report.slices[:_MOST_SLICES]
    blind = [part for part in slices if words.untold(part, report)]
    suite = Element(
        "testsuite",
        {
            "name": _clean(f"{report.task}: {report.incumbent.deployment} → {report.candidate.deployment}"),
            "id": _clean(report.comparison),
            "tests": str(1 + len(slices)),
            "failures": str(int(report.verdict != "pass")),
            "errors": "0",
            "skipped": str(len(blind)),
            "time": _seconds(report.seconds),
            # Without a zone, as the schema has it: UTC.
            "timestamp": report.started_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        },
    )
    properties = SubElement(suite, "properties")
    for name, value in _properties(report):
        SubElement(properties, "property", name=name, value=_clean(value))
    _verdict(suite, report)
    for part in slices:
        _slice(suite, part, report)
    return suite


def _verdict(suite: Element, report: ComparisonReport) -> None:
    case = _case(suite, report, "verdict", report.seconds)
    told = _told(report)
    if report.verdict == "pass":
        SubElement(case, "system-out").text = told
        return
    message = _clean(f"{report.verdict.upper()}  {words.headline(report)}")
    SubElement(case, "failure", type=report.verdict, message=message).text = told


def _slice(suite: Element, part: Slice, report: ComparisonReport) -> None:
    case = _case(suite, report, f"slice {part.tag}", 0.0)
    if words.untold(part, report):
        seen = part.detectable_loss
        could = "too few to show any loss"
        if seen is not None and seen < 1:
            could = f"a loss smaller than {words.size(seen)} would often not have shown"
        SubElement(case, "skipped", message=_clean(f"{words.several(part.samples, 'sample')}: {could}"))
    SubElement(case, "system-out").text = _clean(
        f"{words.points(part.difference)} points, 95 % interval {words.interval(part.low, part.high)}, "
        f"{words.several(part.samples, 'sample')}, "
        f"{words.score(part.incumbent_score)} → {words.score(part.candidate_score)}"
    )


def _case(suite: Element, report: ComparisonReport, name: str, seconds: float) -> Element:
    classname = _clean(f"changeover.{report.project}.{report.task}")
    return SubElement(suite, "testcase", classname=classname, name=_clean(name), time=_seconds(seconds))


def _told(report: ComparisonReport) -> str:
    claim = words.main_claim(report)
    lines = [
        words.headline(report),
        report.reason,
        f"{words.points(report.difference)} points, 95 % anytime-valid interval "
        f"{words.interval(report.low, report.high)}, {words.several(report.usable, 'sample')}",
        f"evidence for {claim.words} {words.odds(claim.e_value)}, {words.needed(claim.rate)} decides",
        f"again: changeover compare --replay {report.comparison}",
    ]
    return _clean("\n".join(lines))


def _properties(report: ComparisonReport) -> Iterable[tuple[str, str]]:
    """The figures, as plain numbers: shares and not points."""
    numbers: dict[str, float | int | None] = {
        "difference": report.difference,
        "difference_low": report.low,
        "difference_high": report.high,
        "incumbent_score": report.incumbent.score,
        "candidate_score": report.candidate.score,
        "e_no_worse": report.no_worse,
        "e_better": report.better,
        "e_futility": report.futility,
        "e_worse": report.worse,
        "margin": report.margin,
        "alpha": report.alpha,
        "beta": report.beta,
        "samples": report.usable,
        "seed": report.seed,
        "unusable": report.unusable,
        "failed": report.failed,
        "calls_new": report.calls_new,
        "calls_cached": report.calls_cached,
        "calls_fixed_n": report.calls_fixed_n,
        "cost_usd": report.cost_usd,
        "detectable_loss": report.detectable_loss,
        **{f"{ratio.name}_ratio": ratio.ratio for ratio in report.ratios},
    }
    yield from {
        "comparison": report.comparison,
        "verdict": report.verdict,
        "shown": report.shown or "",
        "about": report.about,
        "incumbent": report.incumbent.deployment,
        "incumbent_bundle": report.incumbent.bundle,
        "candidate": report.candidate.deployment,
        "candidate_bundle": report.candidate.bundle,
        "dataset": report.dataset,
        "dataset_digest": report.dataset_digest,
        "scorer": f"{report.scorer} {report.scorer_version}",
        "scorer_digest": report.scorer_digest,
    }.items()
    for name, value in numbers.items():
        if value is not None and math.isfinite(value):
            yield name, f"{value:.6g}" if isinstance(value, float) else str(value)


def _seconds(value: float) -> str:
    return f"{value:.3f}"


def _clean(text: str) -> str:
    return _NO_XML.sub("\ufffd", words.visible(text))
