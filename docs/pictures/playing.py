"""The picture of the playground: three echo engines answer on a system that really runs.

How quickly they do is different each time, so that no test compares it.
"""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

from benchmarks.console.visiting import running_console
from PIL import Image
from playwright.sync_api import expect
from tests.support.browser import chromium_running
from tests.support.processes import system, until
from tests.support.projects import write_project

from docs.pictures.scene import SIZE

PLAYGROUND = "playground"
ASKED = (
    "Summarise in one sentence: the lift in house B is out of service from 11 to 14 March; use the stairs in house A."
)
ANSWERS = {
    "incumbent": "The lift in house B is out of service from 11 to 14 March.",
    "candidate": "From 11 to 14 March the lift in house B is out of service; the stairs in house A are open.",
    "smaller": "There is a problem with a lift. Please be careful.",
}
"""By deployment; invented."""
PIECES = 12


def played(project: Path) -> Image.Image:
    """Ask all of them, and take the picture when they have answered."""
    with system(write_project(project)) as up:
        for place, (name, answer) in enumerate(ANSWERS.items()):
            options = {"reply": json.dumps(answer), "chunks": PIECES, "chunk_delay_s": 0.02 * (place + 1)}
            said = [part for key, value in options.items() for part in ("--option", f"{key}={value}")]
            ended = up.call("deploy", name, "--engine", "echo", *said)
            assert ended.status == 0, ended
            until(lambda name=name: up.ready(name))
        key = up.call("key", "new", "ines", "--role", "operator", "--json").json["key"]
        (project / ".changeover" / "keys.json").write_text(json.dumps({"operator": key}))
        with running_console(project) as visitor, chromium_running() as browser:
            width, height = SIZE
            page = browser.new_page(viewport={"width": width, "height": height}, timezone_id="UTC", locale="en")
            page.goto(f"http://127.0.0.1:{visitor.port}/sign-in")
            page.get_by_label("Key").fill(key)
            page.get_by_role("button", name="Sign in").click()
            page.get_by_role("link", name="Playground").click()
            page.get_by_label("Prompt").fill(ASKED)
            for place, name in enumerate(ANSWERS):
                page.locator("select[name=ask]").nth(place).select_option(label=name)
            page.get_by_role("button", name="Ask", exact=True).click()
            expect(page.locator(".answer .badge.good")).to_have_count(len(ANSWERS))
            return Image.open(BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
