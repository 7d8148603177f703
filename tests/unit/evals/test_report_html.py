"""The report can be read by anybody and does no harm, whatever models wrote."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.support import reports

from changeover.evals.report import html, words
from changeover.evals.report.examples import LONGEST, mark_differences
from changeover.evals.report.html import steps_of, to_html
from changeover.evals.report.record import ComparisonReport, Judging

VOID = {"meta", "br", "line", "path", "rect", "circle"}


class Page(HTMLParser):
    """Reads a page and keeps what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.unclosed: list[str] = []
        self._inside: list[str] = []
        self.feed(text)
        self.close()
        self.unclosed += self._inside

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._inside.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self._inside or self._inside.pop() != tag:
            self.unclosed.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self._inside:
            self.text += data

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def plain(self) -> str:
        return " ".join(self.text.split())


@pytest.mark.parametrize("make", reports.CASES.values(), ids=reports.CASES)
def test_every_kind_of_comparison_is_a_whole_page_on_its_own(make: Callable[[], ComparisonReport]) -> None:
    report = reports.large(300) if make is reports.large else make()
    text = to_html(report)
    page = Page(text)
    assert page.unclosed == []
    assert words.headline(report) in page.plain
    assert report.reason in page.plain
    assert f"changeover compare --replay {report.comparison}" in page.plain
    assert not {name for name, _ in page.tags} & {"script", "link", "img", "iframe", "object", "form", "base"}
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)|url\((?!#)|@import", text)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(attributes.get("scope") in {"row", "col"} for attributes in page.named("th"))
    assert all(attributes["role"] == "img" for attributes in page.named("svg"))
    assert not re.search(r"\b(nan|inf|Undefined)|: None|>None\b", page.plain)


def test_the_policy_forbids_everything_but_the_pages_own_style() -> None:
    page = Page(to_html(reports.one_sample()))
    (policy,) = [found for found in page.named("meta") if found.get("http-equiv") == "Content-Security-Policy"]
    assert policy["content"].startswith("default-src 'none'; style-src 'unsafe-inline';")
    assert not [found for _, found in page.tags if any(name.startswith("on") or name == "style" for name in found)]


NASTY = "<script>alert(1)</script> ]]> --> </style></title> {{ 7*7 }} \" ' & \u202eesrever\u2066 \x00\x1b[31m \ud800 \U000e0041"


def test_texts_from_models_are_shown_and_never_obeyed() -> None:
    told = reports.told(0.0, NASTY, error=NASTY, why={NASTY: NASTY, "list": [NASTY, {"a": NASTY}]})
    one = reports.sample(
        1, told, reports.told(1.0, NASTY), id=NASTY, tags=(NASTY,), cluster=NASTY, asked=NASTY, target={NASTY: NASTY}
    )
    report = reports.report([one])
    report = replace(
        report,
        project=NASTY, task=NASTY, actor=NASTY, reason=NASTY, dataset=NASTY, scorer=NASTY, differs=(NASTY,), covariates=(NASTY,),
        incumbent=replace(report.incumbent, deployment=NASTY, model=NASTY),
        slices=tuple(replace(part, tag=NASTY) for part in reports.slices_of(report.samples)),
    )  # fmt: skip
    text = to_html(report)
    text.encode("utf-8")  # no half of a surrogate pair is left
    page = Page(text)
    assert page.unclosed == []
    assert not page.named("script")
    shown = (
        "<script>alert(1)</script> ]]> --> </style></title> {{ 7*7 }} \" ' & [U+202E]esrever[U+2066] ␀␛[31m � [U+E0041]"
    )
    assert page.plain.count(shown) >= 12
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\r\nlines\tand a tab\n", "two\nlines\tand a tab\n"),
        ("old\rmac", "old␍mac"),
        ("\u200d👩\u200d👩 \u0645\u06cc\u200c\u062e", "\u200d👩\u200d👩 \u0645\u06cc\u200c\u062e"),
        ("zero\u200bwidth\ufeff", "zero[U+200B]width[U+FEFF]"),
        ("\x7f\x9b", "[U+007F][U+009B]"),
        ("\udc00\uffff", "��"),
        ("日本語 – ok", "日本語 – ok"),
    ],
)
def test_only_what_hides_or_reorders_is_made_visible(text: str, shown: str) -> None:
    assert words.visible(text) == shown


