"""Medians over the rounds, what is added to going direct, ratios, the table, and whether our targets are met."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.gateway.measure import DIRECT, SLOW, SLOW_RATE, STEADY_RATE, Figures, Measured

OURS = "changeover"
RATIOS: Mapping[str, Sequence[str]] = {
    "litellm": ("litellm", "litellm_granian"),
    "tensorzero": ("tensorzero",),
    "vllm_router": ("vllm_router",),
    "envoy": ("envoy",),
    "nginx": ("nginx",),
}
"""Rows that each ratio may be over: the best of them, since a peer is measured at its best settings."""

ADDED = {
    "added_p50_ms": "p50_1_ms",
    "added_p99_ms": "p99_1_ms",
    "added_p50_at_rate_ms": "p50_at_rate_ms",
    "added_p99_at_rate_ms": "p99_at_rate_ms",
    "added_first_p50_ms": "paced_first_p50_ms",
    "added_first_p99_ms": "paced_first_p99_ms",
}
"""Differences to direct in the same round."""

COLUMNS: Sequence[tuple[str, str, int]] = (
    ("rps_1", "req/s at 1", 0),
    ("rps_64", "at 64", 0),
    ("rps_256", "at 256", 0),
    ("cpu_ms_per_request", "CPU ms / request", 3),
    ("added_p50_ms", "added p50 ms", 2),
    ("added_p99_ms", "p99", 2),
    ("added_p50_at_rate_ms", "at a fixed rate: p50", 2),
    ("added_p99_at_rate_ms", "p99", 2),
    ("saturated_cpu_s", "CPU s / 10k chunks: saturated", 3),
    ("paced_cpu_s", "paced", 3),
    ("added_first_p50_ms", "200 streams: first chunk +ms p50", 1),
    ("added_first_p99_ms", "p99", 1),
    ("gap_p99_over_direct", "gap p99 / direct", 2),
    ("paced_lost_chunks", "lost", 0),
    ("idle_mb", "MB idle", 0),
    ("after_mb", "after", 0),
    ("start_s", "start s", 2),
    ("failed", "failed", 0),
)


@dataclass(frozen=True)
class Target:
    """What we want of our own row."""

    key: str
    bound: float
    words: str
    least: bool = False
    """The bound is the smallest that is wanted, not the largest."""

    def met(self, value: float) -> bool:
        return value >= self.bound if self.least else value <= self.bound


TARGETS = (
    Target("ratio_litellm", 100, "× LiteLLM", least=True),
    Target("ratio_tensorzero", 2.5, "× TensorZero", least=True),
    Target("ratio_vllm_router", 1, "× vLLM's router", least=True),
    Target("ratio_envoy", 0.6, "× Envoy", least=True),
    Target("added_p50_ms", 0.3, "ms added p50 at 1 connection"),
    Target("saturated_cpu_s", 0.05, "CPU s per 10,000 chunks, saturated"),
    Target("paced_cpu_s", 0.3, "CPU s per 10,000 chunks, paced"),
    Target("paced_lost_chunks", 0, "chunks lost of 200 streams"),
    Target("gap_p99_over_direct", 1.2, "gap p99 over direct"),
    Target("after_mb", 100, "MB resident after the load"),
    Target("start_s", 1.0, "s to the first answer"),
    Target("failed", 0, "requests failed"),
)


def summarise(results: Mapping[str, Measured]) -> dict[str, Any]:
    """Medians of every gateway and what is made of ours; JSON values only, None where there is no figure."""
    direct = results[DIRECT].rounds
    gateways = {name: _gateway(name, measured, direct) for name, measured in results.items()}
    summary: dict[str, Any] = {"ratios": ratios(gateways), "cpu_ratios": cpu_ratios(gateways)}
    ours = gateways.get(OURS, {}).get("median", {})
    summary |= {key: ours.get(key) for key, _, _ in COLUMNS}
    summary["targets"] = targets({**ours, **{f"ratio_{name}": value for name, value in summary["ratios"].items()}})
    return {**summary, "gateways": gateways}


def _gateway(name: str, measured: Measured, direct: Mapping[int, Figures]) -> dict[str, Any]:
    rate = SLOW_RATE if name in SLOW else STEADY_RATE
    pairs = [(figures, direct[number]) for number, figures in measured.rounds.items() if number in direct]
    rounds = [_with_differences(figures, beside, rate) for figures, beside in pairs]
    keys = list(dict.fromkeys(key for figures in rounds for key in figures))
    columns = {key: [figures[key] for figures in rounds if key in figures] for key in keys}
    return {
        "title": measured.title,
        "rate": rate,
        "median": {key: _finite(median(values)) for key, values in columns.items()},
        "spread": {key: [_finite(min(values)), _finite(max(values))] for key, values in columns.items()},
        "rounds": len(rounds),
        "notes": measured.notes,
    }


def _with_differences(figures: Figures, direct: Figures, rate: int) -> Figures:
    """One round with what it adds to direct in the same round."""

    def at_rate(of: Figures) -> Figures:
        named = {f"{share}_at_rate_ms": of.get(f"{share}_at_{rate}_ms") for share in ("p50", "p99")}
        return {**of, **{key: value for key, value in named.items() if value is not None}}

    mine, bare = at_rate(figures), at_rate(direct)
    if figures is not direct:
        mine |= {key: mine[of] - bare[of] for key, of in ADDED.items() if of in mine and of in bare}
    mine["gap_p99_over_direct"] = mine["paced_gap_p99_ms"] / bare["paced_gap_p99_ms"]
    return mine


def ratios(gateways: Mapping[str, Any]) -> dict[str, float | None]:
    """Our requests a second over each peer's, at 64 connections; None where one of both has no figure."""

    def rps(name: str) -> float:
        return gateways.get(name, {}).get("median", {}).get("rps_64") or 0.0

    best = {peer: max(rps(row) for row in rows) for peer, rows in RATIOS.items()}
    return {peer: rps(OURS) / value if value and rps(OURS) else None for peer, value in best.items()}


