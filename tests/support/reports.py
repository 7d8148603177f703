"""Example records of comparisons, weighed by the real tests: for the reports' forms, and to look at them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import fmean, pvariance
from typing import Any

from changeover.evals.interval import DifferenceInterval
from changeover.evals.report.record import (
    ComparisonReport,
    Familiar,
    Judging,
    Measured,
    NoiseFloor,
    Ratio,
    ReportSample,
    Side,
    Slice,
    Told,
)
from changeover.evals.sequential import PairedTest, TestPlan, detectable_loss, fixed_n

Pair = tuple[float, float]
"""Scores of incumbent and candidate."""

OLD_ANSWER = "def median(values):\n    values.sort()\n    return values[len(values) // 2]"
NEW_ANSWER = (
    "def median(values):\n    ordered = sorted(values)\n    middle = len(ordered) // 2\n"
    "    if len(ordered) % 2:\n        return ordered[middle]\n    return (ordered[middle - 1] + ordered[middle]) / 2"
)


def told(score: float, text: str | None = "an answer", **given: Any) -> Told:
    """One side's answer."""
    values: dict[str, Any] = {"error": None, "why": {}, "duration_ms": 840.0, "completion_tokens": 61, **given}
    return Told(text=text, score=score, **values)


def sample(position: int, old: Told, new: Told, **given: Any) -> ReportSample:
    """One sample, without evidence until `report` weighs it."""
    values: dict[str, Any] = {
        "id": f"s{position:04d}",
        "tags": (),
        "cluster": None,
        "asked": "Write a function that gives the median of a list of numbers.",
        "target": {"entry": "median", "tests": "assert median([3, 1, 2]) == 2\nassert median([4, 1, 2, 3]) == 2.5"},
        "usable": True,
        **given,
    }
    nothing = {
        "observations": 0,
        "no_worse": 1.0,
        "futility": 1.0,
        "better": 1.0,
        "worse": 1.0,
        "low": -1.0,
        "high": 1.0,
    }
    return ReportSample(position=position, incumbent=old, candidate=new, **{**nothing, **values})


def samples_of(pairs: Sequence[Pair], **given: Any) -> list[ReportSample]:
    """Samples of these scores, with answers that a person could have got."""
    return [
        sample(
            position,
            told(old, NEW_ANSWER if old == 1 else OLD_ANSWER, why=_why(old)),
            told(new, NEW_ANSWER if new == 1 else OLD_ANSWER, why=_why(new), duration_ms=1730.0, completion_tokens=70),
            **given,
        )
        for position, (old, new) in enumerate(pairs, start=1)
    ]


def _why(score: float) -> dict[str, Any]:
    return {"passed": True} if score == 1 else {"passed": False, "failure": "assert median([4, 1, 2, 3]) == 2.5"}


def report(
    samples: Sequence[ReportSample], *, margin: float = 0.05, stop: bool = True, **given: Any
) -> ComparisonReport:
    """A record of these samples, weighed one after the other as a comparison does.

    Args:
        samples: In drawn order.
        margin: Accepted loss.
        stop: Whether samples after the verdict are dropped.
        given: Fields of the record that are to be other than weighed.
    """
    test, interval, weighed, differences = PairedTest(TestPlan(margin=margin)), DifferenceInterval(), [], []
    for index, one in enumerate(samples):
        waiting = [one.difference] if one.usable else []
        upcoming = samples[index + 1] if index + 1 < len(samples) else None
        if one.cluster is not None and one.usable:
            together = [other.difference for other in samples if other.cluster == one.cluster and other.usable]
            last = upcoming is None or upcoming.cluster != one.cluster
            waiting = [fmean(together)] if last else []
        for difference in waiting:
            differences.append(difference)
            test.update(difference)
            interval.update(difference)
        now = test.evidence
        weighed.append(
            replace(
                one,
                observations=now.samples,
                no_worse=now.no_worse,
                futility=now.futility,
                better=now.better,
                worse=now.worse,
                low=interval.low,
                high=interval.high,
            )
        )
        if stop and now.verdict != "inconclusive":
            break
    return ComparisonReport(**{**_fields(weighed, differences, test, interval), "margin": margin, **given})


