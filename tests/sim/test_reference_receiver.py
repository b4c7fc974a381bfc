"""Protects the model of the reference receiver: two engines, the same bits; each stage against theory."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.distribution_specs import Constant, DistributionSpec, Exponential
from sim.distributions import service_times
from sim.experiment import Estimate, estimate
from sim.randomness import replication_seed
from sim.reference_receiver import Passage, Stages, pass_through
from sim.scenario import scenario_from
from sim.theory.queues import MMc
from sim.theory.single_server import MG1

_A_SECOND = Constant(kind="constant", mean_s=1.0)
WORK_S = st.sampled_from([0.0, 1e-4, 5e-4, 1e-3])
SHARES = st.sampled_from([0.0, 0.5, 1.0])
TIMES = st.one_of(
    st.sampled_from([0.0, 0.001]).map(lambda s: Constant(kind="constant", mean_s=s)),
    st.sampled_from([0.0005, 0.002]).map(lambda s: Exponential(kind="exponential", mean_s=s)),
)
STAGES = st.builds(
    Stages,
    lateness=TIMES, send_work_s=WORK_S, read_work_s=WORK_S, sender_wake_s=WORK_S, request_transit=TIMES,
    request_work_s=WORK_S, wake_s=WORK_S, wake_first=SHARES, cooling_s=WORK_S,
    write_work_s=WORK_S, row_work_s=WORK_S, persist=TIMES, report_work_s=WORK_S,
    answer_work_s=WORK_S, response_transit=TIMES,
    most_in_group=st.sampled_from([1, 3, 256]), settle_after_s=st.sampled_from([0.001, 0.05]),
    workers=st.integers(1, 4), service=TIMES, timer=TIMES,
)  # fmt: skip
SCHEDULES = st.lists(st.integers(0, 40), min_size=1, max_size=60).map(
    lambda ms: np.sort(np.array(ms, dtype=np.float64)) / 1000
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(stages=STAGES, intended_s=SCHEDULES, seed=st.integers(0, 2**63 - 1))
def test_both_engines_agree(stages: Stages, intended_s: np.ndarray, seed: int) -> None:
    """Whole milliseconds everywhere, so that much happens at the same time."""
    fast, readable = (pass_through(stages, intended_s, seed, engine) for engine in ("fast", "simpy"))
    for name in ("sent_s", "received_s", "stored_s", "begun_s", "acknowledged_s", "visible_s"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(readable, name), err_msg=name)
    for name in ("groups", "settles", "wakes", "busy_s", "sender_busy_s", "end_s"):
        assert getattr(fast, name) == getattr(readable, name), name


@settings(max_examples=100, deadline=None, derandomize=True)
@given(stages=STAGES, intended_s=SCHEDULES, seed=st.integers(0, 2**63 - 1))
def test_nothing_is_lost_and_all_work_is_accounted_for(
    stages: Stages, intended_s: np.ndarray, seed: int
) -> None:
    passage = pass_through(stages, intended_s, seed)
    n = intended_s.size
    assert (passage.acknowledged_s >= intended_s).all()
    assert (passage.visible_s >= intended_s).all()
    assert math.ceil(n / stages.most_in_group) <= passage.groups <= n
    warm_s = n * stages.work_per_event_s + passage.settles * stages.write_work_s
    warm_s += passage.groups * (stages.write_work_s + stages.report_work_s)
    woken_s = passage.wakes * stages.wake_s
    assert warm_s * (1 - 1e-9) <= passage.busy_s <= (warm_s + woken_s) * (1 + 1e-9)
    if stages.wake_s == 0:
        assert passage.busy_s == pytest.approx(warm_s)
    assert passage.end_s >= passage.acknowledged_s.max()


def over_replications(
    stages: Stages, rate_per_s: float, events: int, statistic: str, replications: int = 20
) -> Estimate:
    """The mean of latencies once the start is forgotten, with its 99.9 % interval."""
    means = []
    for replication in range(replications):
        rng = np.random.default_rng(replication)
        intended_s = np.cumsum(rng.exponential(1 / rate_per_s, events))
        passage: Passage = pass_through(stages, intended_s, replication_seed(1, replication))
        means.append(float((getattr(passage, statistic) - intended_s)[events // 10 :].mean()))
    return estimate(means, 0.999)


def test_one_core_with_constant_work_is_an_md1_queue() -> None:
    """Sending, and nothing else: Pollaczek and Khinchine."""
    theory = MG1(arrivals_per_s=700, service_mean_s=0.001, service_second_moment_s2=1e-6)
    found = over_replications(Stages(send_work_s=0.001), 700, 20_000, "visible_s")
    assert found.low is not None
    assert found.high is not None
    assert found.low < theory.sojourn_mean_s < found.high
    assert found.high - found.low < 0.1 * theory.sojourn_mean_s


def test_the_workers_are_an_mmc_queue() -> None:
    """The stages before them take a constant time, which delays a Poisson process and leaves it one."""
    theory = MMc(workers=4, arrivals_per_s=320, services_per_s=100)
    stages = Stages(
        request_transit=Constant(kind="constant", mean_s=0.002),
        workers=4,
        service=Exponential(kind="exponential", mean_s=0.01),
        timer=Constant(kind="constant", mean_s=0.0005),
    )
    found = over_replications(stages, 320, 40_000, "visible_s")
    assert found.low is not None
    assert found.high is not None
    assert found.low < theory.sojourn_mean_s + 0.0025 < found.high
    assert found.high - found.low < 0.1 * theory.sojourn_mean_s


def test_group_commit_is_batch_service() -> None:
    """Who arrives while the disk is busy waits for the rest of it, then for one commit shared by all of them.

    With Poisson arrivals at λ and a constant commit of s, busy periods of commits follow one another, and an
    arrival finds the disk busy with probability 1 − π₀. A group of the next cycle is Poisson(λs), so cycles
    end with probability e^{−λs}: a busy period has e^{λs} commits on average and the idle time before it is
    1/λ. A waiting event has on average s/2 left of the commit under way, and its own s.
    """
    rate_per_s, commit_s = 800.0, 0.002
    busy_s = math.exp(rate_per_s * commit_s) * commit_s
    busy = busy_s / (busy_s + 1 / rate_per_s)
    stages = Stages(
        persist=Constant(kind="constant", mean_s=commit_s), most_in_group=100_000, settle_after_s=1e6
    )
    found = over_replications(stages, rate_per_s, 20_000, "acknowledged_s")
    assert found.low is not None
    assert found.high is not None
    assert found.low < commit_s + busy * commit_s / 2 < found.high
    assert found.high - found.low < 0.02 * commit_s


def test_a_core_that_is_busy_need_not_wake() -> None:
    """At low rates every webhook wakes the core, under overload almost none does."""
    disk = Constant(kind="constant", mean_s=1e-3)
    stages = Stages(request_work_s=1e-4, wake_s=1e-4, persist=disk, settle_after_s=1e6)
    apart = pass_through(stages, np.arange(100) / 10, 1)
    at_once = pass_through(stages, np.zeros(100), 1)
    assert apart.wakes == 201  # to parse, to report, once to settle
    assert apart.work_per_event_s == pytest.approx(3.01e-4)
    assert at_once.wakes == 3
    assert at_once.work_per_event_s == pytest.approx(1.03e-4)


def test_what_waking_left_behind_gives_way() -> None:
    """A webhook that comes half-way through it is parsed at once, and the rest is spared."""
    stages = Stages(request_work_s=1e-4, wake_s=1e-4, settle_after_s=1e6, persist=_A_SECOND)
    passage = pass_through(stages, np.array([0.0, 1.5e-4]), 1)
    np.testing.assert_allclose(passage.received_s, [1e-4, 2.5e-4])
    together = pass_through(stages, np.array([0.0, 0.0]), 1)
    assert passage.busy_s == pytest.approx(together.busy_s + 0.5e-4)


def test_the_service_is_what_a_real_worker_is_given() -> None:
    """Draw i of the model is the time that `--service-times` gives event i."""
    service: DistributionSpec = Exponential(kind="exponential", mean_s=0.01)
    scenario = scenario_from(
        {
            "name": "x",
            "workload": {"kind": "poisson", "rate_per_s": 1.0},
            "receiver": {"service": {"kind": "exponential", "mean_s": 0.01}},
            "run": {"duration_s": 1.0},
        }
    )
    intended_s = np.arange(50) * 10.0
    passage = pass_through(Stages(workers=1, service=service), intended_s, 7)
    np.testing.assert_allclose(passage.visible_s - intended_s, service_times(scenario, 7, 50), atol=1e-9)


@pytest.mark.parametrize("times", [[], [1.0, 0.0], [0.0, math.nan]])
def test_a_schedule_must_ascend(times: list[float]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        pass_through(Stages(), np.array(times), 1)
