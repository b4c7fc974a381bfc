"""Protects reports: the verdict says what the figures say, and nothing a run holds can act."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hookbench
from loadtest.report.page import render, sections_of, write_report
from loadtest.report.plot import Ids
from loadtest.report.section import Section
from loadtest.report.tradeoff import front
from loadtest.runner.folder import save
from loadtest.runner.results import LoadResult
from loadtest.verdict import ThresholdResult
from sim.cli import run_simulation
from sim.errors import InputError
from sim.results import REFERENCE, RunFolder
from sim.scenario import load_scenario
from tests.loadtest.recorded import invented_run, written

HOSTILE = "</title></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
EVENTS = 60
FAST = np.full(EVENTS, 10_000)
SLOW = np.linspace(100_000, 900_000, EVENTS).astype(np.int64)


class Page(HTMLParser):
    """What a browser would find: elements with their attributes, and the text of each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.headings: list[str] = []
        self.words = ""
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._within = tag
        if tag == "script":
            self.scripts.append("")
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(tag)

    def handle_endtag(self, tag):
        self._within = ""

    def handle_data(self, data):
        if self._within == "script":
            self.scripts[-1] += data
        elif self._within != "style":
            self.words += data

    def all(self, name):
        return [attributes[name] for _, attributes in self.elements if name in attributes]


def only(path: Path) -> Section:
    (section,) = sections_of(path, Ids())
    return section


def section_path(out: Path) -> Path:
    (path,) = out.iterdir()
    return path


def raced(tmp_path, runs=1, **options):
    made = []
    for run in range(runs):
        made.append(invented_run("webhook", run, FAST + 1000 * run, **options))
        made.append(invented_run("polling", run, SLOW + 3000 * run))
    return written(tmp_path, "race", made).path


def test_a_race_says_which_way_is_faster_by_how_much_and_how_surely(tmp_path):
    verdict = only(raced(tmp_path, runs=3)).verdict
    assert verdict.state == "good"
    # Differences per run: 490, 492 and 494 ms; Student's t for 2 degrees of freedom: 4.3027 × 2/√3 = 4.968.
    assert verdict.finding.startswith(
        "webhook is faster: an event was visible 492 ms sooner than by polling on average "
        "(95 % interval 487 ms to 497 ms over 3 runs), and sooner for 100 % of 180 events."
    )


def test_one_run_has_no_interval_and_says_so(tmp_path):
    finding = only(raced(tmp_path)).verdict.finding
    assert finding.startswith("In this one run webhook was faster: an event was visible 490 ms sooner")
    assert "(no interval: that takes two runs or more)" in finding


def test_a_difference_that_may_be_nothing_is_not_called_one(tmp_path):
    made = []
    for run, shift in enumerate((5_000, -4_000, 1_000)):
        made += [invented_run("webhook", run, FAST), invented_run("polling", run, FAST + shift)]
    finding = only(written(tmp_path, "race", made).path).verdict.finding
    assert finding.startswith("No difference in latency between webhook and polling is proven")
    assert "an interval that holds 0" in finding


def test_arms_that_are_alike_are_told_together(tmp_path):
    made = [invented_run(arm, 0, FAST) for arm in ("webhook", "thin_webhook")]
    both = only(written(tmp_path, "race", made).path).verdict.finding
    assert both == "webhook and thin_webhook are alike: each event was visible at the same instant."
    made.append(invented_run("polling", 0, SLOW))
    finding = only(written(tmp_path, "race", made).path).verdict.finding
    assert finding.startswith(
        "In this one run webhook (and, alike to the instant, thin_webhook) was faster: an"
    )
    assert finding.endswith("It is the fastest of 3 arms.")


def test_a_race_in_which_nothing_came_by_one_arm_names_no_winner(tmp_path):
    made = [
        invented_run("webhook", 0, FAST, failed=range(EVENTS)),
        invented_run("polling", 0, SLOW),
    ]
    assert "cannot be compared" in only(written(tmp_path, "race", made).path).verdict.finding


