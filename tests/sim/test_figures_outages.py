"""Protects the timeline of one outage: its panels say what the series says, and when each has caught up."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import StepPatch

from sim.engine import simulate
from sim.figures import outage_timeline
from sim.figures.outages import around_outage, caught_up_s
from sim.scenario import Scenario, load_scenario


def failing(**more: object) -> Scenario:
    return load_scenario("shop-orders").with_values(
        **{"run.duration_s": 1800.0, "run.drain_s": 600.0, "run.series_bin_s": 5.0} | more
    )


def series(*backlogs: tuple[str, list[int]]) -> pd.DataFrame:
    """Bins of ten seconds, two events created in each."""
    frames = []
    for name, backlog in backlogs:
        steps = np.diff([0, *backlog])
        frame = pd.DataFrame(
            {
                "mechanism": name, "start_s": 10.0 * np.arange(len(backlog)), "created": 2,
                "visible": 2 - steps, "backlog": backlog, "requests": 6, "first_tries": 2,
            }
        )  # fmt: skip
        frames.append(frame.assign(end_s=frame["start_s"] + 10.0))
    return pd.concat(frames, ignore_index=True)


HAND = series(("webhook", [0, 0, 2, 4, 3, 1, 0, 0]), ("polling", [1, 2, 4, 6, 7, 2, 1, 2]))


def outage(start_s: float, duration_s: float, kind: str = "refuse") -> list[dict[str, object]]:
    return [{"start_s": start_s, "duration_s": duration_s, "kind": kind}]


def test_caught_up_is_back_at_the_highest_from_before() -> None:
    webhook = HAND[HAND["mechanism"] == "webhook"]
    polling = HAND[HAND["mechanism"] == "polling"]
    assert caught_up_s(webhook, 20.0, 40.0) == 70.0
    assert caught_up_s(polling, 20.0, 40.0) == 60.0
    assert caught_up_s(webhook, 0.0, 40.0) == 70.0, "nothing before it: normal is nothing at all"
    assert caught_up_s(polling, 0.0, 40.0) is None


def test_the_title_and_the_dots_say_when() -> None:
    figure = outage_timeline(HAND, failing(**{"receiver.outages": outage(20.0, 20.0)}))
    assert figure.get_suptitle().replace("\n", " ") == (
        "After 20 s with the receiver down, backlogs are back to normal: polling 20 s later, "
        "webhook 30 s later"
    )
    backlog = figure.axes[1]
    dots = [line.get_xydata()[0].tolist() for line in backlog.lines if line.get_marker() == "o"]
    assert dots == [[70.0, 0.0], [60.0, 2.0]]
    assert {text.get_text() for text in backlog.texts} == {"webhook: at most 4", "polling: at most 7"}
    never = outage_timeline(HAND.iloc[:6], failing(**{"receiver.outages": outage(20.0, 20.0)}))
    assert never.get_suptitle().endswith("webhook never")


def test_requests_of_webhooks_are_split_and_events_add_up() -> None:
    scenario = failing(**{"receiver.outages": outage(20.0, 20.0)})
    _, _, rate, total = outage_timeline(HAND, scenario, between_s=(0.0, 80.0)).axes
    fills = [patch.get_data() for patch in rate.patches if isinstance(patch, StepPatch)]
    assert [float(data.values[0]) for data in fills] == pytest.approx([0.6, 0.2, 0.6, 0.6])
    assert fills[2].baseline[0] == pytest.approx(0.2), "retries stand on first tries"
    created, webhook, polling = (line.get_ydata() for line in total.lines)
    assert created.tolist() == [2, 4, 6, 8, 10, 12, 14, 16]
    backlogs = HAND.pivot_table(index="end_s", columns="mechanism", values="backlog")
    np.testing.assert_allclose(created - webhook, backlogs["webhook"])
    np.testing.assert_allclose(created - polling, backlogs["polling"])


def test_lines_keep_their_distance_where_the_view_begins_late() -> None:
    scenario = failing(**{"receiver.outages": outage(20.0, 20.0)})
    total = outage_timeline(HAND, scenario, between_s=(30.0, 70.0)).axes[3]
    created, _, polling = (line.get_ydata() for line in total.lines)
    np.testing.assert_allclose(created - polling, [6, 7, 2, 1])


def test_every_server_that_fails_has_a_row() -> None:
    scenario = failing(
        **{"receiver.outages": outage(20.0, 20.0, "black_hole"), "provider_api.outages": outage(30.0, 5.0)}
    )
    strip = outage_timeline(HAND, scenario).axes[0]
    assert [label.get_text() for label in strip.get_yticklabels()] == ["receiver", "API"]
    assert {text.get_text() for text in strip.texts} == {"silent", "down"}


def test_of_a_simulation_the_view_holds_the_outage_and_the_recovery() -> None:
    scenario = failing()
    outcome = simulate(scenario, ["webhook", "polling"])
    low_s, high_s = around_outage(outcome.series(), scenario)
    assert low_s < 600
    again_s = 720 + max(outcome.metrics[name]["recovery_time_s"][0] for name in ("webhook", "polling"))
    assert again_s < high_s < 1800
    caught = caught_up_s(outcome.series()[outcome.series()["mechanism"] == "webhook"], 600.0, 720.0)
    assert caught is not None
    exact_s = 720 + outcome.metrics["webhook"]["recovery_time_s"][0]
    assert abs(caught - exact_s) <= 10, "to a bin, whose end counts, and whose edges see no peak within"
    figure = outage_timeline(outcome.series(), scenario)
    assert figure.axes[-1].get_xlim() == (low_s, high_s)


def test_what_cannot_be_drawn_is_an_error() -> None:
    scenario = failing()
    with pytest.raises(ValueError, match="lacks first_tries"):
        outage_timeline(HAND.drop(columns="first_tries"), scenario)
    with pytest.raises(ValueError, match="schedules no outage"):
        outage_timeline(HAND, failing(**{"receiver.outages": []}))
    with pytest.raises(ValueError, match="at most 4 mechanisms"):
        outage_timeline(series(*((f"arm {i}", [0, 1]) for i in range(5))), scenario)