def test_a_huge_answer_is_cut_and_says_so() -> None:
    huge = reports.told(1.0, "<&>" * 400_000)
    text = to_html(reports.report([reports.sample(1, reports.told(0.0), huge, asked="x" * 2_000_000)]))
    assert len(text) < 120_000
    assert f"{1_200_000 - LONGEST:,} more characters" in text
    assert f"{2_000_000 - LONGEST:,} more characters" in text


def test_five_thousand_samples_stay_a_page_that_opens() -> None:
    report = reports.large()
    to_html(reports.one_sample())  # the template is read once
    started = time.process_time()
    text = to_html(report)
    assert time.process_time() - started < 1.5
    assert len(text.encode()) < 2_000_000
    assert "others are not in this file" in text


def test_many_long_hard_texts_stay_within_the_pages_budget() -> None:
    told = reports.told(0.0, '"' * 5000)
    samples = [
        reports.sample(n, told, reports.told(float(n % 2), "'" * 5000), asked="&" * 5000, tags=("t",))
        for n in range(1, 600)
    ]
    assert len(to_html(reports.report(samples, stop=False)).encode()) < 2_500_000


def test_a_pass_marks_the_moment_of_the_verdict_and_of_the_stronger_claim() -> None:
    page = Page(to_html(reports.better()))
    assert page.plain.count("pass after 26") == 2  # for wide and for narrow screens
    assert page.plain.count("better after 31") == 2
    assert "The evidence for “better” reached 20 : 1 after 31 observations; 20 : 1 was needed." in page.plain


def test_evidence_that_does_not_count_is_said_not_to() -> None:
    page = Page(to_html(reports.undecided_with_failures()))
    assert "It does not count: see above." in page.plain
    assert "pass after" not in page.plain
    assert "What failed" in page.plain
    assert "No answer within 30 s." in page.plain


def test_right_or_wrong_scores_are_counted_and_graded_ones_sorted() -> None:
    assert "16 won, 3 lost" in Page(to_html(reports.better())).plain
    assert "Paired differences, sorted" in Page(to_html(reports.graded())).plain


def test_a_fail_shows_what_was_lost_first() -> None:
    text = Page(to_html(reports.failing())).plain
    assert text.index("▼ Lost") < text.index("▲ Won")
    text = Page(to_html(reports.better())).plain
    assert text.index("▲ Won") < text.index("▼ Lost")


def test_examples_are_in_order_of_their_difference() -> None:
    samples = [
        reports.sample(position, reports.told(0.5), reports.told(0.5 + gain), id=f"gain-{position}")
        for position, gain in enumerate((0.1, 0.4, 0.2, 0.4), start=1)
    ]
    text = to_html(reports.report(samples, stop=False))
    assert [int(found) for found in re.findall(r"<code>gain-(\d)</code>", text)] == [2, 4, 3, 1]


def test_a_judges_bias_stands_beside_the_verdict() -> None:
    page = Page(to_html(reports.judged()))
    assert "judge-pairs/qwen3-8b judged 151" in page.plain
    for figure in ("+18.0", "24 %", "+0.31", "94 %", "78 %"):
        assert figure in page.plain
    assert "tied" in page.plain
    bare = Judging(
        judge="j",
        judged=3,
        identical=1,
        position_bias=None,
        flipped=None,
        length_bias=None,
        self_consistency=None,
        agreement=None,
        labels=0,
        corrected=None,
    )
    assert "how far to trust this judge is not known" in Page(to_html(replace(reports.judged(), judging=bare))).plain


def test_nothing_measured_is_said_and_not_drawn() -> None:
    page = Page(to_html(reports.nothing_usable()))
    assert not page.named("svg")
    assert "No sample could be used" in page.plain


