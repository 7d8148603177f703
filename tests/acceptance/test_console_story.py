"""A switch as people click it: two of them in a browser, on a running system whose callers notice nothing.

One task of tier medium, answered by an echo engine; another one shall take over. Rollouts wait for traffic, so that the
test says when they go on: callers come when somebody has looked at a step.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from benchmarks.console.visiting import running_console
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect
from tests.support import browser
from tests.support.processes import Load, Up, load, system, until
from tests.support.projects import write_project

pytestmark = pytest.mark.skipif(browser.missing() is not None, reason=str(browser.missing()))

TASK, INCUMBENT, CANDIDATE = "reply-drafts", "echo", "second"
OPERATOR, APPROVER = "ines", "deniz"
STEPS = """\
[[steps]]
shadow = 0.5
requests = 5
[[steps]]
canary = 0.2
requests = 5
[[steps]]
canary = 0.5
requests = 5
"""
WHY = {
    "start": "its answers say where they end",
    "pause": "the desk looks at it first",
    "resume": "the desk is content",
    "approve": "read ten answers of it",
    "rollback": "complaints from the desk",
}
"""The reason of each deed."""
MOST_TABS = 80


@dataclass
class Person:
    """Somebody in a browser of their own."""

    page: Page
    address: str
    wrong: list[str] = field(default_factory=list[str])
    """What the browser could not load, was not allowed to, or failed at."""

    def sign_in(self, key: str) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.goto(self.address)
        self.page.get_by_label("Key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()

    def confirm(self, deed: str, reason: str) -> None:
        """Click a deed, say why, and click again."""
        self.page.locator("summary", has_text=deed).click()
        sheet = self.page.locator("details.confirm[open]")
        sheet.get_by_label("Reason").fill(reason)
        sheet.get_by_role("button", name=deed).click()

    def confirm_by_keyboard(self, deed: str, reason: str) -> None:
        """The same with Tab, Enter and letters alone."""
        for _ in range(MOST_TABS):
            self.page.keyboard.press("Tab")
            if (
                self.page.evaluate(
                    "() => document.activeElement.matches('summary') && document.activeElement.innerText"
                )
                == deed
            ):
                break
        self.page.keyboard.press("Enter")
        expect(self.page.locator("details.confirm[open]").get_by_label("Reason")).to_be_focused()
        self.page.keyboard.type(reason)
        self.page.keyboard.press("Enter")

    def _heard(self, said: ConsoleMessage) -> None:
        if said.type == "error":
            self.wrong.append(said.text)


@dataclass(frozen=True)
class Scene:
    """A running system with its console, and a browser."""

    up: Up
    address: str
    browser: Browser
    keys: Mapping[str, str]

    @contextmanager
    def somebody(self, name: str) -> Generator[Person]:
        """Somebody who signs in; no page of theirs may have gone wrong."""
        with self.browser.new_context(viewport={"width": 1280, "height": 900}) as context:
            person = Person(context.new_page(), self.address)
            person.sign_in(self.keys[name])
            yield person
            assert person.wrong == []


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Generator[Scene]:
    project = write_project(tmp_path_factory.mktemp("story") / "project", (TASK,), steps=STEPS)
    file = project / "tasks" / f"{TASK}.toml"
    file.write_text(
        file.read_text().replace("margin = 0.05", "margin = 0.3").replace("timeout_s", 'tier = "medium"\ntimeout_s')
    )
    with system(project) as up:
        until(lambda: up.ready(INCUMBENT))
        assert up.call("deploy", CANDIDATE, "--engine", "echo", "--option", 'reply="ok, and that is all"').status == 0
        keys = {
            name: up.call("key", "new", name, "--role", role, "--json").json["key"]
            for name, role in ((OPERATOR, "operator"), (APPROVER, "approver"))
        }
        (project / ".changeover" / "keys.json").write_text(json.dumps({"operator": keys[OPERATOR]}))
        with running_console(project) as visitor, browser.chromium_running() as running:
            yield Scene(up, f"http://127.0.0.1:{visitor.port}", running, keys)


def test_people_switch_a_task_and_take_it_back_while_it_is_called(scene: Scene) -> None:
    with scene.somebody(OPERATOR) as ines, scene.somebody(APPROVER) as deniz:
        _begin(ines)
        _hold_while_traffic_comes(ines, scene.up)
        with load(scene.up, TASK) as seen:
            _goes_on_to_the_last_step(ines)
            _agree(deniz)
            _is_promoted(ines, seen)
            _take_back(ines, seen)
        assert seen.failed == []
        assert scene.up.answering(TASK) == INCUMBENT
        _stands_in_the_audit(deniz)


def _begin(ines: Person) -> None:
    """From the first look at all tasks to a rollout that waits for traffic."""
    page = ines.page
    row = page.get_by_role("row", name=TASK)
    expect(row).to_contain_text(INCUMBENT)
    row.get_by_role("link", name=TASK).click()
    expect(page.locator("#now + dl")).to_contain_text(INCUMBENT)
    page.get_by_role("link", name="Switch…").click()
    page.get_by_role("radio", name=CANDIDATE).check()
    page.get_by_label("Reason").fill(WHY["start"])
    page.get_by_role("button", name="Begin the switch").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{INCUMBENT} → {CANDIDATE}")
    page.evaluate("() => { window.sameAsBefore = true; }")
    expect(_stage(page)).to_contain_text("shadow 50 %")
    assert page.evaluate("() => window.sameAsBefore"), "the evaluation ended before the reader's eyes"


def _stage(page: Page) -> Locator:
    """The step that a rollout is in, as its page shows it."""
    return page.locator("[aria-current=step]")


def _hold_while_traffic_comes(ines: Person, up: Up) -> None:
    """Paused by keyboard, it takes in what arrives and stays where it is."""
    page = ines.page
    ines.confirm_by_keyboard("Pause", WHY["pause"])
    expect(page.locator(".warning", has_text=WHY["pause"])).to_contain_text(f"key:{OPERATOR}")
    with load(up, TASK) as seen:
        expect(page.locator("details.pair").first).to_contain_text("ok, and that is all")
        until(lambda: seen.requests > 40)
    assert seen.failed == []
    assert seen.answered_by == {INCUMBENT}
    expect(_stage(page)).to_contain_text("shadow 50 %")


def _goes_on_to_the_last_step(ines: Person) -> None:
    """Resumed, it goes through its steps on an open page, up to where somebody else has to agree."""
    page = ines.page
    ines.confirm("Resume", WHY["resume"])
    expect(page.locator("summary", has_text="Pause")).to_be_visible()
    page.evaluate("() => { window.sameAsBefore = true; }")
    expect(_stage(page)).to_contain_text("canary 50 %")
    expect(page.locator("#live")).to_contain_text("Waits for: needs 1 approval before the promotion")
    assert page.evaluate("() => window.sameAsBefore"), "steps arrived without a reload"
    assert page.locator("summary", has_text="Approve").count() == 0, "who began it cannot agree to it"


def _agree(deniz: Person) -> None:
    """Somebody else does it in the list of what needs a person, and looks at what became of it."""
    page = deniz.page
    page.reload()
    need = page.locator(".need", has_text=TASK)
    assert need.locator("summary", has_text="Resume").count() == 0, "an approver steers nothing"
    rollout = need.get_by_role("link", name="Rollout").get_attribute("href")
    deniz.confirm("Approve", WHY["approve"])
    expect(page.locator(".told")).to_contain_text("You agreed to rollout")
    page.goto(f"{deniz.address}{rollout}")
    expect(page.locator(".timeline", has_text=WHY["approve"])).to_be_visible()


def _is_promoted(ines: Person, seen: Load) -> None:
    """The page that was open all the time says so, and so do the task's page and its callers."""
    page = ines.page
    expect(page.locator(".state-of")).to_contain_text("baking")
    expect(page.locator("summary", has_text="Roll back")).to_be_visible()
    assert page.evaluate("() => window.sameAsBefore")
    page.get_by_role("link", name=TASK).first.click()
    expect(page.locator("#now + dl dd").first).to_contain_text(CANDIDATE)
    until(lambda: CANDIDATE in seen.answered_by)


def _take_back(ines: Person, seen: Load) -> None:
    """One click, a reason, and the former answers again."""
    page = ines.page
    ines.confirm("Roll back", WHY["rollback"])
    expect(page.get_by_role("status")).to_contain_text("rolled back")
    expect(page.locator(".timeline .now")).to_contain_text(f"{INCUMBENT} answers")
    seen.answered_by.clear()
    until(lambda: INCUMBENT in seen.answered_by)


def _stands_in_the_audit(deniz: Person) -> None:
    """Every deed with who did it and why."""
    page = deniz.page
    page.get_by_role("link", name="Audit").click()
    for action, reason in WHY.items():
        who = APPROVER if action == "approve" else OPERATOR
        row = page.get_by_role("row", name=reason).first
        expect(row).to_contain_text(f"key:{who}")
        expect(row).to_contain_text(TASK)
    promoted = page.get_by_role("row").filter(has_text="promote")
    expect(promoted.first).to_contain_text("changeover")
