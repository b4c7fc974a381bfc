"""Protects the animated picture in a real browser: keys, still motion, print, and no request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from sim.animation.page import page as written
from sim.animation.storyboard import storyboard
from sim.scenario import load_scenario
from tests.loadtest.browsers import chromium

SHOWN = "main .mark:not(.future)"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("animation") / "animation.html"
    board = storyboard(load_scenario("doorbell"), ["webhook", "polling", "long_polling", "streaming"], 8)
    path.write_text(written(board), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def opened(browser: Browser, file: Path) -> Iterator[Page]:
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text))
    page.on("request", lambda asked: None if asked.url.startswith("file:") else wrong.append(asked.url))
    page.goto(file.as_uri())
    yield page
    context.close()
    assert wrong == []


def test_keys_step_through_the_story(opened: Page) -> None:
    every = opened.locator("main .mark").count()
    assert opened.locator(SHOWN).count() == every, "it opens on the whole picture, standing still"
    opened.keyboard.press("Home")
    at_first = opened.locator(SHOWN).count()
    assert at_first < every / 4
    for _ in range(4):
        opened.keyboard.press("ArrowRight")
    assert opened.locator(SHOWN).count() > at_first
    assert "event" in opened.locator(".said").first.inner_text()
    opened.keyboard.press("ArrowLeft")
    opened.keyboard.press("End")
    assert opened.locator(SHOWN).count() == every


def test_play_moves_time_and_pauses(opened: Page) -> None:
    opened.get_by_role("button", name="Play").click()
    began = time.monotonic()
    while int(opened.locator("#time").input_value()) <= 5:  # the page's own policy forbids to wait by script
        assert time.monotonic() < began + 10
        opened.wait_for_timeout(50)
    opened.get_by_role("button", name="Pause").click()
    stopped = opened.locator("#time").input_value()
    opened.wait_for_timeout(200)
    assert opened.locator("#time").input_value() == stopped
    assert int(stopped) < 1000


def test_print_shows_the_whole_picture(opened: Page) -> None:
    opened.keyboard.press("Home")
    opened.emulate_media(media="print")
    hidden = opened.evaluate(
        "[...document.querySelectorAll('main .mark')]"
        ".filter(mark => getComputedStyle(mark).display === 'none').length"
    )
    assert hidden == 0
    assert not opened.locator("#controls").is_visible()


def test_without_a_script_the_picture_is_there(browser: Browser, file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    assert page.locator("main .mark circle").first.is_visible()
    assert not page.locator("#controls").is_visible()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(opened: Page, scheme: str) -> None:
    opened.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    results = Axe().run(opened)
    assert results.violations_count == 0, results.generate_report()
