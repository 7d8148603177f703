"""How much a page looks like its picture: blind for how a font is drawn, not for what stands where.

Both are made so small that a letter is less than a pixel; then every small pixel counts that differs clearly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageChops
from playwright.sync_api import Browser

SMALLER = 8
"""Pixels of a side that become one."""
CLEARLY = 20
"""Of 255, in any colour."""
CHANGED = 0.01
"""A page of which more differs has changed."""
FONTS = Path(__file__).parent / "fonts.json"
WIDTHS = """() => ["system-ui, sans-serif", "monospace"].flatMap((family) => ["Hamburgefonstiv 0123", "日本語の文字"].map((text) => {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `100px ${family}`;
  return [`${family}: ${text}`, Math.round(pen.measureText(text).width)];
}))"""


def difference(one: Image.Image, other: Image.Image) -> float:
    """Share of a page that differs clearly, 0 to 1; pictures of different sizes differ in all.

    >>> black, white = Image.new("RGB", (80, 80)), Image.new("RGB", (80, 80), "white")
    >>> difference(black, black), difference(black, white)
    (0.0, 1.0)
    """
    if one.size != other.size:
        return 1.0
    small = [each.convert("RGB").reduce(SMALLER) for each in (one, other)]
    apart = ImageChops.difference(*small)
    most = ImageChops.lighter(ImageChops.lighter(*apart.split()[:2]), apart.split()[2])
    counts = most.histogram()
    return sum(counts[CLEARLY:]) / sum(counts)


def measured(browser: Browser) -> dict[str, int]:
    """How wide the fonts of this machine are that pages ask for."""
    page = browser.new_page()
    found: list[tuple[str, int]] = page.evaluate(WIDTHS)
    page.close()
    return dict(found)


def pictured() -> Mapping[str, int]:
    """How wide those of the pictures are."""
    widths: dict[str, int] = json.loads(FONTS.read_text(encoding="utf-8"))
    return widths