def cpu_ratios(gateways: Mapping[str, Any]) -> dict[str, float | None]:
    """Each peer's processor time for a request over ours, at 64 connections: what a busy machine changes least."""

    def cpu(name: str) -> float | None:
        return gateways.get(name, {}).get("median", {}).get("cpu_ms_per_request")

    ours = cpu(OURS)
    least = {peer: min((value for row in rows if (value := cpu(row))), default=None) for peer, rows in RATIOS.items()}
    return {peer: value / ours if value and ours else None for peer, value in least.items()}


def targets(figures: Mapping[str, float | None]) -> list[dict[str, Any]]:
    """Each target with what was measured; one without a figure is left out."""
    found = [(target, figures.get(target.key)) for target in TARGETS]
    return [
        {"target": target.words, "bound": target.bound, "measured": value, "met": target.met(value)}
        for target, value in found
        if value is not None
    ]


def table(summary: Mapping[str, Any]) -> str:
    """A Markdown table, a row for each gateway."""
    head = ["gateway", *(words for _, words, _ in COLUMNS)]
    rows = [
        [gateway["title"], *(_cell(gateway["median"].get(key), digits) for key, _, digits in COLUMNS)]
        for gateway in summary["gateways"].values()
    ]
    rules = ["---", *("--:" for _ in COLUMNS)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rules, *rows))


def lines(summary: Mapping[str, Any]) -> list[str]:
    """What stands below the table: ratios, targets, the spread, notes."""
    out = [
        f"requests/s of ours at 64 connections over theirs: {_times(summary['ratios'])}",
        f"processor time of theirs for a request over ours: {_times(summary['cpu_ratios'])}",
    ]
    for each in summary["targets"]:
        met = "met" if each["met"] else "NOT met"
        out.append(f"{each['measured']:.3g} {each['target']}, target {each['bound']:g}: {met}")
    for gateway in summary["gateways"].values():
        if gateway["rounds"] > 1:
            least, most = gateway["spread"]["rps_64"]
            out.append(
                f"{gateway['title']}: {least:,.0f} to {most:,.0f} requests/s at 64 over {gateway['rounds']} rounds"
            )
        out += [f"{gateway['title']}: {note}" for note in gateway["notes"]]
    ours = summary["gateways"].get(OURS, {}).get("median", {})
    if "recorded_share" in ours:
        recorded, content, counted = (ours[f"{what}_share"] for what in ("recorded", "content", "counted"))
        out.append(
            f"ours recorded {recorded:.1%} of its requests, {content:.1%} of these whole, and counted {counted:.1%}"
        )
    return out


def _times(found: Mapping[str, float | None]) -> str:
    return ", ".join(f"× {peer} {value:.2f}" for peer, value in found.items() if value is not None) or "–"


def _finite(value: float) -> float | None:
    """JSON knows no infinity: it stands for `nothing was answered`."""
    return value if math.isfinite(value) else None


def _cell(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
