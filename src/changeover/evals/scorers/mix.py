"""The `mix` scorer: several scorers make one score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from pydantic import Field, JsonValue, model_validator

from changeover.core.errors import ConfigError
from changeover.core.toml import Declared
from changeover.evals.datasets import Sample
from changeover.evals.scorers.base import COSTS, Case, Means, NoTarget, Prepared, Score, Scorer, Setting
from changeover.evals.scorers.spec import ScorerSpec, explain, score


class MixPart(Declared):
    """One scorer of several, as `{ scorer = "key-facts", options = { max_words = 80 }, weight = 2, key = "facts" }`."""

    scorer: str
    """Name of a scorer."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The scorer's own."""
    weight: float = Field(default=1.0, gt=0)
    """In a mean, beside the other parts' weights."""
    key: str | None = None
    """Key of the sample's target below which this part's own target stands; left out: the whole target."""

    @property
    def label(self) -> str:
        """How the part is called in a score's detail."""
        return self.scorer if self.key is None else f"{self.scorer} ({self.key})"


class MixOptions(Declared):
    """The parts, and how they make one score."""

    parts: tuple[MixPart, ...] = Field(min_length=1)
    combine: Literal["mean", "min", "product"] = "mean"
    """`mean`, by the parts' weights; `min`, the lowest; `product`, all multiplied. In the last two a 0 decides: the
    parts that would come after it are not asked."""

    @model_validator(mode="after")
    def _weights_have_a_meaning(self) -> MixOptions:
        if self.combine != "mean" and any(part.weight != 1.0 for part in self.parts):
            raise ValueError(f'a weight means nothing where combine = "{self.combine}"')
        return self


class MixTarget(NoTarget):
    """What its parts read: each the whole target, or what stands below the key that it names."""


@dataclass(frozen=True, kw_only=True)
class _Part:
    declared: MixPart
    spec: ScorerSpec
    number: int


def _prepare(options: MixOptions, setting: Setting) -> Prepared:
    parts = [_part(declared, number, setting) for number, declared in enumerate(options.parts)]
    judges = (judge for part in parts for judge in part.spec.judges)
    return Prepared(
        value=sorted(parts, key=lambda part: COSTS.index(part.spec.cost)),
        fingerprint=cast("list[JsonValue]", [part.spec.identity for part in parts]),
        judges=tuple(dict.fromkeys(judges)),
        cost=COSTS[max(COSTS.index(part.spec.cost) for part in parts)],
        needs_target=any(part.spec.needs_target or part.declared.key is not None for part in parts),
    )


def _part(declared: MixPart, number: int, setting: Setting) -> _Part:
    try:
        spec = ScorerSpec(name=declared.scorer, options=declared.options, directory=setting.directory)
    except ConfigError as exc:
        raise ConfigError(f"scorer `mix`: `parts[{number}]`: {exc.message}") from exc
    if spec.kind == "pair":
        raise ConfigError(
            f"scorer `mix`: `parts[{number}]`: `{declared.scorer}` compares two answers. Name one that scores an answer."
        )
    return _Part(declared=declared, spec=spec, number=number)


def _sample_of(part: _Part, sample: Sample) -> Sample:
    """The sample with the part's own target.

    Raises:
        ValueError: The target has no such key, or no target below it.
    """
    key = part.declared.key
    if key is None:
        return sample
    if isinstance(sample.target, str) or key not in sample.target:
        raise ValueError(f"`target.{key}` is missing")
    target = sample.target[key]
    if not isinstance(target, (str, dict)):
        raise ValueError(f"`target.{key}` must be a string or an object")
    return replace(sample, target=cast("str | dict[str, Any]", target))


def _each_reads_its_target(sample: Sample, target: MixTarget, options: MixOptions, prepared: Sequence[_Part]) -> None:
    del target, options
    for part in prepared:
        own = _sample_of(part, sample)
        try:
            part.spec.read_target(own)
        except ValueError as exc:
            key = "target" if part.declared.key is None else f"target.{part.declared.key}"
            raise ValueError(explain(exc, part.spec, own, key).removesuffix(".")) from exc


async def score_mix(case: Case[MixOptions, MixTarget], means: Means) -> Score:
    """The mean, the lowest or the product of its parts' scores.

    Parts that only compute come first, then those that run code, then those that ask a judge. A part that could not
    be scored leaves the whole without a score. The detail holds each part's score and detail.
    """
    values: dict[int, float] = {}
    details: dict[int, JsonValue] = {}
    parts = cast("Sequence[_Part]", case.prepared)
    for part in parts:
        label = part.declared.label
        if case.options.combine != "mean" and 0.0 in values.values():
            details[part.number] = {"scorer": label, "reason": "not asked: the result is 0 already"}
            continue
        result = await score(part.spec, _sample_of(part, case.sample), case.answer, means)
        if result.error is not None:
            return Score(value=0.0, error=f"{label}: {result.error}")
        values[part.number] = result.value
        details[part.number] = {"scorer": label, "score": result.value, "detail": dict(result.detail)}
    return Score(value=combine(case.options, values), detail={"parts": [details[number] for number in sorted(details)]})


def combine(options: MixOptions, values: Mapping[int, float]) -> float:
    """Make one score of the scores of parts, by their numbers in the declaration."""
    if options.combine == "min":
        return min(values.values())
    if options.combine == "product":
        return math.prod(values[number] for number in sorted(values))
    weights = [options.parts[number].weight for number in sorted(values)]
    total = sum(weight * values[number] for weight, number in zip(weights, sorted(values), strict=True))
    return min(1.0, total / sum(weights))


SCORER = Scorer(
    version="1",
    options=MixOptions,
    target=MixTarget,
    needs_target=False,
    score=score_mix,
    prepare=_prepare,
    check=_each_reads_its_target,
)
