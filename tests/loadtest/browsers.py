"""A headless Chromium for the tests: the machine's own, driven over its debugging protocol."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests.loadtest.inboxes import missing

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser; skipped, or failed where every service has to be there, when there is none."""
    program = os.environ.get("HOOKBENCH_TEST_CHROMIUM") or next(
        filter(None, map(shutil.which, PROGRAMS)), None
    )
    if program is None:
        missing(f"there is no browser: none of {', '.join(PROGRAMS)} is on PATH (apt-get install chromium)")
    with sync_playwright() as playwright:
        # Its sandbox needs rights that a container and root do not have; it opens nothing but our own file.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
