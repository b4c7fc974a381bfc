"""Protects reports where they are read: offline, by keyboard, by screen reader, in the dark and on paper."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from loadtest.report.page import write_report
from loadtest.verdict import ThresholdResult
from sim.scenario import load_scenario
from tests.loadtest.browsers import chromium
from tests.loadtest.recorded import invented_run, written
from tests.loadtest.test_report import EVENTS, HOSTILE, SLOW

LATENCY_US = np.linspace(1_000, 60_000, EVENTS).astype(np.int64)
FOCUSABLE = "a[href], input, button, summary, [tabindex='0']"
A4_HEIGHT_PX = (297 - 2 * 14) / 25.4 * 96
A4_WIDTH_PX = (210 - 2 * 13) / 25.4 * 96


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> str:
    """A hostile race of three repetitions beside a load that missed its threshold, as a file's URL."""
    out = tmp_path_factory.mktemp("report")
    scenario = load_scenario("shop-orders-rush").with_values(title=HOSTILE)
    made = []
    for run in range(2):
        made += [invented_run("webhook", run, LATENCY_US + run), invented_run("polling", run, SLOW)]
    race = written(out, "race", made, (), scenario).path
    missed = ThresholdResult("webhook", "latency_p99_s<0.001", 0.06, met=False)
    load = written(out, "load", [invented_run("webhook", 0, LATENCY_US, void=[HOSTILE])], [missed]).path
    return write_report([race, load], out / "report.html").as_uri()


@contextmanager
def opened(browser: Browser, url: str, **options) -> Iterator[Page]:
    """The report in a browser without a network; it may say nothing and ask for nothing."""
    # Without motion nothing is still scrolling when the pointer comes.
    context = browser.new_context(**{"offline": True, "reduced_motion": "reduce", **options})
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    yield page
    context.close()
    assert said == []
    assert asked == [url]


def violations(page: Page, *rules: str) -> list[str]:
    """What axe-core objects to, by all of its rules or by some."""
    options: dict[str, object] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = {"type": "rule", "values": rules}
    found = Axe().run(page, options=options).response["violations"]
    return [f"{each['id']}: {node['html'][:160]}" for each in found for node in each["nodes"]]


def test_it_draws_every_figure_and_stays_silent_offline(browser, report):
    with opened(browser, report) as page:
        figures = page.locator("figure")
        assert (
            figures.count()
            == page.locator("svg.plot").count()
            == page.locator(".controls:not([hidden])").count()
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
        empty = page.evaluate(
            "[...document.querySelectorAll('svg.plot:not(details *)')]"
            ".filter(plot => ![...plot.querySelectorAll('.curve')]"
            ".some(curve => curve.getBoundingClientRect().width > 50)).length"
        )
        assert empty == 0
        colours = page.evaluate(
            "[...document.querySelectorAll('.curve')].map(c => getComputedStyle(c).stroke)"
        )
        assert "none" not in colours
        assert page.title().startswith("Good: </title>"), "the hostile title is text"


def test_the_policy_in_the_file_forbids_what_an_intruder_would_try(browser, report):
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report)
    ran = page.evaluate(
        """async () => {
            const script = document.createElement('script');
            script.textContent = 'window.ran = true';
            document.body.append(script);
            document.body.setAttribute('onclick', 'window.ran = true');
            document.body.click();
            const fetched = await fetch('http://127.0.0.1:9/').then(() => true, () => false);
            return [window.ran === true, fetched];
        }"""
    )
    context.close()
    assert ran == [False, False]
    assert asked == [report]


def test_without_scripts_it_is_whole(browser, report):
    with opened(browser, report, java_script_enabled=False) as page:
        assert page.locator("svg.plot").first.is_visible()
        assert page.locator("input, button").count() == 0, "controls are made by the script that serves them"
        page.locator("summary").first.click()
        assert page.locator("details[open] table").first.is_visible()


def test_axe_finds_nothing_to_object_to(browser, report):
    with opened(browser, report, color_scheme="light") as page:
        for kind in ("figure > details", ".block > details:not(.printed)", ".printed"):
            page.evaluate("kind => { document.querySelector(kind).open = true }", kind)
        assert violations(page) == []
        page.emulate_media(color_scheme="dark")
        assert violations(page, "color-contrast") == []


