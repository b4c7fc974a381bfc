"""Protects figures of latency tails and of metrics against a parameter: what they draw is what was found."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection

from sim.experiment import Estimate
from sim.experiment.crossover import Crossing, Crossover
from sim.figures import difference_vs_parameter, latency_survival, metric_vs_parameter

BLUE, VERMILION = "#0072B2", "#D55E00"


def test_a_tail_is_the_share_beyond_each_latency_to_the_last_event() -> None:
    latencies = np.random.default_rng(2).pareto(1.5, size=200_000) + 1
    figure = latency_survival({"webhook": latencies})
    (line,) = [line for line in figure.axes[0].lines if line.get_color() == BLUE]
    x, beyond = line.get_xydata().T
    assert len(x) < 3000
    exact = (np.sort(latencies)[:, None] > x[-400:]).mean(axis=0)
    np.testing.assert_allclose(beyond[-400:-1], exact[:-1])
    assert (x[-1], beyond[-2]) == (latencies.max(), pytest.approx(1 / latencies.size))
    assert (figure.axes[0].get_xscale(), figure.axes[0].get_yscale()) == ("log", "log")
    slope = np.polyfit(np.log(x[-1500:-50]), np.log(beyond[-1500:-50]), 1)[0]
    assert slope == pytest.approx(-1.5, rel=0.05), "a power law is a straight line"


def test_a_tail_levels_out_at_what_never_arrives() -> None:
    figure = latency_survival({"polling": [1.0, 2.0, 3.0, math.nan], "webhook": [0.1] * 4})
    solid, level = [line for line in figure.axes[0].lines if line.get_color() == VERMILION]
    assert solid.get_ydata()[-1] == 0.25
    assert level.get_ydata().tolist() == [0.25, 0.25]
    assert level.get_xdata()[1] > 3
    assert {text.get_text() for text in figure.axes[0].texts} == {"polling (25 % never)", "webhook"}
    assert figure.axes[0].get_title(loc="left").replace("\n", " ") == (
        "One event in a hundred takes longer than 100 ms by webhook; more than one in a hundred never "
        "arrives by polling"
    )
    with pytest.raises(ValueError, match="delivered no event"):
        latency_survival({"webhook": [math.nan]})
    with pytest.raises(ValueError, match="at least one mechanism"):
        latency_survival({})


def table() -> pd.DataFrame:
    rows = [("webhook", t, 0.1, 0.09, 0.11) for t in (1, 4, 16)]
    rows += [("polling", t, t / 2, t / 2 - 0.2, t / 2 + 0.2) for t in (16, 1, 4)]
    return pd.DataFrame(rows, columns=["mechanism", "polling.interval_s", "mean", "low", "high"])


def test_a_metric_against_a_parameter_has_a_line_and_a_band_a_mechanism() -> None:
    figure = metric_vs_parameter(table(), "polling.interval_s", "latency_mean_s")
    axes = figure.axes[0]
    lines = {line.get_color(): line.get_xydata().tolist() for line in axes.lines}
    assert lines == {BLUE: [[1, 0.1], [4, 0.1], [16, 0.1]], VERMILION: [[1, 0.5], [4, 2], [16, 8]]}
    bands = [each.get_paths()[0].vertices for each in axes.collections if isinstance(each, PolyCollection)]
    assert {(path[:, 1].min().round(3), path[:, 1].max().round(3)) for path in bands} == {
        (0.09, 0.11), (0.3, 8.2),
    }  # fmt: skip
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_title(loc="left").replace("\n", " ") == (
        "At polling.interval_s = 16 s latency_mean_s is 100 ms by webhook, 8 s by polling"
    )


def test_evenly_spaced_values_have_an_even_axis_and_undefined_means_a_gap() -> None:
    rows = [("polling", workers, share) for workers, share in ((1, 0.9), (2, math.nan), (3, 0.5), (4, 0.4))]
    frame = pd.DataFrame(rows, columns=["mechanism", "receiver.workers", "mean"])
    axes = metric_vs_parameter(frame, "receiver.workers", "lost_ratio").axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "linear")
    assert axes.get_ylim()[0] == 0
    assert axes.lines[0].get_xdata().tolist() == [1, 3, 4]
    assert "40 % by polling" in axes.get_title(loc="left")
    with pytest.raises(ValueError, match="lacks mean"):
        metric_vs_parameter(frame.drop(columns="mean"), "receiver.workers", "lost_ratio")
    with pytest.raises(ValueError, match="lacks defined means"):
        metric_vs_parameter(frame.iloc[1:2], "receiver.workers", "lost_ratio")


def found(crossings: tuple[Crossing, ...], sign: float = 1.0, power: float = 1.0) -> Crossover:
    values = [1.0, 3.0, 10.0, 30.0, 100.0]
    points = tuple(
        (x, Estimate(sign * d, sign * d - 1, sign * d + 1))
        for x in values
        for d in [math.copysign(abs(x - 10.0) ** power, x - 10.0)]
    )
    return Crossover(
        "webhook", "polling", "latency_mean_s", "polling.interval_s", 1.0, 100.0, crossings, points
    )


def test_a_difference_is_drawn_with_its_band_its_zero_and_its_crossing() -> None:
    one = found((Crossing(10.0, 9.0, None, "webhook"),))
    axes = difference_vs_parameter(one).axes[0]
    curve = next(line for line in axes.lines if line.get_marker() == "o")
    assert curve.get_xydata().tolist() == [[1, -9], [3, -7], [10, 0], [30, 20], [100, 90]]
    span = axes.patches[0]
    assert (span.get_x(), span.get_x() + span.get_width()) == (9.0, 100.0), (
        "to the range's end if it leaves it"
    )
    dashed = [line.get_xdata() for line in axes.lines if line.get_linestyle() == "--"]
    assert [list(x) for x in dashed] == [[10.0, 10.0]]
    places = {text.get_text(): text.xy[1] for text in axes.texts}
    assert places["polling lower"] > places["webhook lower"], "above 0 the second is lower"
    assert axes.get_title(loc="left").startswith("webhook has the lower latency_mean_s up to")
    assert "grey" in axes.get_xlabel()


def test_without_a_crossing_there_is_none_to_mark_and_both_signs_are_in_view() -> None:
    axes = difference_vs_parameter(found(())).axes[0]
    assert not axes.patches
    assert "grey" not in axes.get_xlabel()
    low, high = axes.get_ylim()
    assert low < -9 < 90 < high
    assert difference_vs_parameter(found((), power=4.0)).axes[0].get_yscale() == "symlog"