def _fields(
    weighed: list[ReportSample], differences: list[float], test: PairedTest, interval: DifferenceInterval
) -> dict[str, Any]:
    usable = [one for one in weighed if one.usable]
    now, plan = test.evidence, test.plan
    spread = pvariance(differences) if len(differences) > 1 else 0.0
    started = datetime(2026, 10, 19, 9, 12, 3, tzinfo=UTC)
    return {
        "project": "acme",
        "comparison": "cmp_7f3a91c2",
        "task": "code",
        "started_at": started,
        "ended_at": started + timedelta(seconds=124),
        "actor": "ana",
        "incumbent": _side("smollm2-135m", "SmolLM2 135M Instruct", [one.incumbent.score for one in usable]),
        "candidate": _side(
            "qwen2.5-coder-0.5b", "Qwen2.5 Coder 0.5B Instruct", [one.candidate.score for one in usable]
        ),
        "alpha": plan.alpha,
        "beta": plan.beta,
        "about": "population",
        "max_samples": max(60, len(weighed)),
        "max_failed_share": 0.1,
        "seed": 20_251_121,
        "measured_by": "0.2.0",
        "verdict": now.verdict,
        "shown": now.shown,
        "reason": _reason(now.verdict, len(usable)),
        "difference": now.mean,
        "low": interval.low,
        "high": interval.high,
        "no_worse": now.no_worse,
        "futility": now.futility,
        "better": now.better,
        "worse": now.worse,
        "usable": len(usable),
        "unusable": len(weighed) - len(usable),
        "failed": sum(not one.usable or bool(one.incumbent.error or one.candidate.error) for one in weighed),
        "calls_new": len(weighed),
        "calls_cached": len(weighed),
        "calls_fixed_n": 2 * fixed_n(spread, plan.margin) if spread else None,
        "cost_usd": None,
        "detectable_loss": detectable_loss(spread, len(differences)) if spread else None,
        "seconds": 124.0,
        "dataset": "evals/code.jsonl",
        "dataset_digest": "sha256:5d1f" + "0c" * 30,
        "dataset_samples": max(164, len(weighed)),
        "scorer": "unit-tests",
        "scorer_version": "1",
        "scorer_digest": "sha256:ab90" + "3e" * 30,
        "covariates": (),
        "differs": ("weights SmolLM2 135M → Qwen2.5 Coder 0.5B", "chat template", "licence apache-2.0 as before"),
        "familiar": None,
        "noise_floor": None,
        "slices": (),
        "ratios": (),
        "measures": (),
        "judging": None,
        "samples": tuple(weighed),
    }


def _side(deployment: str, model: str, scores: list[float]) -> Side:
    score = fmean(scores) if scores else 0.0
    digest = f"sha256:{len(model):02x}" + "7b" * 31
    return Side(deployment=deployment, variant=f"var_{len(deployment)}c41", bundle=digest, model=model, score=score)


def _reason(verdict: str, usable: int) -> str:
    return {
        "pass": f"After {usable:,} samples the evidence that it does not lose by 5 points or more reached 20 : 1.",
        "fail": f"After {usable} samples the evidence that it is not as good as the incumbent reached 10 : 1.",
        "inconclusive": f"After {usable:,} samples, the most that were allowed, neither could be shown.",
    }[verdict]


def slices_of(samples: Sequence[ReportSample]) -> tuple[Slice, ...]:
    """The samples by tag, in the order in which tags come."""
    tags = list(dict.fromkeys(tag for one in samples for tag in one.tags))
    found: list[Slice] = []
    for tag in tags:
        inside = [one for one in samples if tag in one.tags and one.usable]
        differences = [one.difference for one in inside]
        interval = DifferenceInterval()
        for difference in differences:
            interval.update(difference)
        spread = pvariance(differences) if differences else 0.0
        found.append(
            Slice(
                tag=tag,
                samples=len(inside),
                incumbent_score=fmean([one.incumbent.score for one in inside]),
                candidate_score=fmean([one.candidate.score for one in inside]),
                difference=fmean(differences),
                low=interval.low,
                high=interval.high,
                detectable_loss=detectable_loss(spread, len(inside)) if spread else None,
            )
        )
    return tuple(found)


RATIOS = (
    Ratio(name="latency", unit="ms", incumbent=840, candidate=1730, ratio=2.06, low=1.91, high=2.24),
    Ratio(name="length", unit="tokens", incumbent=61, candidate=68, ratio=1.12, low=0.98, high=1.27),
    Ratio(name="cost", unit="USD", incumbent=0.00042, candidate=0.00029, ratio=0.69, low=0.62, high=0.75),
)


