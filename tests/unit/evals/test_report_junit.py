"""What a CI system reads fails exactly where the verdict is no pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from xml.etree.ElementTree import Element, fromstring

import pytest
from tests.support import reports

from changeover.evals.report.junit import fleet_to_junit, to_junit
from changeover.evals.report.record import ComparisonReport, Slice

CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase", "system-out", "system-err"},
    "properties": {"property"},
    "testcase": {"skipped", "error", "failure", "system-out", "system-err"},
}
ATTRIBUTES = {
    "testsuites": {"name", "time", "tests", "failures", "errors"},
    "testsuite": {"name", "id", "tests", "failures", "errors", "skipped", "time", "timestamp"},
    "property": {"name", "value"},
    "testcase": {"name", "classname", "time"},
    "failure": {"type", "message"},
    "skipped": {"message"},
}
"""The part of the Jenkins schema (`junit-10.xsd`) that is used; every attribute named here must be there."""


def _check_shape(element: Element) -> None:
    assert set(element.keys()) == ATTRIBUTES.get(element.tag, set())
    for child in element:
        assert child.tag in CHILDREN.get(element.tag, set())
        _check_shape(child)
    if element.tag in CHILDREN:
        assert not (element.text or "").strip()


def _suite(report: ComparisonReport) -> Element:
    root = fromstring(to_junit(report))
    _check_shape(root)
    (suite,) = root
    return suite


def _properties(suite: Element) -> dict[str, str]:
    return {found.get("name", ""): found.get("value", "") for found in suite.iter("property")}


@pytest.mark.parametrize("make", reports.CASES.values(), ids=reports.CASES)
def test_every_kind_of_comparison_has_the_common_shape_and_right_counts(make: Callable[[], ComparisonReport]) -> None:
    report = reports.large(60) if make is reports.large else make()
    suite = _suite(report)
    cases = suite.findall("testcase")
    assert int(suite.get("tests", "")) == len(cases) == 1 + len(report.slices)
    assert int(suite.get("failures", "")) == len(list(suite.iter("failure"))) == (report.verdict != "pass")
    assert int(suite.get("skipped", "")) == len(list(suite.iter("skipped")))


def test_a_pass_has_no_failure_and_tells_the_figures() -> None:
    suite = _suite(reports.better())
    assert suite.find(".//failure") is None
    told = suite.findtext("testcase[@name='verdict']/system-out") or ""
    assert "qwen2.5-coder-0.5b is better than smollm2-135m on code" in told
    assert "+41.9 points" in told
    properties = _properties(suite)
    assert (properties["verdict"], properties["shown"], properties["samples"]) == ("pass", "better", "31")
    assert float(properties["difference"]) == pytest.approx(13 / 31, abs=1e-5)


@pytest.mark.parametrize(
    ("make", "type", "starts"),
    [
        (reports.failing, "fail", "FAIL  qwen2.5-coder-0.5b is not as good as"),
        (reports.undecided_with_failures, "inconclusive", "INCONCLUSIVE  It is open whether"),
        (reports.nothing_usable, "inconclusive", "INCONCLUSIVE  It is open whether"),
    ],
)
def test_a_fail_and_an_undecided_comparison_hold_the_pipeline(
    make: Callable[[], ComparisonReport], type: str, starts: str
) -> None:
    (failure,) = _suite(make()).iter("failure")
    assert failure.get("type") == type
    assert (failure.get("message") or "").startswith(starts)


def _slice(tag: str, low: float, high: float, detectable: float | None) -> Slice:
    return Slice(
        tag=tag,
        samples=12,
        incumbent_score=0.5,
        candidate_score=0.4,
        difference=-0.1,
        low=low,
        high=high,
        detectable_loss=detectable,
    )


@pytest.mark.parametrize(
    ("low", "high", "detectable", "skipped"),
    [
        (-0.4, 0.3, 0.2, True),
        (-0.4, 0.3, None, True),
        (-0.4, 0.3, 0.04, False),  # large enough
        (-0.02, 0.3, 0.2, False),  # the loss is ruled out
        (-0.4, -0.1, 0.2, False),  # the loss is there: it was seen
    ],
)
def test_a_slice_never_fails_and_is_skipped_only_where_it_says_nothing(
    low: float, high: float, detectable: float | None, skipped: bool
) -> None:
    suite = _suite(replace(reports.better(), slices=(_slice("t", low, high, detectable),)))
    case = suite.find("testcase[@name='slice t']")
    assert case is not None
    assert (case.find("skipped") is not None) == skipped
    assert case.find("failure") is None
    assert "12 samples" in (case.findtext("system-out") or "")


def test_characters_that_xml_cannot_hold_are_replaced() -> None:
    nasty = "a\x00b\x1bc\ud800d\ufffee ]]> <failure/> \u202e &amp;"
    report = replace(reports.failing(), reason=nasty, task=nasty, slices=(_slice(nasty, -1, 1, None),), project=nasty)
    text = to_junit(report)
    text.encode("utf-8")
    (failure,) = fromstring(text).iter("failure")
    assert "a␀b␛c�d�e ]]> <failure/> [U+202E] &amp;" in (failure.text or "")


def test_figures_that_are_no_numbers_are_left_out() -> None:
    properties = _properties(_suite(replace(reports.better(), detectable_loss=float("nan"), cost_usd=None)))
    assert not {"detectable_loss", "cost_usd"} & properties.keys()


def test_a_fleet_is_one_document_with_a_suite_for_each() -> None:
    root = fromstring(fleet_to_junit([reports.better(), reports.failing(), reports.one_sample()]))
    _check_shape(root)
    assert [suite.get("failures") for suite in root] == ["0", "1", "1"]
    assert (root.get("failures"), root.get("tests")) == ("2", str(sum(int(suite.get("tests", "")) for suite in root)))


def test_an_empty_fleet_is_a_document_too() -> None:
    assert fromstring(fleet_to_junit([])).get("tests") == "0"
