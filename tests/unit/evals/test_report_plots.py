"""The pictures say what the figures say, whatever the figures are."""

from __future__ import annotations

import math
import random
import re
from itertools import pairwise
from xml.etree.ElementTree import Element, fromstring

import pytest

from changeover.evals.report import plots
from changeover.evals.report.axes import Drawing, Scale, apart, fit, thin, ticks
from changeover.evals.report.plots import Mark, Outcome, Row, Step

SVG = "{http://www.w3.org/2000/svg}"
WIDTHS = (330.0, 540.0)


def _step(observations: int, **given: float) -> Step:
    values = {"mean": 0.1, "low": -0.2, "high": 0.4, "no_worse": 2.0, "futility": 0.5, "better": 1.5, "worse": 0.2}
    return Step(observations=observations, **{**values, **given})


def _texts(svg: str) -> list[str]:
    return ["".join(found.itertext()) for found in fromstring(svg).iter(f"{SVG}text")]


def _numbers(path: Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path.get("d", ""))]


def _path(svg: str, look: str) -> list[tuple[float, float]]:
    return next(_numbers(path) for path in fromstring(svg).iter(f"{SVG}path") if path.get("class") == look)


@pytest.mark.parametrize(("value", "pixel"), [(0.0, 10.0), (0.5, 60.0), (1.0, 110.0), (-3.0, 10.0), (7.0, 110.0)])
def test_a_scale_holds_what_lies_outside_at_its_ends(value: float, pixel: float) -> None:
    assert Scale(low=0, high=1, start=10, end=110)(value) == pytest.approx(pixel)


def test_a_log_scale_gives_every_decade_the_same_room() -> None:
    scale = Scale(low=0.01, high=100, start=400, end=0, log=True)
    assert [scale(10.0**exponent) for exponent in range(-2, 3)] == pytest.approx([400, 300, 200, 100, 0])
    assert scale(0.0) == 400


def test_a_scale_of_one_value_draws_in_the_middle() -> None:
    assert Scale(low=0.3, high=0.3, start=0, end=10)(0.3) == 5


@pytest.mark.parametrize(
    ("low", "high", "most", "whole", "expected"),
    [
        (0, 31, 6, True, [0, 10, 20, 30]),
        (0, 1, 6, True, [0, 1]),
        (0, 3, 6, True, [0, 1, 2, 3]),
        (0, 5000, 6, True, [0, 1000, 2000, 3000, 4000, 5000]),
        (-1, 1, 7, False, [-1, -0.5, 0, 0.5, 1]),
        (-0.013, 0.024, 7, False, [-0.01, 0, 0.01, 0.02]),
        (2, 2, 5, False, [2]),
    ],
)
def test_ticks_are_round_and_few(low: float, high: float, most: int, whole: bool, expected: list[float]) -> None:
    assert ticks(low, high, most, whole=whole) == pytest.approx(expected)


def test_ticks_are_never_more_than_asked_for() -> None:
    rng = random.Random(1)
    for _ in range(500):
        low = rng.uniform(-1, 1)
        high = low + 10 ** rng.uniform(-4, 4)
        found = ticks(low, high, 6)
        assert 1 <= len(found) <= 6
        assert all(low - 1e-6 <= tick <= high + 1e-6 for tick in found)


def test_labels_are_moved_apart_and_stay_inside() -> None:
    rng = random.Random(2)
    for _ in range(300):
        places = [rng.uniform(0, 100) for _ in range(4)]
        moved = apart(places, 15, 0, 100)
        order = sorted(range(4), key=lambda index: places[index])
        assert all(moved[after] - moved[before] >= 15 - 1e-9 for before, after in pairwise(order))
        assert min(moved) >= -1e-9
        assert max(moved) <= 100 + 1e-9


def test_labels_with_room_stay_where_they_are() -> None:
    assert apart([50, 10, 90], 15, 0, 100) == [50, 10, 90]


def test_a_thinned_line_keeps_its_ends_and_extremes() -> None:
    rng = random.Random(3)
    line = [(float(x), rng.gauss(0, 1)) for x in range(20_000)]
    kept = thin(line, 100)
    assert len(kept) <= 400
    assert (kept[0], kept[-1]) == (line[0], line[-1])
    assert {min(line, key=lambda point: point[1]), max(line, key=lambda point: point[1])} <= set(kept)
    assert kept == sorted(kept)
    assert thin(line[:400], 100) == line[:400]


@pytest.mark.parametrize(
    ("text", "fits"),
    [("short", "short"), ("a-very-long-tag-name", "a-very-long…"), ("日本語の返信です", "日本語の返信…")],
)
def test_a_text_too_wide_is_cut(text: str, fits: str) -> None:
    assert fit(text, 84, 12) == fits


def test_a_drawing_escapes_its_texts_and_has_a_title() -> None:
    drawing = Drawing(10, 10, name="d", title="<b>&", description="\u202eover")
    drawing.text(1, 2, "</text><script>alert(1)</script>")
    root = fromstring(drawing.svg())
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "d-title d-desc"
    assert root.findtext(f"{SVG}title") == "<b>&"
    assert root.findtext(f"{SVG}desc") == "[U+202E]over"
    assert root.findtext(f"{SVG}text") == "</text><script>alert(1)</script>"
    assert not list(root.iter(f"{SVG}script"))