def better() -> ComparisonReport:
    """A clear pass on 0/1 scores: 31 samples, better."""
    rng = random.Random(43)
    pairs = [(float(rng.random() < 0.5), float(rng.random() < 0.85)) for _ in range(31)]
    tags = ("strings", "lists", "maths", "strings", "lists", "edge-cases")
    drawn = [replace(one, tags=(tags[one.position * one.position % 6],)) for one in samples_of(pairs)]
    ended = report(
        drawn,
        stop=False,
        max_samples=60,
        ratios=RATIOS,
        familiar=Familiar(name="McNemar mid-p", p_value=0.0026, low=None, high=None),
        reason=(
            "The evidence that it does not lose by 5 points or more passed 20 : 1, and so did the evidence that it gains."
        ),
    )
    return replace(ended, slices=slices_of(ended.samples))


def failing() -> ComparisonReport:
    """A fail: the candidate loses where the incumbent was right."""
    rng = random.Random(3)
    pairs = [(float(rng.random() < 0.9), float(rng.random() < 0.6)) for _ in range(200)]
    return report(samples_of(pairs), ratios=RATIOS[:2])


def undecided_with_failures() -> ComparisonReport:
    """Enough evidence for a pass, but too much could not be measured."""
    rng = random.Random(11)
    drawn = samples_of([(float(rng.random() < 0.75), float(rng.random() < 0.95)) for _ in range(60)])
    for index in range(4, 60, 6):
        one = drawn[index]
        silent = told(0.0, None, error="No answer within 30 s.", duration_ms=None, completion_tokens=None)
        drawn[index] = replace(one, candidate=silent) if index % 5 == 0 else replace(one, usable=False)
    return report(
        drawn,
        stop=False,
        verdict="inconclusive",
        shown=None,
        reason="10 of 60 samples could not be answered or scored, more than the 2 % that the gate allows: "
        "whatever the rest shows, too much was not measured.",
    )


def graded() -> ComparisonReport:
    """Graded scores with many slices, measures and a noise floor."""
    rng = random.Random(5)
    tags = (
        "finance",
        "support",
        "legal",
        "meeting-notes",
        "日本語の返信",
        "a-tag-with-a-very-long-name-that-nobody-should-write",
        "tables",
    )
    drawn: list[ReportSample] = []
    for position in range(1, 241):
        old = min(1.0, max(0.0, rng.gauss(0.68, 0.16)))
        new = min(1.0, max(0.0, old + rng.gauss(0.025, 0.07)))
        if rng.random() < 0.2:
            new = old
        drawn.append(
            sample(
                position,
                told(
                    old, SUMMARY_OLD, why={"coverage": old, "missing_facts": ["1,815 units"], "unsupported_numbers": []}
                ),
                told(new, SUMMARY_NEW, why={"coverage": new, "missing_facts": [], "unsupported_numbers": ["2027"]}),
                tags=tuple({rng.choices(tags, (9, 8, 6, 5, 3, 1, 2))[0], rng.choices(tags, (9, 8, 6, 5, 3, 1, 2))[0]}),
                asked="Summarise for a busy reader:\n\n" + DOCUMENT,
                target={"facts": [["1,815", "1815"], ["third quarter", "Q3"], ["Osaka"]]},
            )
        )
    ended = report(
        drawn,
        task="summarise",
        scorer="key-facts",
        familiar=Familiar(name="paired t, clustered", p_value=0.0004, low=0.012, high=0.041),
        noise_floor=NoiseFloor(samples=30, changed=0.167, mean_absolute=0.021),
        ratios=RATIOS,
        measures=(
            Measured(
                name="json-schema",
                incumbent_score=0.991,
                candidate_score=1.0,
                difference=0.009,
                low=-0.02,
                high=0.035,
                samples=112,
            ),
            Measured(
                name="readability",
                incumbent_score=0.61,
                candidate_score=0.58,
                difference=-0.03,
                low=-0.09,
                high=0.03,
                samples=110,
            ),
        ),
    )
    return replace(ended, slices=slices_of(ended.samples))


