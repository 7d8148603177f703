"""A busy installation at a moment that never passes, its console, and the pages of which pictures are taken.

The installation is that of `benchmarks.console.busy`: every name and figure in it is invented. No gateway runs; the console
shows it as if one did, so that nothing goes on while pictures are taken.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Literal

import uvicorn
from benchmarks.console.busy import make
from PIL import Image
from playwright.sync_api import Browser, Page
from tests.support.browser import chromium_running
from tests.support.console import secrets_of

from changeover.app.installation import Installation
from changeover.app.listening import address_of, listen
from changeover.console.app import console
from changeover.console.desk import Desk
from changeover.evals.trial_queries import recent_trials
from changeover.rollouts.queries import latest_rollout

HERE = Path(__file__).parent
NOW = datetime(2026, 11, 30, 9, 30, tzinfo=UTC)
TASK = "summarise"
CARD = "gemma-3-12b-it"
SIZE = (1280, 860)
PHONE = (390, 844)


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One picture: of which page, and as whom it is seen."""

    name: str
    path: str
    """With `{rollout}`, `{comparison}` and `{trial}` for those of the installation."""
    size: tuple[int, int] = SIZE
    scheme: Literal["light", "dark"] = "light"
    language: Literal["en", "ja"] = "en"

    @property
    def file(self) -> Path:
        return HERE / f"{self.name}.png"


SHOTS = (
    Shot(name="tasks", path="/tasks"),
    Shot(name="task", path=f"/tasks/{TASK}"),
    Shot(name="rollout", path="/rollouts/{rollout}"),
    Shot(name="comparison", path="/comparisons/{comparison}"),
    Shot(name="library", path="/library"),
    Shot(name="card", path=f"/library/{CARD}"),
    Shot(name="trial", path="/trials/{trial}"),
    Shot(name="usage", path="/usage"),
    Shot(name="deployments", path="/deployments"),
    Shot(name="lock-in", path="/lock-in/report"),
    Shot(name="tasks-dark", path="/tasks", scheme="dark"),
    Shot(name="tasks-phone", path="/tasks", size=PHONE),
    Shot(name="tasks-ja", path="/tasks", language="ja"),
)


class Well(BaseHTTPRequestHandler):
    """Says to everybody that all is well, as a gateway's `/healthz` does."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"status": "ok"}')

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


class Stage(Desk):
    """A desk whose gateway always seems to run."""

    def __init__(self, installation: Installation, address: str) -> None:
        super().__init__(installation)
        self._address = address

    def gateway(self) -> str:
        return self._address


@dataclass(frozen=True)
class Scene:
    """The console, listening, and a browser."""

    address: str
    key: str
    browser: Browser
    names: Mapping[str, str]

    def taken(self, shot: Shot, *, without: str | None = None) -> Image.Image:
        """Take a picture.

        Args:
            shot: Of what.
            without: Addresses that are not answered, as a pattern: to see what becomes of the page.
        """
        with self.opened(shot, without) as page:
            return Image.open(BytesIO(page.screenshot(animations="disabled", caret="hide"))).convert("RGB")

    @contextmanager
    def opened(self, shot: Shot, without: str | None = None) -> Generator[Page]:
        """A shot's page, as it is seen."""
        width, height = shot.size
        context = self.browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=shot.scheme,
            locale=shot.language,
            timezone_id="UTC",
            reduced_motion="reduce",
        )
        with context:
            page = context.new_page()
            if without is not None:
                page.route(without, lambda route: route.abort())
            signed_in = context.request.post(f"{self.address}/sign-in", form={"key": self.key})
            assert signed_in.ok, signed_in.status_text
            answer = page.goto(self.address + shot.path.format_map(self.names))
            assert answer is not None
            assert answer.ok, f"{answer.url}: {answer.status}"
            page.wait_for_function("() => !document.querySelector('.htmx-request')")
            yield page


@contextmanager
def scene(directory: Path) -> Generator[Scene]:
    """Set it up in an empty directory."""
    # Before the browser: with it, a loop of its own runs in this thread.
    installation = make(directory, tasks=30, exchanges=16_000, runs=0, attempts=2, now=NOW)
    listener = listen("127.0.0.1", 0)
    seeming = ThreadingHTTPServer(("127.0.0.1", 0), Well)
    threading.Thread(target=seeming.serve_forever).start()
    desk = Stage(installation, f"http://127.0.0.1:{seeming.server_port}")
    app = console(desk.gateway, hosts=("127.0.0.1",), most_body_bytes=1 << 20, clock=installation.clock, desk=desk)
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        with chromium_running() as browser:
            yield Scene(address_of(listener), secrets_of(directory)["admin"], browser, _names(installation))
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
        seeming.shutdown()
        seeming.server_close()
        installation.store.close()


def _names(installation: Installation) -> Mapping[str, str]:
    """What a picture's path may name."""
    with installation.store.read() as connection:
        rollout = latest_rollout(connection, TASK)
        [trial, *_] = recent_trials(connection, 1)
    assert rollout is not None
    assert rollout.comparison is not None
    return {"rollout": str(rollout.id), "comparison": rollout.comparison, "trial": str(trial.id)}