@pytest.mark.parametrize("width", WIDTHS)
def test_evidence_shows_bounds_curves_and_the_moment_of_the_verdict(width: float) -> None:
    steps = [_step(index, no_worse=1.2**index) for index in range(1, 18)]
    mark = Mark(observations=17, e_value=1.2**17, word="pass")
    svg = plots.evidence(steps, alpha=0.05, beta=0.1, marks=[mark], width=width)
    texts = _texts(svg)
    assert "pass after 17" in texts
    assert any(text.startswith("20 : 1 decides") for text in texts)
    assert "10 : 1 for “not as good”" in texts
    for claim in ("no worse", "better", "not as good", "worse"):
        assert any(text.startswith(claim) for text in texts)
    curve = _path(svg, "curve gain")
    assert len(curve) == 18  # the start is drawn, where all are 1
    assert all(after[1] <= before[1] for before, after in pairwise(curve))  # it rises: upwards is a smaller y


def test_evidence_draws_one_bound_where_both_rates_are_the_same() -> None:
    svg = plots.evidence([_step(1)], alpha=0.05, beta=0.05, marks=[], width=540)
    assert len([text for text in _texts(svg) if text.startswith("20 : 1") and text != "20 : 1"]) == 1


@pytest.mark.parametrize("e_value", [0.0, 1e-300, 1e304, math.inf])
def test_evidence_beyond_the_picture_is_drawn_at_its_edge(e_value: float) -> None:
    svg = plots.evidence([_step(1), _step(2, no_worse=e_value)], alpha=0.05, beta=0.1, marks=[], width=540)
    (_, _, (_, y)) = _path(svg, "curve gain")
    assert 0 <= y <= 314
    assert "nan" not in svg
    assert "inf" not in svg


@pytest.mark.parametrize("width", WIDTHS)
def test_the_difference_names_zero_margin_mean_and_interval(width: float) -> None:
    steps = [_step(index, low=-1 / index, high=1 / index, mean=0.02) for index in range(1, 40)]
    svg = plots.running_difference(steps, margin=0.05, difference=0.02, width=width, adjusted=False)
    texts = _texts(svg)
    assert "equal" in texts
    assert any("margin" in text for text in texts)
    assert {"+2.6", "−2.6"} <= set(texts)
    assert any(text.startswith("+2.0") for text in texts)
    assert "plain mean" not in texts


def test_an_adjusted_difference_says_that_the_line_is_the_plain_mean() -> None:
    steps = [_step(index) for index in range(1, 9)]
    assert "plain mean" in _texts(
        plots.running_difference(steps, margin=0.05, difference=0.12, width=540, adjusted=True)
    )


@pytest.mark.parametrize(("samples", "squares"), [(31, True), (700, True), (701, False), (5000, False)])
def test_a_square_is_a_sample_until_they_are_too_many(samples: int, squares: bool) -> None:
    groups = [Outcome(name="won", samples=samples - 3, look="gain"), Outcome(name="lost", samples=3, look="loss")]
    svg = plots.outcomes(groups, width=540)
    drawn = sum(path.get("d", "").count("M") for path in fromstring(svg).iter(f"{SVG}path"))
    assert drawn == (samples if squares else 0)
    assert {f"{samples - 3:,}", "3", "won", "lost"} <= set(_texts(svg))


def test_sorted_differences_count_the_better_equal_and_worse() -> None:
    svg = plots.sorted_differences([0.2, -0.1, 0.0, 0.3, 0.0, -0.4], margin=0.05, mean=0.0, width=540)
    assert {"2 better", "2 equal", "2 worse"} <= set(_texts(svg))


def test_many_sorted_differences_make_a_short_outline() -> None:
    rng = random.Random(4)
    svg = plots.sorted_differences([rng.gauss(0.02, 0.1) for _ in range(5000)], margin=0.05, mean=0.02, width=540)
    assert len(svg) < 40_000


@pytest.mark.parametrize("differences", [[0.0], [0.5], [-0.5], [0.0, 0.0]])
def test_sorted_differences_of_one_kind_can_be_drawn(differences: list[float]) -> None:
    svg = plots.sorted_differences(differences, margin=0.05, mean=differences[0], width=330)
    assert "nan" not in svg


@pytest.mark.parametrize("width", WIDTHS)
def test_a_forest_shows_every_slice_with_its_count_and_difference(width: float) -> None:
    rows = [
        Row(name="all samples", samples=120, difference=0.03, low=-0.01, high=0.07),
        Row(name="a tag <b>", samples=7, difference=-0.4, low=-0.8, high=-0.1),
        Row(name="outside", samples=9, difference=-0.5, low=-0.2, high=0.1),
    ]
    svg = plots.forest(rows, margin=0.05, width=width)
    texts = _texts(svg)
    assert {"all samples", "a tag <b>", "120", "7"} <= set(texts)
    assert any(text.startswith("−40.0") for text in texts)
    dots = list(fromstring(svg).iter(f"{SVG}circle"))
    assert [dot.get("class") for dot in dots] == ["spot ink", "spot loss", "spot ink"]
    assert float(dots[2].get("cx", "")) < float(dots[1].get("cx", ""))  # also where the interval has left it behind
