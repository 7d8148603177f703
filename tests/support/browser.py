"""A real browser for the pages: the system's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

from playwright import sync_api
from playwright.async_api import Page, async_playwright, expect

PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)
sync_api.expect.set_options(timeout=PATIENCE_MS)
NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    """Where it is; `CHANGEOVER_TEST_CHROMIUM` may say."""
    named = os.environ.get("CHANGEOVER_TEST_CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


def missing() -> str | None:
    """Why no browser test can run; None: they can."""
    return None if chromium() else "no Chromium is installed: scripts/chromium.sh installs Debian's, as root"


@asynccontextmanager
async def browsing() -> AsyncGenerator[Page]:
    """A page of a fresh browser, which counts what it could not load or run as errors."""
    async with async_playwright() as playwright:
        # Its own sandbox needs rights that a container has not; it opens only pages of ours.
        browser = await playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        try:
            yield await browser.new_page()
        finally:
            await browser.close()


@contextmanager
def chromium_running() -> Generator[sync_api.Browser]:
    """A browser for several pages, each of a person of its own: see `Browser.new_context`."""
    with sync_api.sync_playwright() as playwright:
        # Its own sandbox needs rights that a container has not; it opens only pages of ours.
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
