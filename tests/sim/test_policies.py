"""Protects the rules both engines share, each against its statement in words, computed independently."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.policies import (
    BLACK_HOLE,
    ERROR,
    REFUSE,
    UP,
    compile_retry,
    compile_schedule,
    first_tick_from,
    first_wake,
    next_start,
    outage_at,
    overlap,
    receiver_outages,
    retry_delay,
    tick_at,
    window_of,
    window_retry_after,
)
from sim.scenario import Outage, Polling, Retry, load_scenario

u_draws = st.floats(0.0, 1.0, exclude_min=True, exclude_max=True)


def nominal_delays(retry: Retry, n: int = 5) -> list[float]:
    policy = compile_retry(retry)
    return [retry_delay(policy, k, 0.0, 0.5) for k in range(1, n + 1)]


def test_nominal_retry_delays() -> None:
    assert nominal_delays(Retry(kind="fixed", base_s=7.0, max_attempts=9)) == [7.0] * 5
    assert nominal_delays(Retry(kind="linear", base_s=2.0, cap_s=7.0, max_attempts=9)) == [2, 4, 6, 7, 7]
    assert nominal_delays(Retry(kind="exponential", base_s=10.0, cap_s=100.0, max_attempts=9)) == [
        10,
        20,
        40,
        80,
        100,
    ]
    schedule = Retry(kind="schedule", gaps_s=(0.0, 60.0, 300.0))  # Slack: at once, 1 min, 5 min
    assert nominal_delays(schedule, 3) == [0.0, 60.0, 300.0]
    assert schedule.attempts_allowed == 4
    assert Retry(kind="none").attempts_allowed == 1


@given(u=u_draws, k=st.integers(1, 60), previous_s=st.floats(1.0, 100.0))
def test_jitter_keeps_its_range(u: float, k: int, previous_s: float) -> None:
    nominal_s = min(100.0, 1.0 * 2.0 ** (k - 1))

    def delay(jitter: str) -> float:
        retry = Retry(kind="exponential", base_s=1.0, cap_s=100.0, max_attempts=99, jitter=jitter)  # type: ignore[arg-type]
        return retry_delay(compile_retry(retry), k, previous_s, u)

    assert delay("none") == nominal_s
    assert delay("full") == pytest.approx(u * nominal_s)
    assert delay("equal") == pytest.approx(nominal_s / 2 + u * nominal_s / 2)
    assert delay("decorrelated") == pytest.approx(min(100.0, 1.0 + u * (3 * previous_s - 1.0)))


def test_outages_include_their_start_and_not_their_end() -> None:
    planned = (
        Outage(start_s=1.0, duration_s=1.0, kind="refuse"),
        Outage(start_s=2.0, duration_s=0.5, kind="black_hole"),
        Outage(start_s=5.0, duration_s=1.0, kind="error"),
    )
    scenario = load_scenario("shop-orders")
    outages = receiver_outages(scenario.with_values(**{"receiver.outages": planned}), 1)
    doors = {0.0: UP, 1.0: REFUSE, 1.999: REFUSE, 2.0: BLACK_HOLE, 2.5: UP, 5.0: ERROR, 6.0: UP, 9.0: UP}
    assert {time_s: outage_at(outages, 0, time_s) for time_s in doors} == doors
    never = receiver_outages(scenario.with_values(**{"receiver.outages": ()}), 1)
    assert outage_at(never, 0, 1.0) == UP


@given(
    interval_s=st.floats(0.01, 1e4),
    jitter=st.floats(0.0, 1.0),
    phase=st.floats(0.0, 1.0),
    tick=st.integers(0, 50),
    not_before_s=st.floats(0.0, 1e5),
    seed=st.integers(0, 2**32),
)
def test_the_first_tick_is_the_first(
    interval_s: float, jitter: float, phase: float, tick: int, not_before_s: float, seed: int
) -> None:
    schedule = compile_schedule(Polling(interval_s=interval_s, jitter_s=jitter * interval_s))
    phase_s = phase * interval_s
    found = first_tick_from(schedule, phase_s, seed, 0, tick, not_before_s)
    assert found >= tick
    assert tick_at(schedule, phase_s, seed, 0, found) >= not_before_s
    assert found == tick or tick_at(schedule, phase_s, seed, 0, found - 1) < not_before_s


def test_wakes_are_random_or_synchronised() -> None:
    synchronised = compile_schedule(Polling(phase="synchronised"))
    assert [first_wake(synchronised, 1, s) for s in range(3)] == [0.0, 0.0, 0.0]
    for schedule in ("fixed_rate", "fixed_delay"):
        wakes = [
            first_wake(compile_schedule(Polling(interval_s=8.0, schedule=schedule)), 1, s) for s in range(99)
        ]
        assert 0 < min(wakes) < max(wakes) < 8.0
        assert len(set(wakes)) == 99


def test_the_next_start_waits_for_what_it_must() -> None:
    delay = compile_schedule(Polling(interval_s=10.0, schedule="fixed_delay"))
    assert next_start(delay, 1, 0, 1, 100.0, 103.0, 0.0) == 113.0
    assert next_start(delay, 1, 0, 1, 100.0, 103.0, 25.0) == 128.0
    gaps = compile_schedule(Polling(interval_s=10.0, schedule="exponential"))
    start_s = next_start(gaps, 1, 0, 1, 100.0, 100.0, 0.0)
    assert start_s > 100.0
    assert next_start(gaps, 1, 0, 1, 100.0, start_s + 5.0, 0.0) == start_s + 5.0
    assert next_start(gaps, 1, 0, 1, 100.0, 100.0, start_s) == 100.0 + start_s


@pytest.mark.parametrize("per_s", [0.1, 0.3, 0.7, 3.0, 3600.0])
def test_a_rate_limit_window_starts_at_its_edge(per_s: float) -> None:
    assert [window_of(k * per_s, per_s) for k in range(2000)] == list(range(2000))


def test_no_base_is_no_delay_however_large_the_factor() -> None:
    retry = Retry(kind="exponential", base_s=0.0, factor=1e6, max_attempts=1000)
    assert retry_delay(compile_retry(retry), 999, 0.0, 0.5) == 0.0


@given(time_s=st.floats(0.0, 1e6), per_s=st.floats(0.1, 1e4))
def test_rate_limit_windows_are_aligned_at_zero(time_s: float, per_s: float) -> None:
    window = window_of(time_s, per_s)
    assert window * per_s <= time_s < (window + 1) * per_s
    wait_s = window_retry_after(time_s, per_s)
    rounding_s = 4 * math.ulp(time_s + per_s)
    assert 0.0 <= wait_s <= per_s + rounding_s
    assert time_s + wait_s == pytest.approx((window + 1) * per_s, abs=rounding_s)


@pytest.mark.parametrize(
    ("start_s", "end_s", "expected_s"),
    [(0.0, 1.0, 0.0), (4.0, 7.0, 2.0), (6.0, 9.0, 3.0), (0.0, 99.0, 5.0), (12.0, 99.0, 0.0)],
)
def test_overlap_with_a_window(start_s: float, end_s: float, expected_s: float) -> None:
    assert overlap(start_s, end_s, 5.0, 10.0) == expected_s
