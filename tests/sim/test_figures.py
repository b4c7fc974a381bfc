"""Protects: figures say what the data say, headless, and keep undelivered events in sight."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sim.catalogue import MECHANISMS
from sim.engine import simulate
from sim.figures import duration, latency_cdf, latency_vs_interval, transient
from sim.results import RunFolder, read_run
from sim.scenario import Scenario, load_scenario


def curve(figure: Figure, colour: str) -> np.ndarray:
    return next(line.get_xydata() for line in figure.axes[0].lines if line.get_color() == colour)


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


BLUE, VERMILION = "#0072B2", "#D55E00"


def test_a_curve_is_the_distribution_of_the_latencies():
    latencies = np.random.default_rng(1).exponential(size=100_000)
    figure = latency_cdf({"webhook": latencies})
    x, share = curve(figure, BLUE).T
    assert len(x) < 3000
    exact = np.searchsorted(np.sort(latencies), x[1:], side="right") / latencies.size
    np.testing.assert_array_equal(share[1:], exact)
    assert (share[0], share[-1]) == (0, 1)


def test_undelivered_events_keep_the_curve_below_one():
    figure = latency_cdf({"polling": [1.0, 2.0, 3.0, math.nan]})
    assert curve(figure, VERMILION)[-1].tolist() == [3.0, 0.75]
    assert words(figure) == ["polling (25 % never)"]


def test_the_title_is_the_finding():
    title = (
        latency_cdf({"polling": [1.0, 2.0, 9.0], "webhook": [0.02, 0.03, 0.04]}).axes[0].get_title(loc="left")
    )
    assert title.replace("\n", " ") == "Half of the events arrive within 30 ms by webhook, 2 s by polling"
    rare = [1.0, math.nan, math.nan]
    title = latency_cdf({"webhook": rare}).axes[0].get_title(loc="left")
    assert title == "Fewer than half of the events ever arrive by webhook"
    title = latency_cdf({"webhook": rare, "polling": [1.0]}).axes[0].get_title(loc="left").replace("\n", " ")
    assert title.endswith("within 1 s by polling; fewer than half of the events ever arrive by webhook")
    assert latency_cdf({"webhook": [1.0]}, title="Mine").axes[0].get_title(loc="left") == "Mine"


def test_predictions_lie_beneath_their_own_colour():
    figure = latency_cdf({"webhook": [1.0, 2.0]}, {"webhook": [1.1, 2.1]})
    band, line = figure.axes[0].lines
    assert band.get_color() == line.get_color() == BLUE
    assert band.get_linewidth() > line.get_linewidth()
    assert "pale band: predicted" in figure.axes[0].get_xlabel()


@pytest.mark.parametrize("latencies", [{}, {"webhook": []}, {"webhook": [math.nan]}])
def test_nothing_to_draw_is_an_error(latencies):
    with pytest.raises(ValueError, match=r"at least one mechanism|delivered no event"):
        latency_cdf(latencies)


TEN = [
    *("webhook", "polling", "conditional_polling", "adaptive_polling", "long_polling"),
    *("streaming", "broker_push", "broker_pull", "webhook_reconciled", "thin_webhook"),
]


@pytest.mark.parametrize("names", [TEN, [*MECHANISMS], [f"arm {i}" for i in range(10)], ["webhook", "mine"]])
def test_mechanisms_differ_in_black_and_white(names):
    figure = latency_cdf({name: [1.0 + i, 2.0 + i] for i, name in enumerate(names)})
    lines = figure.axes[0].lines
    dashes = {str(line.get_linestyle()) + str(line._unscaled_dash_pattern) for line in lines}
    assert len(dashes) == len(names)
    assert len({line.get_color() for line in lines}) >= min(len(names), 7)


def test_a_mechanism_looks_the_same_whatever_stands_beside_it():
    alone, among = latency_cdf({"streaming": [1.0]}), latency_cdf({name: [1.0] for name in TEN})
    green = curve(alone, "#009E73")
    assert green.tolist() == curve(among, "#009E73").tolist()


def test_many_mechanisms_are_told_by_their_extremes_and_their_labels_are_apart():
    figure = latency_cdf({name: [1.0 + i, 2.0 + i] for i, name in enumerate(TEN)})
    title = figure.axes[0].get_title(loc="left").replace("\n", " ")
    assert title == "Half of the events arrive within 1 s by webhook, …, 10 s by thin_webhook"
    rows = [(name, t, t + 0.01 * i) for i, name in enumerate(TEN) for t in (1.0, 30.0)]
    crowded = latency_vs_interval(pd.DataFrame(rows, columns=["mechanism", "interval_s", "latency_mean_s"]))
    heights = sorted(text.get_position()[1] for text in crowded.axes[0].texts)
    assert len(heights) == 10
    assert min(np.diff(heights)) >= 0.0499
    assert 0 <= heights[0] <= heights[-1] <= 1.0001


def series() -> pd.DataFrame:
    rows = [("webhook", 0, 5, 10, 0), ("webhook", 5, 10, 15, 40), ("webhook", 10, 12, 8, 3)]
    rows += [("polling", 0, 5, 1, 6), ("polling", 5, 10, 0, 50), ("polling", 10, 12, 1, 0)]
    return pd.DataFrame(rows, columns=["mechanism", "start_s", "end_s", "requests", "backlog"])


def failing() -> Scenario:
    slow = [{"start_s": 1.0, "duration_s": 1.0, "kind": "slow"}]
    return load_scenario("shop-orders").with_values(
        **{
            "receiver.outages": [{"start_s": 5.0, "duration_s": 4.0, "kind": "black_hole"}],
            "provider_api.outages": slow,
        }
    )


def test_a_transient_shows_backlog_and_request_rate_with_the_outages_shaded():
    figure = transient(series(), failing())
    assert figure.get_suptitle() == "The backlog rises to 40 by webhook, 50 by polling"
    (backlog, rate), (_, polled) = np.reshape(figure.axes, (2, 2))
    steps = backlog.patches[0].get_data()
    assert (steps.values.tolist(), steps.edges.tolist()) == ([0, 40, 3], [0, 5, 10, 12])
    assert rate.patches[0].get_data().values.tolist() == [2.0, 3.0, 4.0]
    assert polled.patches[0].get_data().values.tolist() == [0.2, 0.0, 0.5]
    assert words(figure) == ["webhook"]
    shaded = [(p.get_x(), p.get_width()) for p in rate.patches if isinstance(p, Rectangle)]
    assert shaded == [(5.0, 4.0), (1.0, 1.0)]
    assert figure.get_supxlabel() == "time (shaded: receiver silent and API slow)"
    assert backlog.get_ylim()[1] > 50  # one scale for all, from 0
    assert backlog.get_ylim()[0] == 0


def test_a_transient_between_two_times():
    figure = transient(series(), failing(), between_s=(6.0, 11.0), title="Mine")
    assert figure.axes[0].get_xlim() == (6.0, 11.0)
    assert figure.get_supxlabel() == "time (shaded: receiver silent)"
    assert figure.get_suptitle() == "Mine"
    assert transient(series()).get_supxlabel() == "time"
    with pytest.raises(ValueError, match="lacks bins in that time"):
        transient(series(), between_s=(50.0, 60.0))
    with pytest.raises(ValueError, match="lacks backlog"):
        transient(series().drop(columns="backlog"))


def test_what_is_simulated_can_be_drawn():
    scenario = load_scenario("shop-orders").with_values(**{"run.duration_s": 1500.0})
    figure = transient(simulate(scenario, list(MECHANISMS)).series(), scenario)
    assert len(figure.axes) == 2 * len(MECHANISMS)


def table() -> pd.DataFrame:
    rows = [("webhook", t, 0.04, 0.03, 0.05) for t in (1, 30)]
    rows += [("polling", t, t / 2, t / 2 - 0.1, t / 2 + 0.1) for t in (30, 1)]
    return pd.DataFrame(rows, columns=["mechanism", "interval_s", "latency_mean_s", "low", "high"])


def test_latency_against_interval_draws_points_intervals_and_the_theory():
    figure = latency_vs_interval(table(), lambda interval_s: interval_s / 2)
    axes = figure.axes[0]
    np.testing.assert_allclose(curve(figure, VERMILION), [[1, 0.5], [30, 15]])
    theory = curve(figure, "#333333")
    np.testing.assert_allclose(theory[:, 1], theory[:, 0] / 2)
    assert (theory[0, 0], theory[-1, 0]) == pytest.approx((1, 30))
    assert set(words(figure)) == {"theory: T/2 + d", "webhook", "polling"}
    assert axes.get_title(loc="left").replace("\n", " ") == (
        "At one poll every 30 s an event takes 40 ms by webhook, 15 s by polling on average"
    )


def test_latency_against_interval_without_intervals_or_theory():
    figure = latency_vs_interval(table().drop(columns=["low", "high"]))
    assert len(curve(figure, BLUE)) == 2
    with pytest.raises(ValueError, match="lacks interval_s"):
        latency_vs_interval(table().drop(columns="interval_s"))
    with pytest.raises(ValueError, match="lacks rows"):
        latency_vs_interval(table().iloc[:0])


def test_figures_are_saved_in_a_run(tmp_path):
    with RunFolder.create("figures", "test", tmp_path) as run:
        run.save_figure(latency_cdf({"webhook": [0.0, 0.1], "polling": [5.0, 10.0]}), "latency_cdf")
        run.save_figure(latency_vs_interval(table(), lambda t: t / 2), "latency_vs_interval")
    files = read_run(run.path).document["files"]
    assert {name.rpartition(".")[2] for name in files} == {"png", "svg"}
    assert all(listed["bytes"] > 5000 for listed in files.values())


def test_no_global_figure_state_is_touched():
    program = (
        "import sys, sim.figures; sim.figures.latency_cdf({'webhook': [1.0]}); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2e-6, "2 µs"), (0.000999, "999 µs"), (0.0434, "43 ms"), (0.9996, "1 s"), (1.55, "1.6 s"),
        (9.96, "10 s"), (110, "110 s"), (150, "2.5 min"), (3600, "60 min"), (7200, "2 h"), (1e6, "278 h"),
        (math.inf, "never"),
    ],
)  # fmt: skip
def test_durations_are_told_as_people_tell_them(seconds, text):
    assert duration(seconds) == text
