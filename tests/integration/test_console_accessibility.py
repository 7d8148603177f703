"""Every page of the console for everybody: by screen reader, by keyboard, on a telephone and a wide screen, dark and light.

One console, one browser and one busy installation for all pages; the pages are those of the console's own route table, and
their addresses are come to by links. Whether letters stand out from what is behind them is looked at once for all elements
that are drawn alike: axe takes longer for that than for all its other rules, and a table has a thousand cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from benchmarks.console.visiting import ROUTES, addresses, running_console, running_system
from playwright.sync_api import Page, ViewportSize
from sqlalchemy import update
from tests.support import browser

from changeover.app.installation import open_installation
from changeover.core.settings import open_project
from changeover.store.schema import deployments

WIDTHS = (1920, 768, 360)
USUAL: ViewportSize = {"width": 1280, "height": 900}
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
KINDS = """() => {
  const known = new Map(), kinds = new Map();
  const drawn = (each) => {
    if (each === document.documentElement) return "";
    if (!known.has(each)) {
      const {color, backgroundColor, opacity, fontSize, fontWeight} = getComputedStyle(each);
      const named = `${each.localName} ${each.getAttribute("class")} ${color} ${backgroundColor} ${opacity} ${fontSize} ${fontWeight}`;
      known.set(each, `${drawn(each.parentElement)} > ${named}`);
    }
    return known.get(each);
  };
  const says = (each) => [...each.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  for (const each of document.querySelectorAll("body *"))
    if ((says(each) || each.matches("input, select, textarea")) && each.checkVisibility() && !kinds.has(drawn(each))) kinds.set(drawn(each), each);
  return [...kinds.values()];
}"""
"""What shows letters, one element of all that are drawn alike within what is drawn alike."""
AXE = "options => axe.run(options).then((found) => found.violations)"
CONTRAST = f"""options => {{
  for (const each of document.querySelectorAll(".wide")) each.style.backgroundImage = "none";
  return axe.run({{include: ({KINDS})()}}, options).then((found) => found.violations);
}}"""
"""Without the shadows that say where a table goes on: axe tells nothing of what lies over a gradient."""
IN_JAPANESE = """async () => {
  const answer = await fetch(location.href, {headers: {"accept-language": "ja"}});
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  document.documentElement.replaceWith(document.adoptNode(page.documentElement));
  await Promise.all([...document.querySelectorAll("link[rel=stylesheet]")].map(
    (each) => each.sheet || new Promise((done) => each.addEventListener("load", done))
  ));
  return document.documentElement.lang;
}"""
"""Put the same page in the other language in its place; its scripts have run."""
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
    """A browser whose user is signed in, and an address of each page."""

    page: Page
    address: str
    known: Mapping[str, Sequence[str]]

    def visit(self, path: str) -> Page:
        """Open a page on a usual screen."""
        assert self.known.get(path), f"no link leads to `{path}`"
        self.page.set_viewport_size(USUAL)
        answer = self.page.goto(self.address + self.known[path][0])
        assert answer is not None
        assert answer.status == 200, self.known[path][0]
        # What is fetched once the page is there is pale until then.
        self.page.wait_for_function("() => !document.querySelector('.htmx-request')")
        return self.page


@pytest.fixture(scope="module")
def opened(busy_project: tuple[Path, Mapping[str, str]]) -> Iterator[Opened]:
    project, secrets = busy_project
    asleep(project)
    with running_system(project), running_console(project) as visitor, browser.chromium_running() as running:
        known, address = addresses(visitor, 1), f"http://127.0.0.1:{visitor.port}"
        context = running.new_context(viewport=USUAL, reduced_motion="reduce")
        context.set_default_timeout(browser.PATIENCE_MS)
        page = context.new_page()
        page.goto(f"{address}/sign-in")
        page.get_by_label("Key").fill(secrets["admin"])
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{address}/tasks")
        known["/playground/{play}"] = [_played(page, address)]
        yield Opened(page, address, known)


def asleep(project: Path) -> None:
    """Have none of its engines start with it."""
    installation = open_installation(open_project(project))
    with installation.store.write() as connection:
        connection.execute(update(deployments).values(desired="stopped"))
    installation.store.close()


def _played(page: Page, address: str) -> str:
    """Ask something in the playground, which keeps it for this browser alone: where the answers are."""
    page.goto(f"{address}/playground")
    page.get_by_label("Prompt").fill("please say ok")
    page.locator("select[name=ask]").first.select_option(index=1)
    page.get_by_role("button", name="Ask", exact=True).click()
    page.wait_for_url("**/playground/play_*")
    return urlsplit(page.url).path


@pytest.mark.parametrize("path", [path for path, _ in ROUTES if not path.endswith(NO_PAGES)])
def test_a_page_is_for_everybody(opened: Opened, path: str) -> None:
    page = opened.visit(path)
    problems = [*_grave(page), *_by_keyboard(page)]
    if moving := page.evaluate(LOOSE):
        problems.append(f"moves although its reader asked for less motion: {moving[:3]}")
    page.emulate_media(color_scheme="dark")
    problems += [f"dark: {each}" for each in _pale(page)]
    page.emulate_media(color_scheme="light")
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        if wider := page.evaluate(WIDER):
            problems.append(f"scrolls sideways: {wider}")
    assert page.evaluate(IN_JAPANESE) == "ja"
    if wider := page.evaluate(WIDER):
        problems.append(f"in Japanese: scrolls sideways: {wider}")
    assert not problems, "\n".join(problems)


def test_what_is_to_be_confirmed_opens_and_closes_by_keyboard(opened: Opened) -> None:
    page = opened.visit("/keys/{key}")
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
    problems = _grave(page)
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate(WIDER) is None
    page.close()
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("where", ["tbody td.who", "main h1", "nav a", "input[name=actor]"])
def test_letters_that_hardly_stand_out_are_found_wherever_they_are(opened: Opened, where: str) -> None:
    page = opened.visit("/audit")
    assert _grave(page) == []
    page.locator(where).last.evaluate("each => each.style.setProperty('color', '#bbb', 'important')")
    assert len(_pale(page)) == 1


def _grave(page: Page) -> list[str]:
    """What axe finds that keeps somebody out."""
    page.evaluate(Axe().axe_script)
    rest = {"resultTypes": ["violations"], "rules": {"color-contrast": {"enabled": False}}}
    return [*_told(page.evaluate(AXE, rest)), *_pale(page)]


def _pale(page: Page) -> list[str]:
    """Letters that hardly stand out, on a page that axe has looked at before."""
    return _told(page.evaluate(CONTRAST, {"resultTypes": ["violations"], "runOnly": ["color-contrast"]}))


def _told(found: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"{each['id']} ({each['impact']}): {each['help']}: {[node['html'][:140] for node in each['nodes'][:3]]}"
        for each in found
        if each["impact"] in GRAVE
    ]


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