def test_what_no_other_arm_beats_in_both_respects_is_told(tmp_path):
    assert front({"a": (1, 9), "b": (9, 1), "c": (5, 5), "d": (6, 6), "e": (9, 9)}) == ["a", "c", "b"]

    def arm(name, latency_us, cpu_s):
        costs = {
            "provider_cpu_s_per_1k": cpu_s,
            "receiver_cpu_s_per_1k": 1.0,
            "latency_p99_s": latency_us / 1e6,
        }
        return invented_run(name, 0, np.full(EVENTS, latency_us), metrics=costs)

    made = [arm("webhook", 10_000, 3.0), arm("polling", 400_000, 0.5), arm("streaming", 400_000, 2.0)]
    section = only(written(tmp_path, "race", made).path)
    (figure,) = next(block for block in section.blocks if block.heading == "Server load").figures
    assert figure.finding == (
        "Unbeaten in promptness and price together: webhook (p99 10 ms, 4 s of CPU), "
        "polling (p99 400 ms, 1.5 s of CPU)."
    )
    assert "polling is cheapest for the servers" in section.verdict.details[0]


def test_a_race_of_one_arm_is_no_comparison(tmp_path):
    verdict = only(written(tmp_path, "race", [invented_run("webhook", 0, FAST)]).path).verdict
    assert verdict.finding.startswith("By webhook half of all events were visible within 10 ms and 99 %")
    assert verdict.details == ("A single arm ran, so there is nothing to compare it with.",)


@pytest.mark.parametrize("records", [True, False])
def test_a_server_of_somebody_elses_is_told_by_what_was_seen_from_outside(tmp_path, records):
    """No process was watched; deliveries were seen, or there was none and no answer either."""
    run = invented_run("webhook", 0, FAST, failed=range(0 if records else EVENTS))
    blind = replace(run, server_load=run.server_load.iloc[:0], records=run.records if records else None)
    section = only(written(tmp_path, "load", [blind]).path)
    headings = [block.heading for block in section.blocks]
    assert "Server load" not in headings
    assert ("Latency" in headings) == records
    assert "<svg" in render([section_path(tmp_path)])


def test_events_that_only_one_arm_delivered_are_counted_apart(tmp_path):
    section = only(raced(tmp_path, failed=[0, 1, 2]))
    (figure, _) = next(block for block in section.blocks if "arm against arm" in block.heading).figures
    row = dict(zip(figure.table.head, figure.table.rows[0], strict=True))
    assert (row["events"], row["not visible by both"]) == (str(EVENTS - 3), "3")


def test_a_void_run_gives_its_reasons_before_any_figure_and_stamps_every_drawing(tmp_path):
    path = raced(tmp_path, void=["the machine slept"])
    verdict = only(path).verdict
    assert (verdict.state, verdict.finding) == (
        "void",
        "These figures are not to be trusted, and here is why.",
    )
    assert verdict.reasons == ("webhook: the machine slept",)
    assert verdict.details[0].startswith("Had the run been sound: in this one run webhook was")
    page = render([path])
    assert page.count('class="stamp"') == page.count('class="plot"') > 0
    assert 'class="stamp"' not in render([raced(tmp_path / "sound")])


def test_a_missed_threshold_is_the_verdict_and_a_line_in_the_figure(tmp_path):
    missed = ThresholdResult("webhook", "latency_p99_s<0.005", 0.01, met=False)
    path = written(tmp_path, "load", [invented_run("webhook", 0, FAST)], [missed]).path
    section = only(path)
    assert section.verdict.state == "missed"
    assert section.verdict.reasons == ("webhook: latency_p99_s<0.005, but it was 0.01",)
    assert "threshold latency_p99_s&lt;0.005" in render([path])


def test_a_load_tells_the_stall_that_real_send_times_hide(tmp_path):
    metrics = {
        "latency_p99_s": 1.2,
        "uncorrected_latency_p99_s": 0.004,
        "latency_p50_s": 0.01,
        "achieved_rate_per_s": 20.0,
    }
    path = written(tmp_path, "load", [invented_run("webhook", 0, FAST, failed=[3], metrics=metrics)]).path
    verdict = only(path).verdict
    assert "webhook: 60 requests at 20 /s, and 1 of them failed: half within 10 ms" in verdict.finding
    assert "p99 would read only 4 ms instead of 1.2 s" in verdict.details[0]


