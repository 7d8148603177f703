"""How a comparison reads on a terminal: while it runs, at its end, and what stands beside the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from changeover.cli.frame import plain
from changeover.core.clock import span
from changeover.evals.comparison import Live
from changeover.evals.report.record import ComparisonReport
from changeover.evals.report.words import dollars, odds, points

WIDTH = 24
"""Characters of a bar."""
MOST_SLICES = 6
"""Shown on the terminal; the report has all."""


def live_lines(live: Live) -> str:
    """A comparison under way, on four lines."""
    filled = round(WIDTH * live.samples / max(live.max_samples, 1))
    bar = "█" * filled + "░" * (WIDTH - filled)
    left = "" if live.seconds_left is None else f" · about {span(live.seconds_left)} left"
    fixed = "" if live.calls_fixed_n is None else f" · fixed N would need {live.calls_fixed_n}"
    cost = "" if live.cost_usd is None else f" · {dollars(live.cost_usd)}"
    return (
        f"[bold]{live.task}[/] · {live.incumbent} → {live.candidate}   margin {100 * live.margin:g} pts\n"
        f"  {bar}  {live.samples} of at most {live.max_samples} samples   "
        f"{points(live.difference)} pts  \\[{points(live.low)}, {points(live.high)}]\n"
        f"  no worse {_dots(live.no_worse, 20)} {odds(live.no_worse)}   "
        f"better {_dots(live.better, 20)} {odds(live.better)}   against {_dots(live.futility, 10)} {odds(live.futility)}\n"
        f"  calls {live.calls_new} new, {live.calls_cached} cached{fixed} · "
        f"{span(live.seconds)} so far{left}{cost}"
    )


def verdict_lines(comparison: str, live: Live) -> str:
    """The end of a comparison: the verdict in one sentence, then what stands behind it."""
    colour = {"pass": "green", "fail": "red", "inconclusive": "yellow"}[live.verdict]
    about = "these samples" if live.about == "dataset" else "all that the samples stand for"
    lines = [
        f"[bold {colour}]{live.verdict.upper()}[/]  {_sentence(live)}",
        f"      {points(live.difference)} points, 95 % anytime-valid interval {points(live.low)} to {points(live.high)}, "
        f"{live.samples} samples, evidence {_decisive(live)}",
        f"      scores {100 * live.incumbent_score:.1f} → {100 * live.candidate_score:.1f} of 100{_ratios(live)}",
        f"      calls {live.calls_new} new, {live.calls_cached} cached"
        + ("" if live.calls_fixed_n is None else f"; a fixed number of samples would need {live.calls_fixed_n}")
        + ("" if live.cost_usd is None else f"; cost {dollars(live.cost_usd)}"),
    ]
    if live.covariates:
        lines.append(f"      with the earlier scores of {', '.join(live.covariates)}; the verdict is about {about}")
    if live.detectable_loss is not None and live.verdict == "inconclusive":
        lines.append(
            f"      {live.samples} samples can only show a loss of {100 * live.detectable_loss:.1f} points or more"
        )
    if live.failed:
        lines.append(f"      {live.failed} samples could not be answered or scored by both")
    lines.append(f"      comparison {comparison}")
    return "\n".join(lines)


def _sentence(live: Live) -> str:
    if live.stopped is not None:
        return f"{live.candidate} against {live.incumbent} on {live.task}: {live.stopped}"
    if live.doubt is not None:
        return f"{live.candidate} would pass on {live.task}, but {live.doubt}"
    if live.standing == "below" or (live.standing == "open" and live.shown in ("better", "no worse")):
        surely = "is" if live.standing == "below" else "scores"
        return (
            f"{live.candidate} {surely} below the floor of {live.task}: "
            f"{100 * live.candidate_score:.1f} of 100, and {100 * (live.floor or 0):g} are asked for (`gate.floor`)"
        )
    if live.verdict == "inconclusive" and live.failed and live.shown in ("better", "no worse"):
        return f"{live.failed} of {live.samples + live.unusable} samples failed: too many to trust the rest"
    if live.verdict == "inconclusive" and live.samples < live.min_samples:
        return (
            f"no verdict on {live.task} before {live.min_samples} samples (`min_samples`); {live.samples} were scored"
        )
    claims = {
        "better": f"{live.candidate} is better than {live.incumbent} on {live.task}",
        "no worse": f"{live.candidate} is no worse than {live.incumbent} on {live.task}, by {100 * live.margin:g} points",
        "worse": f"{live.candidate} is worse than {live.incumbent} on {live.task}",
        "not as good": f"{live.candidate} is not as good as {live.incumbent} on {live.task}",
    }
    undecided = f"{live.samples} samples do not decide between {live.candidate} and {live.incumbent} on {live.task}"
    return undecided if live.verdict == "inconclusive" else claims.get(live.shown or "", undecided)


def _decisive(live: Live) -> str:
    if live.verdict == "pass":
        return f"{odds(live.no_worse)} for no worse, {odds(live.better)} for better"
    if live.verdict == "fail":
        return f"{odds(live.futility)} against as good, {odds(live.worse)} for worse"
    return f"{odds(live.no_worse)} for no worse, {odds(live.futility)} against as good"


def _ratios(live: Live) -> str:
    text = "" if live.latency_ratio is None else f" · {live.latency_ratio:.1f}× the time per answer"
    return text + ("" if live.length_ratio is None else f", {live.length_ratio:.1f}× the length")


def _dots(e_value: float, needed: float) -> str:
    """Ten dots on the way to the evidence that is needed, on the scale on which evidence adds up."""
    from_log = 0.0 if e_value <= 1 else min(1.0, math.log(e_value) / math.log(needed))
    full = int(10 * from_log)
    return "●" * full + "○" * (10 - full)


def report_lines(report: ComparisonReport) -> Iterator[str]:
    """What stands beside the verdict: the familiar test, what answers take, slices, noise, measures, the judge."""
    if report.familiar is not None:
        test = report.familiar
        yield f"{test.name}: p = {test.p_value:.3g}, for one look at a number of samples fixed beforehand"
    if report.ratios:
        shown = (f"{row.name} {row.ratio:.2f}× [{row.low:.2f}, {row.high:.2f}]" for row in report.ratios)
        yield " · ".join(shown) + "  candidate over incumbent, 95 %"
    for row in sorted(report.slices, key=lambda row: row.difference)[:MOST_SLICES]:
        blind = "" if row.detectable_loss is None else f"; sees a loss from {100 * row.detectable_loss:.0f} points"
        if (row.detectable_loss or 0.0) >= 1.0:
            blind = "; too few to see any loss"
        yield (
            f"slice {plain(row.tag)}: {points(row.difference)}  \\[{points(row.low)}, {points(row.high)}], "
            f"{row.samples} samples{blind}"
        )
    if report.noise_floor is not None:
        floor = report.noise_floor
        yield (
            f"noise floor: asked again, the incumbent's score changes on {100 * floor.changed:.0f} % of "
            f"{floor.samples} samples, by {100 * floor.mean_absolute:.1f} points on average"
        )
    for row in report.measures:
        yield (
            f"{row.name}: {100 * row.incumbent_score:.1f} → {100 * row.candidate_score:.1f}, "
            f"{points(row.difference)}  \\[{points(row.low)}, {points(row.high)}], not decisive"
        )
    if report.judging is not None:
        yield from _judging_lines(report)


def beside(report: ComparisonReport) -> dict[str, Any]:
    """The same for `--json`."""
    return {
        name: getattr(report, name)
        for name in ("reason", "familiar", "ratios", "slices", "noise_floor", "measures", "judging", "covariates")
    }


def _judging_lines(report: ComparisonReport) -> Iterator[str]:
    judging = report.judging
    assert judging is not None
    figures = {
        "first place favoured": judging.position_bias,
        "orders that disagree": judging.flipped,
        "correlation with length": judging.length_bias,
        "agrees with itself": judging.self_consistency,
        "agrees with people": judging.agreement,
    }
    known = [f"{name} {value:.2f}" for name, value in figures.items() if value is not None]
    yield f"judge {judging.judge}: {judging.judged} judged, {judging.identical} identical · " + " · ".join(known)
