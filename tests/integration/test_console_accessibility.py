"""Every page of the console for everybody: by screen reader, by keyboard, on a telephone and a wide screen, dark and light.

One console, one browser and one busy installation for all pages; the pages are those of the console's own route table, and
their addresses are come to by links.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from benchmarks.console.busy import make
from benchmarks.console.visiting import ROUTES, addresses, running_console, running_system
from playwright.sync_api import Page
from tests.support import browser

WIDTHS = (360, 768, 1920)
NO_PAGES = ("events", "/part", "/now", "/live", "/results", "/scores", "/report", "/text", "/csv", "/json", ".css")
"""How addresses end that are no whole pages: events, what is exchanged in a page that is open, files."""
GRAVE = ("serious", "critical")
MOST_TABS = 20

pytestmark = pytest.mark.skipif(browser.missing() is not None, reason=str(browser.missing()))

LOOSE = """() => [...document.querySelectorAll("*")].filter((each) => {
  const style = getComputedStyle(each);
  const moves = (text) => text.split(",").some((part) => parseFloat(part) > 0.01);
  return moves(style.transitionDuration) || (style.animationName !== "none" && moves(style.animationDuration));
}).map((each) => each.outerHTML.slice(0, 120))"""
"""What moves."""
WIDER = """() => {
  const wide = document.documentElement;
  if (wide.scrollWidth <= wide.clientWidth) return null;
  const scrolls = (each) => each && each !== document.body && (getComputedStyle(each).overflowX !== "visible" || scrolls(each.parentElement));
  const out = [...document.querySelectorAll("body *")].filter((each) => each.getBoundingClientRect().right > wide.clientWidth && !scrolls(each.parentElement));
  return `${wide.scrollWidth} of ${wide.clientWidth} px: ${out.slice(0, 3).map((each) => each.outerHTML.slice(0, 100)).join(" | ")}`;
}"""
"""By how much the page is wider than the window; null where it is not."""
FROM_THE_START = """() => {
  document.body.tabIndex = -1;
  document.body.focus();
  document.body.removeAttribute("tabindex");
}"""
"""Take the focus from where the page has put it: the next Tab goes to what comes first."""
FOCUSED = """() => {
  const each = document.activeElement;
  if (!each || each === document.body) return null;
  const style = getComputedStyle(each), box = each.getBoundingClientRect();
  const ringed = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  const own = each.type === "date" || each.type === "datetime-local"; // its parts have rings of the browser's own
  const inside = box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth;
  return {what: each.outerHTML.slice(0, 140), seen: (ringed || own) && inside && box.width > 0, tabindex: each.tabIndex};
}"""
"""What has the focus, and whether somebody who looks can tell."""


@dataclass(frozen=True)
class Opened:
    """A browser whose user is signed in, and addresses of each page."""

    page: Page
    address: str
    known: Mapping[str, Sequence[str]]

    def visit(self, path: str) -> Page:
        """Open the first address of a page, on a usual screen."""
        assert self.known.get(path), f"no link leads to `{path}`"
        self.page.set_viewport_size({"width": 1280, "height": 900})
        self.page.emulate_media(color_scheme="light", reduced_motion="reduce")
        answer = self.page.goto(self.address + self.known[path][0])
        assert answer is not None
        assert answer.status == 200, self.known[path][0]
        # What is fetched once the page is there is pale until then.
        self.page.wait_for_function("() => !document.querySelector('.htmx-request')")
        return self.page


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    project: Path = tmp_path_factory.mktemp("busy") / "project"
    make(project, tasks=10, exchanges=1_500, runs=0, attempts=1, asleep=True).store.close()
    secret = json.loads((project / ".changeover" / "keys.json").read_text())["admin"]
    with running_system(project), running_console(project) as visitor, browser.chromium_running() as running:
        known, address = addresses(visitor), f"http://127.0.0.1:{visitor.port}"
        page = running.new_page()
        page.set_default_timeout(browser.PATIENCE_MS)
        page.goto(f"{address}/sign-in")
        page.get_by_label("Key").fill(secret)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{address}/tasks")
        known["/playground/{play}"] = [_played(page, address)]
        yield Opened(page, address, known)


def _played(page: Page, address: str) -> str:
    """Ask something in the playground, which keeps it for this browser alone: where the answers are."""
    page.goto(f"{address}/playground")
    page.get_by_label("User").fill("please say ok")
    page.locator("select[name=ask]").first.select_option(index=1)
    page.get_by_role("button", name="Ask", exact=True).click()
    page.wait_for_url("**/playground/play_*")
    return urlsplit(page.url).path


@pytest.mark.parametrize("path", [path for path, _ in ROUTES if not path.endswith(NO_PAGES)])
def test_a_page_is_for_everybody(opened: Opened, path: str) -> None:
    page = opened.visit(path)
    problems = [*_grave(page, None), *_by_keyboard(page)]
    if moving := page.evaluate(LOOSE):
        problems.append(f"moves although its reader asked for less motion: {moving[:3]}")
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        if wider := page.evaluate(WIDER):
            problems.append(f"scrolls sideways: {wider}")
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    problems += [f"dark: {each}" for each in _grave(page, "color-contrast")]
    problems += _in_japanese(page)
    assert not problems, "\n".join(problems)


def test_what_is_to_be_confirmed_opens_and_closes_by_keyboard(opened: Opened) -> None:
    page = next(
        found
        for path in opened.known
        if not path.endswith(NO_PAGES) and (found := opened.visit(path)).locator("details.confirm:visible").count()
    )
    dialog = page.locator("details.confirm:visible").first
    summary = dialog.locator("summary")
    summary.focus()
    page.keyboard.press("Enter")
    page.wait_for_function(
        "() => document.activeElement.matches('details.confirm[open] input, details.confirm[open] button')"
    )
    page.keyboard.press("Escape")
    page.wait_for_function("() => !document.querySelector('details.confirm[open]')")
    assert summary.evaluate("each => each === document.activeElement")


def test_pages_for_those_who_are_not_signed_in_are_for_everybody_too(opened: Opened) -> None:
    assert opened.page.context.browser is not None
    page = opened.page.context.browser.new_page()
    page.goto(f"{opened.address}/sign-in")
    problems = _grave(page, None)
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate(WIDER) is None
    page.close()
    assert not problems, "\n".join(problems)


def _grave(page: Page, only: str | None) -> list[str]:
    """What axe finds that keeps somebody out; `only` one rule, on a page that it has looked at before."""
    if only is None:
        found = Axe().run(page).response["violations"]
    else:
        ask = "rule => axe.run({resultTypes: ['violations'], runOnly: [rule]}).then(found => found.violations)"
        found = page.evaluate(ask, only)
    return [
        f"{each['id']} ({each['impact']}): {each['help']}: {[node['html'][:140] for node in each['nodes'][:3]]}"
        for each in found
        if each["impact"] in GRAVE
    ]


def _in_japanese(page: Page) -> list[str]:
    """The same page in the other language, on a telephone."""
    page.set_viewport_size({"width": min(WIDTHS), "height": 900})
    page.set_extra_http_headers({"accept-language": "ja"})
    page.reload()
    page.set_extra_http_headers({})
    assert page.locator("html").get_attribute("lang") == "ja"
    wider = page.evaluate(WIDER)
    return [f"in Japanese: scrolls sideways: {wider}"] if wider else []


def _by_keyboard(page: Page) -> list[str]:
    """Go through a page by the Tab key: the way to the content first, then everything, always seen."""
    problems: list[str] = []
    page.evaluate(FROM_THE_START)
    page.keyboard.press("Tab")
    first = page.evaluate(FOCUSED)
    if first is None or 'class="skip"' not in first["what"] or not first["seen"]:
        problems.append(f"the first Tab does not show the way to the content: {first}")
    page.keyboard.press("Enter")
    if page.evaluate("() => document.activeElement.id") != "main":
        problems.append("the way to the content does not lead there")
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None:
            break
        if not focused["seen"]:
            problems.append(f"has the focus and nobody can tell: {focused['what']}")
        if focused["tabindex"] > 0:
            problems.append(f"takes the focus out of turn: {focused['what']}")
    return problems
