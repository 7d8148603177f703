"""What is doubtful about a dataset before it decides anything: repeats, leaks, too few samples, one-sided labels."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from changeover.core.digest import canonical_json, sha256_value
from changeover.evals.datasets.dataset import Dataset
from changeover.evals.datasets.power import DISCORDANCES, power, samples_for, shown_margin
from changeover.evals.datasets.samples import UNLABELLED, Sample
from changeover.evals.datasets.similar import near_duplicates, plain_text
from changeover.evals.sequential import TestPlan

Severity = Literal["error", "warning", "note"]
Kind = Literal["target", "duplicate", "near-duplicate", "leak", "power", "tags", "labels", "unlabelled", "edited"]

SHORT = 40
"""Characters of a target that may be a label."""
LEAST_IN_TAG = 20
"""Samples below which a tag's own score says next to nothing."""
DOMINATES = 0.8
"""Share of samples with the same label from which always giving it looks good."""
LEAST_POWER = 0.5
"""Chance of a pass, where the two hardly differ, below which a comparison is mostly for nothing."""
LONG = 20
"""Characters from which a target or an input that stands in the prompt is no accident."""
LEAST_TEXT = 4
"""Characters of a target that is looked for at all."""
ANSWERS = ("any", "all", "facts", "label", "value", "answer", "reference", "text", "texts", "expected")
"""Keys of targets that hold what a right answer says."""