def test_clusters_are_one_observation_each_with_the_last_one_counted() -> None:
    pairs = [(0.0, 1.0), (0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0)]
    clusters = ("a", "a", None, "b", "b")
    samples = [replace(one, cluster=c) for one, c in zip(reports.samples_of(pairs), clusters, strict=True)]
    ended = reports.report(samples, stop=False)
    assert [(step.observations, round(step.mean, 3)) for step in steps_of(ended)] == [(1, 0.5), (2, 0.25), (3, 0.167)]
    # As a comparison writes it down: the last cluster is closed only after its last sample.
    late = tuple(replace(one, observations=2) if one.position == 5 else one for one in ended.samples)
    steps = steps_of(replace(ended, samples=late))
    assert [step.observations for step in steps] == [1, 2, 3]
    assert steps[-1].no_worse == ended.no_worse


def test_unusable_samples_are_no_observations() -> None:
    samples = [replace(one, usable=one.position != 2) for one in reports.samples_of([(0.0, 1.0)] * 3)]
    assert [step.observations for step in steps_of(reports.report(samples, stop=False))] == [1, 2]


@pytest.mark.parametrize(
    ("old", "new", "left", "right"),
    [
        ("the red fox", "the blue fox", ["red"], ["blue"]),
        ("手数料は百円です", "手数料は千円です", ["百"], ["千"]),
        ("a b c", "a b c d", [], ["d"]),
        ("def f():\n    return 1", "def f():\n    x = 1\n    return 1", [], ["x = 1"]),
    ],
)
def test_words_that_differ_are_marked(old: str, new: str, left: list[str], right: list[str]) -> None:
    marked = mark_differences(old, new)
    assert marked is not None
    assert ["".join(text for text, _ in side) for side in marked] == [old, new]
    assert [[text.strip() for text, differs in side if differs] for side in marked] == [left, right]


@pytest.mark.parametrize(
    ("old", "new"), [("same", "same"), ("", "x"), ("one two three", "four five six"), ("a " * 900, "b " * 900)]
)
def test_nothing_is_marked_where_it_would_not_help(old: str, new: str) -> None:
    assert mark_differences(old, new) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (words.points(0.41935), "+41.9"),
        (words.points(-0.0001), "0.0"),
        (words.points(-0.05, digits=0), "−5"),
        (words.odds(19.96), "19 : 1"),
        (words.odds(1.99), "1.9 : 1"),
        (words.odds(0.004), "< 0.01 : 1"),
        (words.odds(float("inf")), "> 10,000 : 1"),
        (words.needed(0.05), "20 : 1"),
        (words.needed(0.15), "6.7 : 1"),
        (words.size(0.01), "1 point"),
        (words.size(0.052), "5.2 points"),
        (words.times(2.06), "2.06×"),
        (words.times(float("nan")), "–"),
        (words.amount(1730, "ms"), "1.7 s"),
        (words.amount(0.00042, "USD"), "$0.00042"),
        (words.duration(124), "2 m 04 s"),
        (words.duration(7500), "2 h 05 m"),
        (words.p_value(0.00021), "< 0.001"),
        (words.percent(0.167), "16.7 %"),
        (words.several(1, "sample"), "1 sample"),
    ],
)
def test_figures_are_written_for_people(given: str, said: str) -> None:
    assert given == said


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1, 2], ids=["light", "dark", "print"])
def test_text_has_enough_contrast(theme: int) -> None:
    style = Path(html.__file__).with_name("style.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--([a-z-]+):(#[0-9a-f]{3,6})\b", re.findall(r":root\{([^}]*)\}", style)[theme]))
    colours = {
        name: value if len(value) == 7 else "#" + "".join(2 * c for c in value[1:]) for name, value in colours.items()
    }
    pairs = [(text, ground) for text in ("ink", "quiet", "gain", "loss") for ground in ("paper", "card")]
    pairs += [("ink", "gain-soft"), ("ink", "loss-soft")]
    for text, ground in pairs:
        light, dark = sorted((_luminance(colours[text]), _luminance(colours[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)
