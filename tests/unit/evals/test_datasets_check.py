"""What makes a dataset say less than it seems to is found before it decides anything."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from changeover.evals.datasets import UNLABELLED, Dataset, Message, Sample
from changeover.evals.datasets.check import About, Finding, check, labels
from changeover.evals.datasets.dataset import digest_of
from changeover.evals.datasets.power import expected_samples, power, samples_for, shown_margin, verdicts
from changeover.evals.datasets.similar import near_duplicates
from changeover.evals.scorers import ScorerSpec
from changeover.evals.sequential import PairedTest, TestPlan


def _sample(id: str, text: str = "", target: Any = "", **more: Any) -> Sample:
    asked = text or f"What is said about {id}, and by whom was it said?"
    return Sample(id=id, input=(Message(role="user", content=asked),), target=target or f"answer to {id}", **more)


def _dataset(*samples: Sample) -> Dataset:
    return Dataset(name="d", path=Path("d.jsonl"), samples=samples, digest=digest_of(samples))


def _found(kind: str, *samples: Sample, **about: Any) -> list[Finding]:
    return [finding for finding in check(_dataset(*samples), About(**about)) if finding.kind == kind]


def _text(seed: int, words: int = 120) -> str:
    source = random.Random(seed)
    return " ".join("".join(source.choices("abcdefghijklmnop", k=7)) for _ in range(words))


def test_a_repeated_sample_is_a_warning_and_a_contradicting_one_an_error() -> None:
    repeated = _found("duplicate", _sample("a", "Same  text", "x"), _sample("b", "Same text", "x"), _sample("c"))
    assert [(finding.severity, finding.samples) for finding in repeated] == [("warning", ("b",))]
    contradicting = _found("duplicate", _sample("a", "Same", "x"), _sample("b", "Same", "y"))
    assert [(finding.severity, finding.samples) for finding in contradicting] == [("error", ("a", "b"))]


@pytest.mark.parametrize(("one", "other"), [("2 + 2", "2 - 2"), ("def f(A)", "def f(a)")])
def test_what_differs_in_a_sign_or_in_case_is_no_repeat(one: str, other: str) -> None:
    assert _found("duplicate", _sample("a", one), _sample("b", other)) == []


def test_repeats_of_one_cluster_are_meant() -> None:
    pair = [_sample(id, "Same text", "x", cluster="c") for id in ("a", "b")]
    assert _found("duplicate", *pair) == []


def test_a_text_with_a_few_words_changed_nearly_repeats_another() -> None:
    text = _text(1)
    changed = text.replace(text.split()[60], "changed")
    [finding] = _found("near-duplicate", _sample("a", text), _sample("b", changed), _sample("c", _text(2)))
    assert finding.samples == ("b",)
    assert "`a` and `b` share 9" in finding.message
    assert _found("near-duplicate", _sample("a", text, cluster="x"), _sample("b", changed, cluster="x")) == []


def test_a_form_that_all_texts_are_written_in_makes_none_a_repeat() -> None:
    form = _text(0, 200)
    assert near_duplicates([f"{form} {_text(n, 20)}" for n in range(1, 40)]) == []
    assert near_duplicates([form, _text(3)]) == []


@pytest.mark.parametrize("words", [20, 300, 3_000])
def test_a_repeat_is_found_whatever_the_length_of_the_texts(words: int) -> None:
    texts = [_text(n, words) for n in range(30)]
    texts.append(texts[7] + " end")
    texts.append(" ".join(texts[9].split()[: words // 2]))
    found = near_duplicates(texts)
    assert [(alike.one, alike.other) for alike in found] == [(7, 30)]
    assert found[0].share > 0.9


@pytest.mark.parametrize("text", ["", "a", "ab" * 5_000, "日本語の文章" * 10])
def test_odd_texts_can_be_compared(text: str) -> None:
    assert len(near_duplicates([text, text, _text(1)])) <= 1


def test_five_thousand_samples_are_compared_in_seconds() -> None:
    texts = [_text(n, 60) for n in range(5_000)]
    began = time.perf_counter()
    assert near_duplicates(texts) == []
    assert time.perf_counter() - began < 30


def test_a_prompt_that_holds_a_case_or_its_answer_leaks() -> None:
    case = "The parcel says delivered, but nobody rang the bell."
    leaks = _found("leak", _sample("a", case), _sample("b"), prompt=f"Example:\n{case}\n")
    assert [(finding.severity, finding.samples) for finding in leaks] == [("error", ("a",))]
    answers = [_sample("a", target={"facts": [["the 12th of March 1815"]]}), _sample("b")]
    leaks = _found("leak", *answers, prompt="Say that it was on the 12th of March, 1815.")
    assert [(finding.severity, finding.samples) for finding in leaks] == [("error", ("a",))]
    short = _found("leak", _sample("a", target="Zanzibar"), _sample("b"), _sample("c"), prompt="Such as Zanzibar.")
    assert [(finding.severity, finding.samples) for finding in short] == [("warning", ("a",))]


def test_labels_that_the_prompt_offers_are_no_leak() -> None:
    samples = [_sample(str(n), target=("billing", "delivery")[n % 2]) for n in range(10)]
    assert _found("leak", *samples, prompt="Which team should read it: billing or delivery?") == []


def test_an_input_that_announces_its_own_answer_leaks_and_a_fact_in_a_document_does_not() -> None:
    told = _sample("a", "I was charged twice. Category: Billing", "billing")
    [finding] = _found("leak", told, _sample("b", "Billing was slow. What now?", "billing"))
    assert (finding.severity, finding.samples) == ("warning", ("a",))
    document = _sample("c", "Profit rose to 1,815 million. Summarise.", {"facts": [["1,815"]]})
    assert _found("leak", document, _sample("d"), prompt="Summarise the text.") == []


def test_too_few_samples_for_the_margin_are_told_with_the_power_that_they_have() -> None:
    samples = [_sample(str(n)) for n in range(96)]
    [finding] = _found("power", *samples, plan=TestPlan(margin=0.05))
    assert finding.severity == "warning"
    assert "with probability 0.3" in finding.message
    assert "Take 2" in finding.message
    [enough] = _found("power", *samples, plan=TestPlan(margin=0.15))
    assert enough.severity == "note"


def test_a_cluster_counts_as_one_sample_and_the_gates_limit_holds() -> None:
    clustered = [_sample(str(n), cluster=f"c{n % 10}") for n in range(300)]
    assert "10 samples pass" in _found("power", *clustered, plan=TestPlan(margin=0.3))[0].message
    limited = [_sample(str(n)) for n in range(300)]
    assert "20 samples pass" in _found("power", *limited, plan=TestPlan(margin=0.3, max_samples=20))[0].message


def test_fewer_samples_than_the_gate_asks_for_are_told() -> None:
    samples = [_sample(str(n)) for n in range(40)]
    [finding] = _found("power", *samples, plan=TestPlan(margin=0.3, min_samples=50))
    assert finding.severity == "warning"
    assert "no verdict before 50: `min_samples`" in finding.message
    clustered = [_sample(str(n), cluster=f"c{n % 20}") for n in range(60)]
    assert "20 samples pass" in _found("power", *clustered, plan=TestPlan(margin=0.3, min_samples=50))[0].message


@pytest.mark.parametrize("least", [1, 60])
def test_the_power_is_that_of_the_test_that_decides(least: int) -> None:
    source = np.random.default_rng(3)
    differences = source.choice([1.0, 0.0, -1.0, 0.25], p=[0.08, 0.8, 0.08, 0.04], size=(400, 30))
    plan = TestPlan(margin=0.1, min_samples=least)
    for place, (verdict, after) in enumerate(verdicts(plan, differences)):
        test = PairedTest(plan)
        for difference in differences[:, place].tolist():
            if test.update(difference).finished:
                break
        assert (test.evidence.verdict, test.evidence.samples) == (verdict, after)


def test_power_rises_with_samples_and_falls_with_differences() -> None:
    plan = TestPlan(margin=0.05)
    chances = [power(plan, samples, 0.05) for samples in (60, 120, 400)]
    assert chances == sorted(chances)
    assert chances[0] < 0.1 < 0.8 < chances[-1]
    assert power(plan, 400, 0.15) < chances[-1]
    needed = samples_for(plan, 0.05)
    assert needed is not None
    assert power(plan, needed - 1, 0.05) < 0.8 <= power(plan, needed, 0.05)
    assert samples_for(TestPlan(margin=0.005), 0.15) is None


def test_more_samples_show_a_smaller_margin() -> None:
    shown = [shown_margin(samples) for samples in (5, 30, 100, 400)]
    assert shown[0] is None
    margins = [margin for margin in shown[1:] if margin is not None]
    assert margins == sorted(margins, reverse=True)
    assert len(set(margins)) == 3


def test_a_label_that_dominates_is_told() -> None:
    samples = [_sample(str(n), target="no" if n else "yes") for n in range(20)]
    [finding] = _found("labels", *samples)
    assert "19 of 20 targets are `no`" in finding.message
    assert _found("labels", *[_sample(str(n), target=("yes", "no")[n % 2]) for n in range(20)]) == []


@pytest.mark.parametrize(
    ("targets", "are_labels"),
    [
        (["a", "b"] * 5, True),
        ([{"label": "a"}, {"label": "b"}] * 5, True),
        ([f"answer {n}" for n in range(10)], False),
        (["x" * 50] * 10, False),
        ([{"calls": []}] * 10, False),
        (["a"], False),
    ],
)
def test_labels_are_short_and_few(targets: list[Any], are_labels: bool) -> None:
    assert (labels([_sample(str(n), target=target) for n, target in enumerate(targets)]) is not None) == are_labels


def test_tags_with_few_samples_are_told() -> None:
    samples = [_sample(str(n), tags=("all", "rare") if n < 3 else ("all",)) for n in range(30)]
    [finding] = _found("tags", *samples)
    assert "`rare` 3" in finding.message
    assert finding.samples == ("0", "1", "2")


def test_targets_that_the_scorer_cannot_read_are_errors_first_of_all() -> None:
    spec = ScorerSpec(name="key-facts")
    samples = [_sample("a", target={"facts": [["x"]]}), _sample("b", target="text"), _sample("c", target="text")]
    found = check(_dataset(*samples), About(read_target=spec.read_target, scorer="key-facts"))
    assert [(finding.severity, finding.kind, finding.samples) for finding in found[:2]] == [
        ("error", "target", ("b",)),
        ("error", "target", ("c",)),
    ]


def test_targets_inside_a_conversation_are_read_too() -> None:
    turn = Message(role="assistant", content=None, target={"facts": "x"})
    asked = Message(role="user", content="Hi")
    sample = Sample(id="a", input=(asked, turn, asked), target={"facts": [["x"]]})
    about = About(read_target=ScorerSpec(name="key-facts").read_target, scorer="key-facts")
    [finding] = [finding for finding in check(_dataset(sample), about) if finding.kind == "target"]
    assert "cannot read `input.1.target`" in finding.message


def test_samples_without_a_right_answer_are_told() -> None:
    [finding] = _found("unlabelled", _sample("a", tags=(UNLABELLED,)), _sample("b"))
    assert finding.samples == ("a",)


def test_an_easy_margin_takes_few_samples_on_average_and_a_fine_one_all_of_them() -> None:
    wide, fine = TestPlan(margin=0.3), TestPlan(margin=0.01)
    assert expected_samples(wide, 400) < 40
    assert expected_samples(fine, 100) > 95
    assert expected_samples(wide, 400, 0.02) < expected_samples(wide, 400, 0.3)