def test_faults_are_shaded_and_what_was_recorded_second_by_second_has_its_panel(tmp_path):
    run = invented_run("webhook", 0, FAST)
    fault = {"text": "pause@1+0.5", "role": "receiver", "kind": "pause", "begun_s": 1.0, "ended_s": 1.5}
    run.notes["faults"] = [fault]
    with RunFolder.create(
        "load-x", "hookbench load", tmp_path, scenario=load_scenario("shop-orders-rush")
    ) as folder:
        save(
            folder,
            LoadResult("load", load_scenario("shop-orders-rush"), 1, (run,), (), folder.path),
            figures=False,
        )
        seconds = {
            "second": [0, 1, 2],
            "failed": 0,
            "receiver_waiting": [0, 7, 1],
            "machine_pressure_cpu": 0.25,
        }
        (folder.path / "timeline.csv").unlink()  # of the invented run, in which nothing is queued
        folder.save_table(pd.DataFrame({**seconds, "arm": "webhook", "run": 0}), "timeline")
    block = next(block for block in only(folder.path).blocks if block.heading == "Over time")
    (figure,) = block.figures
    assert figure.plot.spans == ((1.0, 1.5, "receiver: pause@1+0.5"),)
    assert figure.how.endswith("Shaded: receiver: pause@1+0.5, 1 s to 1.5 s.")
    panels = {panel.title: panel.curves for panel in figure.plot.panels}
    assert "failed per second" not in panels, "nothing failed"
    assert panels["queued, events"][0].y.tolist() == [0, 7, 1, 1]
    assert panels["some task waited for it, % of the time"][0].y.max() == 25


def test_the_percentile_table_holds_what_the_samples_say(tmp_path):
    latency_us = np.random.default_rng(1).integers(1_000, 200_000, 2_000)
    path = written(tmp_path, "load", [invented_run("webhook", 0, latency_us, failed=[0])]).path
    figure = next(block for block in only(path).blocks if block.heading == "Latency").figures[0]
    column = figure.table.head.index("webhook, intended send to answer")
    cells = {row[0]: row[column] for row in figure.table.rows}
    known = np.sort(np.append(latency_us[1:], np.inf))
    assert cells["p50"] == f"{np.quantile(known, 0.5) / 1e3:.3g} ms"
    assert cells["never came"] == "0.05 %"
    assert cells["number of requests"] == "2,000"


def test_a_simulation_is_called_one_and_its_outages_are_shaded(tmp_path):
    scenario = load_scenario("shop-orders").with_values(**{"run.duration_s": 1_200})
    _, path = run_simulation(scenario, ["webhook", "polling"], "fast", 2, 1, tmp_path)
    section = only(path)
    assert section.verdict.state == "model"
    assert section.verdict.finding.startswith("The model expects half of all events to be visible within")
    (block,) = [block for block in section.blocks if block.heading == "Over time"]
    assert block.text == ("Shaded: outage of the receiver, refuse, 10 min to 12 min.",)
    assert render([path]).count('class="span"') == sum(len(f.plot.panels) for f in block.figures)


def test_a_demo_brings_its_race_and_its_load():
    (demo,) = REFERENCE.glob("*_demo_*")
    sections = sections_of(demo, Ids())
    assert [section.kind for section in sections] == ["demo", "race", "load"]
    bands = [c.name for c in sections[0].blocks[0].figures[0].plot.panels[0].curves if c.shape == "band"]
    assert bands == ["webhook, predicted", "polling, predicted"]


def test_an_unfinished_run_is_shown_as_no_result(tmp_path):
    scenario = load_scenario("shop-orders-rush")
    with (
        pytest.raises(KeyboardInterrupt),
        RunFolder.create("load-x", "hookbench load", tmp_path, scenario=scenario) as folder,
    ):
        raise KeyboardInterrupt
    verdict = only(folder.path).verdict
    assert (verdict.state, verdict.reasons) == ("incomplete", ("the run is incomplete: interrupted",))


def test_a_kind_of_run_it_does_not_know_is_told_by_its_tables(tmp_path):
    with RunFolder.create("capacity-shop", "hookbench capacity", tmp_path) as folder:
        folder.save_table(pd.DataFrame({"rate_per_s": range(300), "met": True}), "steps")
        folder.note(void=[], finding="It takes 300 a second.")
    section = only(folder.path)
    assert (section.kind, section.verdict.finding) == ("capacity", "It takes 300 a second.")
    (block,) = [block for block in section.blocks if block.heading == "Tables"]
    assert (len(block.folded[0].rows), block.folded[0].note) == (
        200,
        "100 further rows are in the run folder.",
    )


