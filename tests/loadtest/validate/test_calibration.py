"""Protects the calibration: from light loads of a known receiver it must predict that receiver's others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from loadtest.validate.calibration import (
    Calibration,
    calibrate,
    calibrate_from_one,
    distribution_of,
    met_nobody,
    with_service,
)
from sim.distribution_specs import Exponential, Uniform
from sim.distributions import compile_distribution, sample
from sim.errors import VoidRun
from sim.randomness import Stream
from sim.reference_receiver import pass_through
from tests.loadtest.validate.machines import TRUE, measured, schedule


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    burst = measured(TRUE, 12_000, 1.5, 1, warmup_s=0.0)
    capacity = burst.throughput_per_s
    light = [measured(TRUE, share * capacity, 12.0, 2) for share in (0.04, 0.08, 0.16)]
    return calibrate(light, burst)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_other_loads_of_a_known_receiver_are_predicted(calibration: Calibration, share: float) -> None:
    """The tolerances of the natural part: the method alone uses up no more than half of each."""
    intended_s = schedule(share * calibration.saturated_per_s, 10.0, 7)
    truth, predicted = pass_through(TRUE, intended_s, 8), pass_through(calibration.stages, intended_s, 9)
    for level, tolerance in ((0.5, 0.05), (0.95, 0.075), (0.99, 0.125)):
        ours, theirs = (np.quantile(each.acknowledged_s - intended_s, level) for each in (predicted, truth))
        assert ours == pytest.approx(theirs, rel=tolerance), level
    assert predicted.work_per_event_s == pytest.approx(truth.work_per_event_s, rel=0.05)


def test_the_light_loads_cost_what_they_cost(calibration: Calibration) -> None:
    for costs in (calibration.receiver_cpu_s, calibration.sender_cpu_s):
        for found, modelled in costs:
            assert modelled == pytest.approx(found, rel=0.05)
    assert calibration.stages.send_work_s == pytest.approx(TRUE.send_work_s, rel=0.05)
    assert calibration.stages.wake_s == pytest.approx(TRUE.wake_s, rel=0.2)


def test_the_end_of_a_service_is_noticed_late(calibration: Calibration) -> None:
    """Half a millisecond on average, of services of 10 ms: a twentieth of what may be off at p50."""
    service = Exponential(kind="exponential", mean_s=0.01)
    timer = Uniform(kind="uniform", low_s=0.0, high_s=0.001)
    truth = TRUE.model_copy(update={"service": service, "workers": 4, "timer": timer})
    light = measured(truth, 20.0, 60.0, 3)
    compiled = compile_distribution(service)
    service_s = np.array([sample(compiled, 3, Stream.SERVICE, i, 0) for i in range(light.intended_s.size)])
    stages = with_service(calibration, service, 4, light, service_s)
    assert stages.timer.mean_s == pytest.approx(0.0005, abs=0.0002)
    assert (stages.service, stages.workers) == (service, 4)


def test_one_load_predicts_its_like() -> None:
    """Without a burst a share of the CPU is assumed to be work, which at the same load hardly matters."""
    load = measured(TRUE, 300, 20.0, 4)
    stages = calibrate_from_one(load)
    again = pass_through(stages, load.intended_s, 5)
    ours, theirs = (np.median(each.acknowledged_s - load.intended_s) for each in (again, load))
    assert ours == pytest.approx(theirs, rel=0.1)


def test_two_light_loads_at_least() -> None:
    burst = measured(TRUE, 12_000, 1.0, 1, warmup_s=0.0)
    with pytest.raises(VoidRun, match="two rates or more, got 1"):
        calibrate([measured(TRUE, 100, 5.0, 1)], burst)


def test_without_costs_there_is_no_calibration() -> None:
    """Off Linux, or with a receiver that says nothing of its statements."""
    load = measured(TRUE, 100, 5.0, 1)
    blind = replace(load, cost=replace(load.cost, loop_s=np.nan))
    with pytest.raises(VoidRun, match="CPU time of receiver and generator"):
        calibrate([load, blind], load)


def test_who_met_nobody() -> None:
    """Also the slow one; not the one that came while it was on its way."""
    load = measured(TRUE, 100, 5.0, 1)
    small = replace(
        load,
        intended_s=np.array([0.0, 1.0, 1.5, 9.0]),
        acknowledged_s=np.array([0.5, 2.0, 1.9, 9.1]),
    )
    assert met_nobody(small).tolist() == [True, True, False, True]


def test_what_was_never_answered_is_met_by_all_after_it() -> None:
    load = measured(TRUE, 100, 5.0, 1)
    small = replace(load, intended_s=np.array([0.0, 1.0]), acknowledged_s=np.array([np.nan, 2.0]))
    assert met_nobody(small).tolist() == [False, False]


def test_a_distribution_keeps_its_mean_and_is_never_negative() -> None:
    rng = np.random.default_rng(1)
    times_s = rng.pareto(2.1, 5000) - 0.01
    found = distribution_of(times_s)
    assert min(found.values_s) == 0.0
    assert found.mean_s == pytest.approx(np.maximum(times_s, 0).mean(), rel=1e-9)
    assert np.quantile(found.values_s, 0.5) == pytest.approx(np.quantile(times_s, 0.5), rel=0.02)