def test_on_a_telephone_nothing_is_cut_and_what_scrolls_can_be_focused(browser, report):
    with opened(browser, report, viewport={"width": 360, "height": 700}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.locator(".canvas[tabindex='0']").count() > 0
        assert violations(page, "scrollable-region-focusable", "target-size") == []


def test_every_control_is_reached_with_the_tab_key_and_shows_it(browser, report):
    with opened(browser, report) as page:
        total = page.evaluate(
            "(selector) => { window.wanted = [...document.querySelectorAll(selector)]"
            ".filter(each => each.checkVisibility()); window.reached = new Set(); window.unmarked = [];"
            "document.addEventListener('focusin', ({target}) => { reached.add(target);"
            "if (getComputedStyle(target).outlineStyle === 'none') unmarked.push(target.outerHTML); });"
            "return wanted.length; }",
            FOCUSABLE,
        )
        for _ in range(total):
            page.keyboard.press("Tab")
        left = page.evaluate("wanted.filter(each => !reached.has(each)).map(each => each.outerHTML)")
        assert total > 40
        assert left == []
        assert page.evaluate("unmarked") == []


def test_a_value_is_read_off_a_curve_by_keyboard_and_by_pointer(browser, report):
    with opened(browser, report) as page:
        figure = page.locator("figure[id^=percentiles]").nth(1)
        slider = figure.get_by_label("Read at")
        slider.focus()
        slider.press("End")
        slider.press("ArrowLeft")
        assert re.fullmatch(r"p\d+(\.\d+)?", slider.get_attribute("aria-valuetext"))
        told = figure.locator("output").inner_text()
        # All but the largest of evenly spaced latencies, 60 of them with a nine's tail each.
        at = float(re.match(r"At p([\d.]+):", told)[1]) / 100
        value_ms = float(re.search(r"webhook ([\d.]+) ms", told)[1])
        expected_ms = np.quantile(np.concatenate([LATENCY_US, LATENCY_US + 1]) + 1000, at) / 1e3
        assert value_ms == pytest.approx(expected_ms, rel=0.03)
        figure.locator("svg.plot").hover(position={"x": 300, "y": 150})
        expect(figure.locator("output")).not_to_have_text(told)


def test_curves_can_be_put_away_and_brought_back(browser, report):
    with opened(browser, report) as page:
        figure = page.locator("figure[id^=cdf]").first
        line = figure.locator("path.curve[data-group='polling']")
        box = figure.get_by_label("polling", exact=True)
        assert line.is_visible()
        box.uncheck()
        assert not line.is_visible()
        box.check()
        assert line.is_visible()


def test_a_stretch_of_time_can_be_looked_at_closely(browser, report):
    with opened(browser, report) as page:
        zoom = page.locator(".zoom").nth(1)
        figure = page.locator("figure[id^=time-webhook]").first
        ticks = figure.locator(".xticks text")
        whole = ticks.all_inner_texts()
        view = figure.locator("svg.view").first
        before = view.get_attribute("viewBox")
        start = zoom.get_by_label("Time from")
        start.focus()
        for _ in range(6):
            start.press("PageUp")
        assert view.get_attribute("viewBox") != before
        assert ticks.all_inner_texts() != whole
        assert "Shown: " in zoom.locator("output").inner_text()
        zoom.get_by_role("button", name="Whole run").click()
        assert view.get_attribute("viewBox") == before
        assert ticks.all_inner_texts() == whole


def test_on_a4_no_figure_is_cut_and_no_control_is_printed(browser, report):
    with opened(browser, report, viewport={"width": round(A4_WIDTH_PX), "height": 900}) as page:
        page.emulate_media(media="print")
        heights = page.evaluate(
            "[...document.querySelectorAll('figure')].filter(f => f.checkVisibility())"
            ".map(f => [f.getBoundingClientRect().height, getComputedStyle(f).breakInside])"
        )
        assert all(height < A4_HEIGHT_PX and cut == "avoid" for height, cut in heights)
        assert not page.locator(".controls, .zoom").first.is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= round(A4_WIDTH_PX)
        assert page.locator("details.printed table").first.is_visible(), (
            "long tables are printed, though folded"
        )
        assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


def test_who_wants_less_motion_gets_none(browser, report):
    with opened(browser, report) as page:
        for wish, behaviour in (("reduce", "auto"), ("no-preference", "smooth")):
            page.emulate_media(reduced_motion=wish)
            assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == behaviour
