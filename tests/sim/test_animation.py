"""Protects the picture that explains: it shows what the models moved, all of it, and nothing else."""

from __future__ import annotations

import io
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hookbench import run
from sim.animation.figures import gif, picture
from sim.animation.page import page
from sim.animation.shapes import LEGEND, layouts
from sim.animation.storyboard import Storyboard, storyboard
from sim.catalogue import MECHANISMS
from sim.engine import run_once
from sim.errors import InputError
from sim.passages import Kind, Passage
from sim.randomness import replication_seed
from sim.scenario import Scenario, load_scenario
from sim.workload import event_times

EVENTS = 8


def doorbell() -> Scenario:
    return load_scenario("doorbell")


def board_of(*mechanisms: str, **changes: object) -> Storyboard:
    return storyboard(doorbell().with_values(**changes), mechanisms, EVENTS)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_what_is_shown_agrees_with_the_records_and_counters(mechanism: str) -> None:
    """Every event's first service, every copy and every request of a whole run, from either account."""
    scenario = doorbell().with_values(**{"run.drain_s": 0.0})
    seed = replication_seed(1, 0)
    shown: list[Passage] = []
    created = event_times(scenario, seed)
    result = run_once(scenario, mechanism, created, seed, "simpy", witness=shown.append)
    visible = {p.events[0]: p.arrived_s for p in shown if p.kind == Kind.VISIBLE}
    expected = result.deliveries.visible[0]
    assert visible == {e: t for e, t in enumerate(expected) if not np.isnan(t)}
    assert len(visible) > len(created) / 2
    for passage in shown:
        assert 0 <= passage.left_s <= passage.arrived_s <= scenario.world_end_s
    posts = [p for p in shown if p.kind == Kind.POST]
    gets = [p for p in shown if p.kind == Kind.GET]
    published = [p for p in shown if p.kind == Kind.PUBLISH]
    commits_and_under_way = result.counters.requests - len(posts) - len(gets) - len(published)
    if mechanism == "broker_pull":
        assert commits_and_under_way >= 0
    else:
        assert 0 <= commits_and_under_way <= 3, "what is on its way when the world ends has not arrived"
    empty = {p.number for p in shown if p.kind == Kind.GET_ANSWER and p.good and not p.events and not p.lost}
    if mechanism in ("polling", "conditional_polling", "long_polling"):
        assert len(empty) == result.counters.empty_responses


def test_a_run_that_is_watched_is_the_same_run() -> None:
    scenario, seed = doorbell(), replication_seed(1, 0)
    created = event_times(scenario, seed)
    alone = run_once(scenario, "webhook", created, seed, "simpy")
    watched = run_once(scenario, "webhook", created, seed, "simpy", witness=lambda _: None)
    assert alone.counters == watched.counters
    np.testing.assert_array_equal(alone.deliveries.visible, watched.deliveries.visible)


def test_an_outage_a_retry_a_duplicate_and_empty_polls_are_seen() -> None:
    webhook, polling = layouts(board_of("webhook", "polling", **{"network.response_loss": 0.3}))
    assert {"event", "push", "retry", "ok", "bad", "lost", "visible", "duplicate", "outage"} <= webhook.styles
    assert {"ask", "empty", "push", "visible"} <= polling.styles
    assert re.fullmatch(r"8 of 8 events visible, [\d.]+ s late on average; .*duplicates?", webhook.finding)
    assert "in vain" in polling.finding


def test_a_held_request_an_open_stream_and_a_broker_are_seen() -> None:
    held, stream, queue = layouts(board_of("long_polling", "streaming", "broker_push"))
    assert "held" in held.styles
    assert "session" in stream.styles
    assert "empty" not in stream.styles, "opening a stream is no empty poll"
    assert queue.lanes == ("provider", "broker", "subscriber")


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_every_style_is_explained_and_lies_in_the_picture(mechanism: str) -> None:
    board = board_of(mechanism)
    (layout,) = layouts(board)
    assert layout.styles <= set(LEGEND)
    assert all(arrow.from_s <= board.end_s and arrow.to_s >= board.start_s for arrow in layout.arrows)
    lanes = {lane for arrow in layout.arrows for lane in (arrow.from_lane, arrow.to_lane)}
    assert lanes <= set(range(len(layout.lanes)))


def test_a_crowd_of_arrows_ends_the_picture_early_and_says_so() -> None:
    board = board_of(
        "webhook",
        "polling",
        **{"polling.interval_s": 0.01, "network.one_way.mean_s": 0.001, "network.response_loss": 0.0},
    )
    assert board.cut_by == "polling"
    assert len(board.panels[1].passages) < 300
    assert "The picture ends early: polling" in page(board)


@pytest.mark.parametrize("events", [0, -1, 41])
def test_the_number_of_events_is_bounded(events: int) -> None:
    with pytest.raises(InputError, match=rf"events must be in \[1, 40\], got {events}"):
        storyboard(doorbell(), ["webhook"], events)


def test_the_page_is_whole_and_asks_for_nothing() -> None:
    text = page(board_of(*MECHANISMS))
    assert len(re.findall(r"<svg viewBox=[^>]* role=\"img\"", text)) == len(MECHANISMS)
    assert not re.search(r"(src|href)=", text)
    assert "http:" not in text.replace("http://www.w3.org", "")
    assert "default-src 'none'" in unescape(text)
    assert "@media print" in text


def test_a_scenario_s_title_cannot_break_out_of_the_page() -> None:
    text = page(board_of("webhook", title="</script><script>alert(1)</script>"))
    assert "<script>alert" not in text


def test_the_gif_moves_and_ends_with_the_whole_picture() -> None:
    board = board_of("webhook")
    with Image.open(io.BytesIO(gif(board, frames=5))) as image:
        assert image.n_frames == 5
        image.seek(0)
        first = np.asarray(image.convert("L"), dtype=float)
        image.seek(4)
        last = np.asarray(image.convert("L"), dtype=float)
    assert (last < 128).sum() > (first < 128).sum()


def test_the_picture_has_a_panel_a_mechanism_and_a_legend() -> None:
    figure = picture(board_of("webhook", "polling"))
    assert [axes.get_title(loc="left").split(":")[0] for axes in figure.axes] == ["webhook", "polling"]
    assert len(figure.legends) == 1


@pytest.mark.parametrize("ending", ["html", "gif", "png", "svg"])
def test_the_command_writes_what_the_ending_says(ending: str, tmp_path: Path) -> None:
    out = tmp_path / f"picture.{ending}"
    assert run(["animate", "doorbell", "--events", "2", "-o", str(out)]) == 0
    start = {"html": b"<!DOCTYPE html>", "gif": b"GIF89a", "png": b"\x89PNG", "svg": b"<?xml"}[ending]
    assert out.read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "x.mp4"], "its ending must be one of .html, .gif, .png, .svg, .pdf"),
        (["-o", "nowhere/x.html"], "its folder is missing"),
        (["-m", "pigeon"], "unknown mechanism 'pigeon'"),
        (["--events", "0"], "events must be in [1, 40], got 0"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["animate", "doorbell", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