def judged() -> ComparisonReport:
    """A judge compared the pairs; its bias is known, and it is not small."""
    rng = random.Random(9)
    drawn: list[ReportSample] = []
    for position in range(1, 161):
        draw = rng.random()
        old, new = (0.0, 1.0) if draw < 0.34 else (1.0, 0.0) if draw < 0.60 else (0.5, 0.5)
        why = {
            "judge": "judge/qwen3-8b",
            "orders": ["B", "A" if new == 0.5 else "B"],
            "because": "States the fee and when it falls due.",
        }
        drawn.append(
            sample(
                position,
                told(old, REPLY_OLD, why=why),
                told(new, REPLY_NEW),
                asked=LETTER,
                target=None,
                tags=("reply",),
            )
        )
    return report(
        drawn,
        margin=0.1,
        task="reply-ja",
        scorer="preference",
        cost_usd=0.4182,
        max_samples=160,
        judging=Judging(
            judge="judge-pairs/qwen3-8b",
            judged=151,
            identical=9,
            position_bias=0.18,
            flipped=0.24,
            length_bias=0.31,
            self_consistency=0.94,
            agreement=0.78,
            labels=40,
            corrected=(0.031, -0.052, 0.114),
        ),
    )


def covariates() -> ComparisonReport:
    """About exactly the samples of the dataset, with earlier scores as covariates and clusters."""
    rng = random.Random(2)
    pairs = [(float(rng.random() < 0.8), float(rng.random() < 0.84)) for _ in range(240)]
    drawn = [replace(one, cluster=f"document-{index // 3}") for index, one in enumerate(samples_of(pairs))]
    ended = report(drawn, stop=False, about="dataset", covariates=("smollm2-135m", "gemma-3-1b"), dataset_samples=240)
    shifted = tuple(replace(one, low=max(-1, one.low + 0.012), high=min(1, one.high + 0.012)) for one in ended.samples)
    return replace(
        ended,
        difference=ended.difference + 0.012,
        low=ended.low + 0.012,
        high=ended.high + 0.012,
        samples=shifted,
    )


def one_sample() -> ComparisonReport:
    """A comparison that was allowed a single sample."""
    return report(samples_of([(0.0, 1.0)]), max_samples=1, dataset_samples=1)


def nothing_usable() -> ComparisonReport:
    """Every scorer failed."""
    drawn = [replace(one, usable=False) for one in samples_of([(0.0, 0.0)] * 3)]
    return report(drawn, reason="None of the 3 samples could be scored, so nothing was measured.")


def large(count: int = 5000) -> ComparisonReport:
    """Many samples, long texts, many slices."""
    rng = random.Random(1)
    drawn: list[ReportSample] = []
    for position in range(1, count + 1):
        old, new = float(rng.random() < 0.7), float(rng.random() < 0.7)
        drawn.append(
            sample(
                position,
                told(old, SUMMARY_OLD * 6, why={"coverage": old}),
                told(new, SUMMARY_NEW * 6, why={"coverage": new}),
                tags=(f"topic-{rng.randrange(40):02d}",),
                asked=DOCUMENT * 10,
                target={"facts": [["1,815"]]},
            )
        )
    ended = report(drawn, stop=False, margin=0.02, max_samples=count)
    return replace(ended, slices=slices_of(ended.samples))


CASES = {
    "better": better,
    "failing": failing,
    "undecided-with-failures": undecided_with_failures,
    "graded": graded,
    "judged": judged,
    "covariates": covariates,
    "one-sample": one_sample,
    "nothing-usable": nothing_usable,
    "large": large,
}

DOCUMENT = (
    "Osaka, 3 October. The plant shipped 1,815 units in the third quarter, against 1,640 a year before. Management "
    "holds to its forecast for the year but warns that the new line will not reach full output before spring. "
)
SUMMARY_OLD = "The Osaka plant shipped more units in the third quarter than a year before and keeps its forecast. "
SUMMARY_NEW = "The Osaka plant shipped 1,815 units in Q3, up from 1,640, and keeps its forecast for 2027. "
LETTER = "請求書に記載された手数料の内訳と支払期限を教えてください。"
REPLY_OLD = "お問い合わせありがとうございます。手数料については請求書をご確認ください。"
REPLY_NEW = "お問い合わせありがとうございます。手数料は3,300円(税込)で、お支払期限は10月31日です。"
