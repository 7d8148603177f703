"""Charts as pictures in the page, drawn by pygal here: no script has to run, and the style sheet gives them their colours.

What pygal draws brings styles and scripts of its own, which the pages' policy forbids: they are taken out. Each says what it
shows in words too, for whoever cannot see it; the figures themselves stand in a table beside it, or in its points' titles.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast
from xml.etree import ElementTree

import pygal  # pyright: ignore[reportMissingTypeStubs]
from markupsafe import Markup
from pygal.etree import etree as pygals  # pyright: ignore[reportMissingTypeStubs]

from changeover.console.pages import short

WIDTH, HEIGHT = 640, 220
BROAD = 1040
MOST_TICKS = 4
SPARK_WIDTH, SPARK_HEIGHT = 120, 28
# For maps, which we have none of, it leaves an importer of a kind that Python knows no more: each import that fails would warn.
sys.meta_path[:] = [each for each in sys.meta_path if not isinstance(each, pygal.PluginImportFixer)]
pygals.to_etree()  # it would take lxml where that happens to be installed
# Its finder of plugins, which we have none of, is of a kind that Python warns of at every import that fails.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]
_SVG = "{http://www.w3.org/2000/svg}"
_GONE = frozenset({"style", "script", "defs"})

Figures = Sequence[float | None]
"""None: nothing is known there, and the line is broken."""


@lru_cache(maxsize=2_000)
def spark(values: tuple[float | None, ...], says: str) -> Markup:
    """A line without axes, small enough for a row of a table.

    Args:
        values: At even distances, oldest first. The same again costs nothing.
        says: What it shows, in words: `requests in each of the last 24 hours, 12 to 310`.
    """
    if not any(value is not None for value in values):
        return Markup("")
    chart: Any = pygal.Line(
        width=SPARK_WIDTH,
        height=SPARK_HEIGHT,
        show_dots=False,
        show_legend=False,
        show_x_labels=False,
        show_y_labels=False,
        spacing=0,
        margin=2,
        explicit_size=True,
        **_PLAIN,
    )
    chart.add("", list(values))
    return _drawn(chart, says, "chart spark")


def lines(
    labels: Sequence[str],
    series: Mapping[str, Figures],
    says: str,
    *,
    figure: Callable[[float], str] = short,
    ticks: int = 6,
) -> Markup:
    """Lines over a common axis.

    Args:
        labels: Of the axis, one for each value.
        series: Values by the name of what they are of.
        says: What the chart shows, in words.
        figure: How a value is written.
        ticks: About so many labels are written out.
    """
    most = max((value or 0 for values in series.values() for value in values), default=0.0)
    frame = {**_frame(labels, figure, ticks), **_scale(most, whole=figure is short)}
    return _filled(pygal.Line(**frame, show_legend=len(series) > 1, dots_size=2), series, says, "chart")


def bars(
    labels: Sequence[str],
    series: Mapping[str, Figures],
    says: str,
    *,
    figure: Callable[[float], str] = short,
    ticks: int = 6,
    broad: bool = False,
) -> Markup:
    """Bars, those of several series on top of each other; takes what `lines` does, and `broad`: as wide as a page."""
    most = max((sum(value or 0 for value in at) for at in zip(*series.values(), strict=True)), default=0.0)
    frame = {**_frame(labels, figure, ticks), **_scale(most, whole=figure is short)}
    if broad:
        frame |= {"width": BROAD, "legend_at_bottom_columns": min(len(series), 7)}
    chart = pygal.StackedBar(**frame, show_legend=len(series) > 1)
    return _filled(chart, series, says, "chart broad" if broad else "chart")


def scale(most: float, *, whole: bool) -> list[float]:
    """Round values of an axis, from 0 to one that is not below the largest.

    >>> scale(4, whole=True), scale(233, whole=True), scale(1, whole=True), scale(730.0, whole=False)
    ([0, 1, 2, 3, 4], [0, 100, 200, 300], [0, 1], [0, 200, 400, 600, 800])
    """
    if most <= 0:
        return [0, 1]
    magnitude = 10 ** math.floor(math.log10(most))
    steps = (magnitude * part for part in (0.1, 0.2, 0.5, 1, 2, 5))
    step = next(each for each in steps if most / each <= MOST_TICKS and (not whole or each >= 1))
    return [number * step for number in range(math.ceil(most / step) + 1)]


def _scale(most: float, *, whole: bool) -> Mapping[str, Any]:
    values = scale(most, whole=whole)
    return {"y_labels": values, "range": (values[0], values[-1])}


_PLAIN: Mapping[str, Any] = {
    "js": (),
    "css": (),
    "disable_xml_declaration": True,
    "no_prefix": True,
    "allow_interruptions": True,
}


def _frame(labels: Sequence[str], figure: Callable[[float], str], ticks: int) -> Mapping[str, Any]:
    every = max(1, -(-len(labels) // ticks))
    return {
        **_PLAIN,
        "width": WIDTH,
        "height": HEIGHT,
        "margin": 6,
        "legend_at_bottom": True,
        "truncate_label": 40,
        "truncate_legend": 40,
        "x_labels": list(labels),
        "x_labels_major": [label for number, label in enumerate(labels) if number % every == 0],
        "show_minor_x_labels": False,
        "formatter": figure,
        "value_formatter": figure,
        "include_x_axis": True,
    }


def _filled(chart: Any, series: Mapping[str, Figures], says: str, classes: str) -> Markup:
    for name, values in series.items():
        chart.add(name, list(values))
    return _drawn(chart, says, classes)


def _drawn(chart: Any, says: str, classes: str) -> Markup:
    tree = cast("ElementTree.Element", chart.render_tree())
    _clean(tree)
    tree.attrib.pop("id", None)
    tree.set("class", f"{tree.get('class', '')} {classes}".strip())
    tree.set("role", "img")
    tree.set("aria-label", says)
    ElementTree.register_namespace("", "http://www.w3.org/2000/svg")
    # It was escaped by the serialiser: names of deployments are texts of whoever deployed them.
    return Markup(ElementTree.tostring(tree, encoding="unicode"))


def _clean(element: ElementTree.Element) -> None:
    """Take out what the pages' policy forbids, and make of a point's figures the title that a browser shows."""
    said: dict[str, str] = {}
    for child in list(element):
        tag = cast("object", child.tag)  # of a comment it is a function
        name = tag.removeprefix(_SVG) if isinstance(tag, str) else "script"
        if name in _GONE or name == "title":
            element.remove(child)
        elif name == "desc":
            said[child.get("class", "").strip()] = child.text or ""
            element.remove(child)
        else:
            child.attrib.pop("style", None)
            child.attrib.pop("id", None)
            _clean(child)
    if "value" in said:
        title = ElementTree.SubElement(element, "title")
        label = said.get("x_label")
        title.text = f"{label}: {said['value']}" if label else said["value"]
