"""Protects load shapes: sorted times in the run, as many as the integral of the rate says, reproducible."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import kstest

from sim.errors import InputError
from sim.scenario import Scenario, scenario_from
from sim.shape import KINDS, Shape, parse_shape
from sim.workload import event_times

rates = st.floats(0.5, 200.0).map(lambda rate: round(rate, 3))
seconds = st.floats(0.5, 8.0).map(lambda length: round(length, 3))


@st.composite
def shapes(draw: st.DrawFn) -> str:
    kind = draw(st.sampled_from(sorted(KINDS)))
    match kind:
        case "steps":
            steps = draw(st.lists(rates | st.just(0.0), min_size=1, max_size=4).filter(any))
            given_text = "rates=" + "/".join(map(str, steps)) + draw(st.sampled_from(["", ",each=1.5"]))
        case "ramp":
            over = draw(st.just("") | seconds.map(lambda s: f",over={s}"))
            given_text = f"from={draw(rates | st.just(0.0))},to={draw(rates)}{over}"
        case "spike":
            given_text = f"rate={draw(rates)},peak={draw(rates)},at={draw(seconds)},for={draw(seconds)}"
        case "sine":
            given_text = f"rate={draw(rates)},amplitude={draw(st.sampled_from([0.0, 0.3, 1.0]))}"
            given_text += draw(st.just("") | seconds.map(lambda s: f",period={s}"))
        case _:
            given_text = f"rate={draw(rates)}"
    return f"{kind}:{given_text},spacing={draw(st.sampled_from(['even', 'poisson']))}"


def scenario(shape: str, duration_s: float) -> Scenario:
    return scenario_from(
        {"name": "s", "workload": {"kind": "shaped", "shape": shape}, "run": {"duration_s": duration_s}}
    )


@given(text=shapes(), duration_s=seconds, seed=st.integers(0, 2**63 - 1))
def test_times_are_sorted_inside_the_run_and_reproducible(text, duration_s, seed):
    times = event_times(scenario(text, duration_s), seed)
    assert (np.diff(times) >= 0).all()
    assert times.size == 0 or (times[0] >= 0 and times[-1] < duration_s)
    assert np.array_equal(times, event_times(scenario(text, duration_s), seed))


@settings(max_examples=40)
@given(text=shapes(), duration_s=seconds)
def test_the_expected_count_is_the_integral_of_the_rate(text, duration_s):
    shape = parse_shape(text)
    jumps = list(np.linspace(0, duration_s, 9)[1:-1])
    if shape.kind == "steps":
        each = duration_s / len(shape.rates_per_s) if math.isnan(shape.values["each"]) else 1.5
        jumps = [each * k for k in range(1, len(shape.rates_per_s))]
    elif shape.kind == "spike":
        jumps = [shape.values["at"], shape.values["at"] + shape.values["for"]]
    elif shape.kind == "ramp" and not math.isnan(shape.values["over"]):
        jumps = [shape.values["over"]]
    inside = sorted({0.0, duration_s, *(t for t in jumps if 0 < t < duration_s)})
    integral = sum(
        quad(lambda t: float(shape.rate_per_s(np.array([t]), duration_s)[0]), a, b)[0]
        for a, b in pairwise(inside)
    )
    assert shape.expected(duration_s) == pytest.approx(integral, rel=1e-6, abs=1e-6)


@settings(max_examples=40)
@given(text=shapes(), duration_s=seconds, share=st.floats(0.05, 1.0))
def test_evenly_spaced_arrivals_follow_the_integral_at_every_moment(text, duration_s, share):
    # The k-th of them falls where k arrivals are expected: so by any time their number is the integral up to
    # there, rounded up.
    shape = parse_shape(text.replace("spacing=poisson", "spacing=even"))
    times = event_times(scenario(shape.text, duration_s), 1)
    assert times.size == math.ceil(shape.expected(duration_s) - 1e-9)
    k = int(share * (times.size - 1)) if times.size else 0
    if times.size and 0 < times[k] < duration_s:
        assert expected_by(shape, float(times[k]), duration_s) == pytest.approx(k, abs=0.05)


def expected_by(shape: Shape, time_s: float, duration_s: float) -> float:
    """Λ(time_s) by summing the rate over a fine grid whose every jump costs little: an independent way."""
    grid = np.linspace(0.0, time_s, 50_001)
    middle = (grid[:-1] + grid[1:]) / 2
    return float(np.sum(shape.rate_per_s(middle, duration_s) * np.diff(grid)))


def test_poisson_arrivals_are_poisson_in_rescaled_time():
    # Under Λ the arrivals of a non-homogeneous Poisson process are one of unit rate (time rescaling), so the
    # gaps are exponential: Kolmogorov-Smirnov at the 0.1 % level, fixed seeds.
    for text in (
        "ramp:from=10,to=300",
        "sine:rate=100",
        "steps:rates=40/0/200",
        "spike:rate=50,peak=300,at=3,for=2",
    ):
        shape = parse_shape(text)
        times = event_times(scenario(text, 12.0), 7)
        grid = np.linspace(0.0, 12.0, 100_001)
        rate = shape.rate_per_s((grid[:-1] + grid[1:]) / 2, 12.0)
        totals = np.interp(times, grid, np.concatenate([[0.0], np.cumsum(rate * np.diff(grid))]))
        assert kstest(np.diff([0.0, *totals]), "expon").pvalue > 0.001


def test_the_number_of_poisson_arrivals_varies_about_the_expected():
    # The mean over 200 seeds lies within 4 standard errors, and the variance is that of a Poisson number.
    counts = [event_times(scenario("ramp:from=0,to=60", 4.0), seed).size for seed in range(200)]
    assert np.mean(counts) == pytest.approx(120, abs=4 * math.sqrt(120 / 200))
    assert 0.6 < np.var(counts) / 120 < 1.5


def test_a_constant_poisson_shape_is_the_poisson_workload():
    plain = {"name": "s", "workload": {"kind": "poisson", "rate_per_s": 40.0}, "run": {"duration_s": 5.0}}
    assert event_times(scenario("poisson:rate=40", 5.0), 3) == pytest.approx(
        event_times(scenario_from(plain), 3)
    )


def test_what_a_shape_does_is_what_it_says():
    assert event_times(scenario("constant:rate=4", 1.0), 1).tolist() == [0.0, 0.25, 0.5, 0.75]
    times = event_times(scenario("steps:rates=0/10/20,each=1,spacing=even", 3.0), 1)
    assert [int(((times >= k) & (times < k + 1)).sum()) for k in range(3)] == [0, 10, 20]
    assert parse_shape("ramp:from=10,to=30").rate_per_s(np.array([0.0, 5.0, 10.0]), 10.0).tolist() == [
        10,
        20,
        30,
    ]
    assert parse_shape("steps:rates=1/2,each=3").duration_s == 6.0
    assert parse_shape("soak:rate=5").duration_s == 1800.0
    assert parse_shape("ramp:from=1,to=2").duration_s is None
    # A day squeezed into the run begins and ends at its quietest.
    sine = parse_shape("sine:rate=100,amplitude=0.5")
    assert sine.rate_per_s(np.array([0.0, 5.0, 10.0]), 10.0) == pytest.approx([50, 150, 50])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rmap:from=1,to=2", "no shape is called 'rmap'; did you mean 'ramp'?"),
        ("ramp:from=1", "to is missing, as in ramp:from=10,to=300"),
        ("ramp:from=1,too=2", "ramp has no 'too'; did you mean 'to'?"),
        ("ramp:from=1,to=x", "to must be a number from 0 on, got 'x'"),
        ("ramp:from=1,to=2,over=0", "over must be a number above 0, got '0'"),
        ("constant:rate=-1", "rate must be a number from 0 on, got '-1'"),
        ("constant:rate=nan", "rate must be a number from 0 on, got 'nan'"),
        ("constant:rate=0", "some rate must be above 0"),
        ("constant:200", "expected NAME=VALUE, as in constant:rate=200, got '200'"),
        ("constant:rate=1,rate=2", "rate is given twice"),
        ("sine:rate=1,amplitude=2", "amplitude must be from 0 to 1, got 2"),
        ("constant:rate=1,spacing=odd", "spacing must be even or poisson, got 'odd'"),
        ("steps:rates=/", "some rate must be above 0"),
    ],
)
def test_a_bad_shape_is_refused_in_one_line(text, said):
    with pytest.raises(InputError) as refused:
        parse_shape(text)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_scenario_names_a_bad_shape():
    with pytest.raises(InputError, match=r"workload.shape.*no shape is called"):
        scenario("spikes", 1.0)