def test_a_run_that_did_not_pass_is_not_called_good(tmp_path):
    with RunFolder.create("selftest", "hookbench selftest", tmp_path) as folder:
        folder.save_table(pd.DataFrame({"check": ["stall"], "passed": [False]}), "checks")
        folder.note(passed=False)
    section = only(folder.path)
    assert (section.verdict.state, section.verdict.word) == ("failed", "Not passed")
    assert section.blocks[0].tables[0].rows == (("stall", "False"),)


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory) -> str:
    """Every kind of text a run can hold, and none of it friendly."""
    out = tmp_path_factory.mktemp("hostile")
    scenario = load_scenario("shop-orders-rush").with_values(title=HOSTILE, description=HOSTILE)
    made = [invented_run("webhook", 0, FAST, void=[HOSTILE]), invented_run("polling", 0, SLOW)]
    bound = ThresholdResult(HOSTILE, HOSTILE, None, met=False)
    race = written(out, "race", made, [bound], scenario).path
    with RunFolder.create("strange", HOSTILE, out) as folder:
        folder.save_table(pd.DataFrame({HOSTILE: [HOSTILE]}), "table")
        folder.note(sentences=HOSTILE, **{HOSTILE: HOSTILE})
    return render([race, folder.path])


def test_nothing_a_run_holds_becomes_markup(hostile_page):
    page = Page(hostile_page)
    plots = sum(1 for tag, attributes in page.elements if attributes.get("class") == "plot")
    assert len(page.scripts) == plots + 1, "one script of our own, and the data of each figure"
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.words.count("alert(1)") > 10, "it is shown, as the text it is"
    for text in page.scripts[:-1]:
        json.loads(text)
    assert all("alert" not in script for script in page.scripts[-1:])


def test_the_page_refers_to_nothing_outside_itself(hostile_page):
    page = Page(hostile_page)
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in page.all("href")} <= set(ids)
    assert page.all("src") == []
    referred = [*page.all("aria-labelledby"), *page.all("aria-describedby")]
    assert {name for names in referred for name in names.split()} <= set(ids)
    (policy,) = [a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_headings_never_skip_a_level(hostile_page):
    levels = [int(tag[1]) for tag in Page(hostile_page).headings]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert levels.count(1) == 1


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    channels = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_every_colour_can_be_read_on_its_ground_in_light_in_dark_and_on_paper():
    style = resources.files("loadtest.report").joinpath("templates/report.css").read_text(encoding="utf-8")
    palettes = [
        dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6})", block)) for block in style.split(":root {")[1:]
    ]
    assert len(palettes) == 3
    for palette in palettes:
        for ground in ("ground", "raised"):
            below = luminance(palette[ground])
            for name in (
                "ink",
                "soft",
                "link",
                "good",
                "void",
                "missed",
                "model",
                *(f"c{n}" for n in range(7)),
            ):
                low, high = sorted((below, luminance(palette[name])))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (name, palette[name], ground)


def test_the_same_runs_make_the_same_page(tmp_path):
    path = raced(tmp_path)
    assert render([path]) == render([path])


def test_a_long_run_is_drawn_through_no_more_points_than_can_be_seen(tmp_path):
    latency_us = np.random.default_rng(2).lognormal(9, 1, 60_000).astype(np.int64)
    latency_us[31_234] = 77_000_000
    path = written(tmp_path, "load", [invented_run("webhook", 0, latency_us)]).path
    page = render([path])
    assert len(page) < 300_000
    section = only(path)
    line = next(block for block in section.blocks if block.heading == "Over time").figures[0]
    dots = next(curve for curve in line.plot.panels[1].curves if curve.shape == "dots")
    assert dots.y.size <= 1_500
    assert dots.y.max() == 77.0, "the slowest is always drawn"


@pytest.mark.parametrize("runs", [[], ["nowhere"]])
def test_what_is_no_run_is_one_line_and_exit_2(runs, elsewhere, capsys):
    assert hookbench.run(["report", *runs]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert not list(elsewhere.iterdir())


def test_a_changed_file_is_refused_by_name(tmp_path):
    path = raced(tmp_path)
    (path / "summary.csv").write_text("arm,metric,mean,low,high\n")
    with pytest.raises(InputError, match=r"summary\.csv has changed"):
        render([path])


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot write the report"):
        write_report([raced(tmp_path)], tmp_path / "no" / "such" / "folder.html")


def test_the_command_writes_the_file_and_says_where(tmp_path, elsewhere, capsys):
    assert hookbench.run(["report", str(raced(tmp_path)), str(raced(tmp_path)), "-o", "both.html"]) == 0
    assert capsys.readouterr().out.startswith("report: both.html (")
    assert '<h2 id="together">Side by side</h2>' in (elsewhere / "both.html").read_text(encoding="utf-8")
