"""What must hold of every scorer, whatever text it is given."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.evals.scoring import NO_MEANS, sample

from changeover.core.digest import canonical_json
from changeover.evals.answers import Answer
from changeover.evals.scorers import ScorerSpec, score
from changeover.evals.scorers.figures import figures, fold, rewrite
from changeover.evals.scorers.mix import MixOptions, combine
from changeover.evals.scorers.prose import count_words

MEASURED: dict[str, Any] = {
    "duration_ms": 40.0, "prompt_tokens": 10, "completion_tokens": 5, "cost_usd": 0.01,
}  # fmt: skip
FACTS: dict[str, Any] = {"facts": [["12"], {"all": ["a", ["b", "1,000"]], "within": 9}], "forbidden": [["x"]]}
CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("exact", {}, "a"),
    ("contains", {}, {"any": ["a"], "none": ["b"]}),
    ("choice", {"labels": ["a", "b c"]}, "a"),
    ("regex", {}, {"any": ["a+"], "none": ["^b"]}),
    ("numeric", {"relative": 0.1}, "12"),
    ("key-facts", {"max_words": 30}, FACTS),
    ("json-schema", {}, {"schema": {}, "value": {"a": [1, "b"]}}),
    ("rouge-l", {}, "a b 東京"),
    ("chrf", {}, "a b 東京"),
    ("shape", {"max_words": 5, "markdown": False, "json_only": True, "max_sentences": 2, "min_bullets": 1}, "-"),
    ("latency", {"worst_ms": 50}, "-"),
    ("tokens", {"worst_tokens": 7}, "-"),
    ("cost", {"worst_usd": 1}, "-"),
    (
        "mix",
        {"parts": [{"scorer": "contains", "key": "c"}, {"scorer": "key-facts", "key": "f", "weight": 0.3}]},
        {"c": "a", "f": FACTS},
    ),
]
PIECES = st.sampled_from(
    ["a", "b", "b c", "x", "12", "1,000", "1.000", ".5", "1e9", "-", "−", "億", "万", "k", "%", "\n", " ", "- ", "**", "`",
     "```json\n", "```", "{", '"a": ', "[", "]", "}", ",", ".", "。", "東京", "\u202f", "\u00b2", "\u0663", "\ufdfa", "(", "\0"]
)  # fmt: skip
TEXTS = st.one_of(st.lists(PIECES, max_size=30).map("".join), st.text(max_size=60))


@pytest.mark.parametrize(("name", "options", "target"), CASES, ids=[case[0] for case in CASES])
def test_every_answer_gets_a_score_from_0_to_1_with_a_detail_that_can_be_kept(
    name: str, options: dict[str, Any], target: Any
) -> None:
    spec = ScorerSpec(name=name, options=options)

    @settings(max_examples=150, deadline=None)
    @given(text=TEXTS, asked=TEXTS, cut=st.booleans())
    def check(text: str, asked: str, cut: bool) -> None:
        answer = Answer(text=text, finish_reason="length" if cut else "stop", **MEASURED)
        result = asyncio.run(score(spec, sample(target, asked), answer, NO_MEANS))
        assert result.error is None
        assert 0.0 <= result.value <= 1.0
        assert math.isfinite(result.value)
        assert json.loads(canonical_json(dict(result.detail))) == dict(result.detail)

    check()


@settings(deadline=None)
@given(text=TEXTS)
def test_numbers_and_words_of_any_text_can_be_counted(text: str) -> None:
    for separator in ("auto", "point", "comma"):
        for figure in figures(text, separator):
            assert all(reading for reading in figure.readings)
        assert rewrite(fold(text), separator)
    assert count_words(text) >= 0


VALUES = st.floats(min_value=0, max_value=1)


@settings(deadline=None)
@given(
    how=st.sampled_from(["mean", "min", "product"]),
    parts=st.lists(st.tuples(VALUES, VALUES, st.floats(min_value=0.01, max_value=100)), min_size=1, max_size=5),
)
def test_a_better_part_never_makes_a_mix_worse(how: str, parts: list[tuple[float, float, float]]) -> None:
    weights = [weight if how == "mean" else 1.0 for _, _, weight in parts]
    options = MixOptions.model_validate(
        {"parts": [{"scorer": "exact", "weight": weight} for weight in weights], "combine": how}
    )
    low = combine(options, {number: min(one, other) for number, (one, other, _) in enumerate(parts)})
    high = combine(options, {number: max(one, other) for number, (one, other, _) in enumerate(parts)})
    assert 0.0 <= low <= high <= 1.0
    assert combine(options, dict.fromkeys(range(len(parts)), 1.0)) == 1.0
    assert combine(options, dict.fromkeys(range(len(parts)), 0.0)) == 0.0