_ANNOUNCED = (
    r"\b(?:answer|label|category|class|target|expected(?: \w+)?|solution|result|output|intent|sentiment|antwort|"
    r"kategorie|lösung|réponse|respuesta)\s*(?:is|:|=|->|=>)\s*[\"'`*(\[]*"
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that somebody should look at."""

    severity: Severity
    """`error`: the dataset must not decide. `warning`: it may, and says less than it seems to. `note`: to know."""
    kind: Kind
    message: str
    samples: tuple[str, ...] = ()
    """Ids it is about; empty where it is about all."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What is known of the task that a dataset is for. Everything may be left out."""

    prompt: str = ""
    """What every model is told first."""
    plan: TestPlan | None = None
    """Margin, error rates and largest number of samples."""
    read_target: Callable[[Sample], object] | None = None
    """Reads a sample's target as the task's scorer does; ValueError says why it cannot."""
    scorer: str | None = None
    """Its name."""


def check(dataset: Dataset, about: About) -> list[Finding]:
    """Everything that is doubtful, errors first."""
    found = [
        *_unreadable(dataset, about),
        *_duplicates(dataset.samples),
        *_near_duplicates(dataset.samples),
        *_prompt_leaks(dataset.samples, about.prompt),
        *_announced(dataset.samples),
        *_power(dataset.samples, about.plan),
        *_tags(dataset.samples),
        *_labels(dataset.samples),
        *_unlabelled(dataset.samples),
    ]
    order: tuple[Severity, ...] = ("error", "warning", "note")
    return sorted(found, key=lambda finding: order.index(finding.severity))


def observations(samples: Iterable[Sample]) -> int:
    """How many independent observations they are: a cluster is one."""
    keys = {("cluster", s.cluster) if s.cluster is not None else ("sample", s.id) for s in samples}
    return len(keys)


def labels(samples: Sequence[Sample]) -> Counter[str] | None:
    """How often each target stands, where the targets are labels: short texts, few for the samples. None: they are not."""
    texts = [answers_of(sample.target) for sample in samples]
    if len(samples) < 2 or not all(texts) or any(len(text) > SHORT for group in texts for text in group):
        return None
    counted = Counter(group[0] for group in texts)
    return counted if len(counted) <= len(samples) / 2 else None


def answers_of(target: Any) -> list[str]:
    """Texts that a right answer says, of a target in any of the scorers' shapes."""
    if isinstance(target, str):
        return [target]
    if isinstance(target, Mapping):
        values = cast("Mapping[str, Any]", target)
        return [text for key in ANSWERS if key in values for text in _leaves(values[key])]
    return []


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _leaves(item)


def _unreadable(dataset: Dataset, about: About) -> Iterator[Finding]:
    if about.read_target is None:
        return
    for sample in dataset.samples:
        for key, asked in _answered(sample):
            try:
                about.read_target(asked)
            except ValueError as exc:
                reason = " ".join(str(exc).split())
                yield Finding(
                    severity="error",
                    kind="target",
                    message=f"{dataset.where(sample)}: the scorer `{about.scorer}` cannot read `{key}`: {reason}",
                    samples=(sample.id,),
                )


def _answered(sample: Sample) -> Iterator[tuple[str, Sample]]:
    """The sample at each place where an answer is scored, and the key of its target there."""
    for place, message in enumerate(sample.input):
        if message.target is not None:
            yield f"input.{place}.target", replace(sample, input=sample.input[:place], target=message.target)
    yield "target", sample


def _duplicates(samples: Sequence[Sample]) -> Iterator[Finding]:
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[_asked(sample)].append(sample)
    repeated = [group for group in groups.values() if len(group) > 1]
    contradicting = [group for group in repeated if len({canonical_json(s.target) for s in group}) > 1]
    for group in contradicting:
        yield Finding(
            severity="error",
            kind="duplicate",
            message=f"{_named(group)} ask the same and have different targets. Keep the right one.",
            samples=_ids(group),
        )
    same = [group for group in repeated if group not in contradicting and not _clustered(group)]
    if same:
        extra = [sample for group in same for sample in group[1:]]
        yield Finding(
            severity="warning",
            kind="duplicate",
            message=(
                f"{_samples(len(extra))} {'repeat' if len(extra) > 1 else 'repeats'} another: {_named(same[0])}. Each "
                "counts as evidence of its own: drop the repeats."
            ),
            samples=_ids(extra),
        )


def _near_duplicates(samples: Sequence[Sample]) -> Iterator[Finding]:
    firsts = list({_asked(sample): sample for sample in reversed(samples)}.values())[::-1]
    pairs = [
        (firsts[alike.one], firsts[alike.other], alike.share)
        for alike in near_duplicates([_said(sample) for sample in firsts])
        if not _clustered([firsts[alike.one], firsts[alike.other]])
    ]
    if pairs:
        one, other, share = max(pairs, key=lambda pair: pair[2])
        yield Finding(
            severity="warning",
            kind="near-duplicate",
            message=(
                f"{_samples(len(pairs))} nearly {'repeat' if len(pairs) > 1 else 'repeats'} another: `{one.id}` and "
                f"`{other.id}` share {100 * share:.0f} % of their text. Drop the repeats, or give those of one document "
                "the same `cluster`."
            ),
            samples=tuple(other.id for _, other, _ in pairs),
        )


def _prompt_leaks(samples: Sequence[Sample], prompt: str) -> Iterator[Finding]:
    """Targets and inputs that the prompt gives away. A label that the prompt offers among others is no leak."""
    told = f" {plain_text(prompt)} "
    if len(told) < LEAST_TEXT or not samples:
        return
    offered = labels(samples) is not None
    copied = [s for s in samples if len(text := plain_text(_said(s))) >= LONG and f" {text} " in told]
    if copied:
        yield Finding(
            severity="error",
            kind="leak",
            message=f"The prompt holds the whole input of {_named(copied)}: use other examples in the prompt than in the cases.",
            samples=_ids(copied),
        )
    if offered:
        return
    told_targets = [(s, text) for s in samples for text in answers_of(s.target) if _stands_in(text, told)]
    certain = [(s, text) for s, text in told_targets if len(text) >= LONG]
    for severity, leaks in (("error", certain), ("warning", [leak for leak in told_targets if leak not in certain])):
        if leaks:
            concerned = list({sample.id: sample for sample, _ in leaks}.values())
            yield Finding(
                severity=cast("Severity", severity),
                kind="leak",
                message=f"The prompt says what {_named(concerned)} should be answered: `{_short(leaks[0][1])}`.",
                samples=_ids(concerned),
            )


def _announced(samples: Sequence[Sample]) -> Iterator[Finding]:
    """Inputs that announce their own answer. That a fact stands in the document to summarise is no leak."""
    leaks: list[tuple[Sample, str]] = []
    for sample in samples:
        for text in answers_of(sample.target):
            pattern = _ANNOUNCED + re.escape(text.strip()) + r"(?!\w)"
            if len(text.strip()) <= SHORT and text.strip() and (hit := re.search(pattern, sample.text, re.IGNORECASE)):
                leaks.append((sample, hit.group()))
                break
    if leaks:
        yield Finding(
            severity="warning",
            kind="leak",
            message=(
                f"The input of {_named([sample for sample, _ in leaks])} announces its own answer: "
                f"`{_short(leaks[0][1])}`. Take it out."
            ),
            samples=_ids(sample for sample, _ in leaks),
        )


def _power(samples: Sequence[Sample], plan: TestPlan | None) -> Iterator[Finding]:
    if plan is None:
        return
    if len(samples) < plan.min_samples:
        message = f"{_samples(len(samples))} are there, and the gate gives no verdict before {plan.min_samples}: `min_samples`."
        yield Finding(severity="warning", kind="power", message=f"{message} Add samples, or lower it.")
        return
    there = observations(samples)
    used = min(there, plan.max_samples or there)
    plan = replace(plan, min_samples=min(plan.min_samples, used))  # a cluster is many samples, and one of these
    chances = [power(plan, used, discordance) for discordance in DISCORDANCES]
    at = f"at a margin of {100 * plan.margin:g} points"
    said = ", ".join(
        f"{chance:.2f} where the two differ on {100 * discordance:.0f} % of samples"
        for chance, discordance in zip(chances, DISCORDANCES, strict=True)
    )
    message = f"{_samples(used)} pass an equal candidate {at} with probability {said}."
    if chances[0] >= LEAST_POWER:
        yield Finding(severity="note", kind="power", message=message)
        return
    needed, margin = samples_for(plan, DISCORDANCES[0]), shown_margin(used, plan.alpha, plan.beta)
    wanted = f"Take {needed} samples" if needed is not None else "Take far more samples"
    better = "" if margin is None else f", or a margin of {100 * margin:g} points"
    yield Finding(severity="warning", kind="power", message=f"{message} That is too few. {wanted}{better}.")


def _tags(samples: Sequence[Sample]) -> Iterator[Finding]:
    counted = Counter(tag for sample in samples for tag in set(sample.tags))
    few = {tag: count for tag, count in counted.items() if count < LEAST_IN_TAG}
    if few and len(samples) >= LEAST_IN_TAG:
        shown = ", ".join(f"`{tag}` {count}" for tag, count in sorted(few.items(), key=lambda item: item[1])[:5])
        more = f" and {len(few) - 5} more" if len(few) > 5 else ""
        yield Finding(
            severity="note",
            kind="tags",
            message=f"Tags with fewer than {LEAST_IN_TAG} samples, whose own score says next to nothing: {shown}{more}.",
            samples=_ids(sample for sample in samples if few.keys() & set(sample.tags)),
        )


def _labels(samples: Sequence[Sample]) -> Iterator[Finding]:
    counted = labels(samples)
    if counted is None:
        return
    label, count = counted.most_common(1)[0]
    if count / len(samples) > DOMINATES:
        yield Finding(
            severity="warning",
            kind="labels",
            message=(
                f"{count} of {len(samples)} targets are `{_short(label)}`: a model that always says it scores "
                f"{100 * count / len(samples):.0f} of 100. Add cases of the others."
            ),
        )


def _unlabelled(samples: Sequence[Sample]) -> Iterator[Finding]:
    concerned = [sample for sample in samples if UNLABELLED in sample.tags]
    if concerned:
        yield Finding(
            severity="warning",
            kind="unlabelled",
            message=(
                f"{_samples(len(concerned))} without an ideal answer (tag `{UNLABELLED}`): only judges of pairs and "
                "scorers that read no target can use them."
            ),
            samples=_ids(concerned),
        )


def _asked(sample: Sample) -> str:
    """What is asked, whatever its white space and width. Not its punctuation: `2 + 2` is not `2 - 2`."""
    said = [[message.role, _one_line(message.content)] for message in sample.input]
    return sha256_value([said, list(sample.tools)])


def _one_line(text: str | None) -> str | None:
    return None if text is None else " ".join(unicodedata.normalize("NFKC", text).split())


def _said(sample: Sample) -> str:
    """What tells a sample from others: its variables, without the template around them, or its messages."""
    if sample.variables is not None:
        return "\n".join(
            value if isinstance(value, str) else canonical_json(value) for value in sample.variables.values()
        )
    return sample.text


def _clustered(group: Sequence[Sample]) -> bool:
    return group[0].cluster is not None and len({sample.cluster for sample in group}) == 1


def _stands_in(text: str, told: str) -> bool:
    plain = plain_text(text)
    return len(plain) >= LEAST_TEXT and f" {plain} " in told


def _named(samples: Sequence[Sample]) -> str:
    first = ", ".join(f"`{sample.id}`" for sample in samples[:3])
    return first + (f" and {len(samples) - 3} more" if len(samples) > 3 else "")


def _ids(samples: Iterable[Sample]) -> tuple[str, ...]:
    return tuple(sample.id for sample in samples)


def _samples(count: int) -> str:
    return "1 sample" if count == 1 else f"{count} samples"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHORT else text[:SHORT] + "…"
