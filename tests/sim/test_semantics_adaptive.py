"""Protects each rule of adaptive polling, in both engines, by a world small enough to work out by hand.

Unless a test says otherwise the first poll is at 0, the first interval 8 s, and neither the way, the API nor
the receiver takes time.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from sim.engine import ENGINES, Engine, Replication, run_once
from sim.policies import adaptive_interval, compile_adaptive
from sim.randomness import Stream, uniform
from sim.scenario import Scenario
from tests.sim.test_semantics import (
    constant,
    counted,
    first_attempts,
    outage,
    seed_where,
    small_world,
    visible,
)

pytestmark = pytest.mark.parametrize("engine", ENGINES)

AIMD = {
    "kind": "aimd",
    "increase_s": 4.0,
    "decrease": 0.5,
    "min_interval_s": 1.0,
    "max_interval_s": 100.0,
}
AGE = {"kind": "age", "share": 0.5, "min_interval_s": 2.0, "max_interval_s": 10.0}


def world(rule: dict[str, Any], **tables: dict[str, Any]) -> Scenario:
    polling = {"interval_s": 8.0} | tables.pop("polling", {})
    adaptive = rule | tables.pop("adaptive_polling", {})
    return small_world(adaptive_polling=adaptive, polling=polling, **tables)


def ask(scenario: Scenario, engine: Engine, events: ArrayLike, seed: int = 1) -> Replication:
    return run_once(scenario, "adaptive_polling", np.array(events, dtype=np.float64), seed, engine)


def poll_times(run: Replication) -> list[int]:
    """The seconds in which requests were sent, of a run whose bins are a second wide."""
    return [int(second) for second in np.repeat(np.arange(len(run.series)), run.series)]


def seconds(duration_s: float) -> dict[str, float]:
    return {"duration_s": duration_s, "series_bin_s": 1.0}


# AIMD.


def test_the_interval_grows_by_steps_while_nothing_is_found(engine: Engine) -> None:
    """First 8 + 4, then 16, 20, 24: 0, 12, 28, 48, 72."""
    assert poll_times(ask(world(AIMD, run=seconds(75.0)), engine, [])) == [0, 12, 28, 48, 72]


def test_the_interval_shrinks_by_a_factor_when_something_is_found(engine: Engine) -> None:
    """Event 0 at 0: 8/2 = 4; event 3 at 4: 2; nothing at 6: 6; nothing at 12: 10; 22."""
    run = ask(world(AIMD, run=seconds(25.0)), engine, [0.0, 3.0])
    assert poll_times(run) == [0, 4, 6, 12, 22]
    assert visible(run) == [0.0, 4.0]
    assert counted(run, "requests", "empty_responses", "not_modified") == [5, 3, 0]


def test_the_interval_stays_within_its_bounds(engine: Engine) -> None:
    """At least 3: 8/2 = 4, then 3 and 3. At most 9: 9 and 9."""
    bounds = {"min_interval_s": 3.0, "max_interval_s": 9.0}
    run = ask(world(AIMD, adaptive_polling=bounds, run=seconds(29.0)), engine, [0.0, 3.0, 5.0, 8.0])
    # 0 finds: 4. 4 finds: 3 rather than 2. 7 finds: 3. 10 finds: 3. 13 does not: 7. 20: 9 rather than 11.
    assert poll_times(run) == [0, 4, 7, 10, 13, 20]
    run = ask(world(AIMD, adaptive_polling=bounds, run=seconds(30.0)), engine, [0.0, 3.0, 5.0, 8.0])
    assert poll_times(run) == [0, 4, 7, 10, 13, 20, 29]


@pytest.mark.parametrize(("interval_s", "polls"), [(50.0, [0, 6, 12, 18]), (0.5, [0, 6, 12, 18])])
def test_the_first_interval_is_that_of_polling_within_the_bounds(
    interval_s: float, polls: list[int], engine: Engine
) -> None:
    """Bounds 2 and 6: 50 becomes 6, and stays. 0.5 becomes 2, so 6 after an empty answer."""
    rule = {"min_interval_s": 2.0, "max_interval_s": 6.0}
    scenario = world(AIMD, adaptive_polling=rule, polling={"interval_s": interval_s}, run=seconds(20.0))
    assert poll_times(ask(scenario, engine, [])) == polls
    # Found something: half of 6 is 3, half of 2 is less than 2.
    second = {50.0: 3, 0.5: 2}[interval_s]
    assert poll_times(ask(scenario, engine, [0.0]))[:2] == [0, second]


def test_the_sleep_begins_with_the_answer(engine: Engine) -> None:
    """One second each way: 0, answered at 2; 12 s later 14, answered at 16; 16 s later 32."""
    scenario = world(AIMD, network={"one_way": constant(1.0)}, run=seconds(40.0))
    assert poll_times(ask(scenario, engine, [])) == [0, 14, 32]


def test_full_pages_chain_and_the_interval_changes_once_a_cycle(engine: Engine) -> None:
    """A page of one. 0 brings events 0, 1, 2 and an empty answer: something was found, once: 4 s."""
    run = ask(world(AIMD, polling={"page_size": 1}, run=seconds(12.0)), engine, [0.0, 0.0, 0.0])
    assert poll_times(run) == [0, 0, 0, 0, 4]  # then 8 s
    assert visible(run) == [0.0, 0.0, 0.0]
    assert poll_times(ask(world(AIMD, polling={"page_size": 1}, run=seconds(13.0)), engine, [0.0]))[-1] == 12


@pytest.mark.parametrize(
    ("kind", "polls"),
    [("error", [0, 12, 24, 40]), ("refuse", [0, 12, 24, 40]), ("black_hole", [0, 12, 27, 43])],
)
def test_a_failed_cycle_leaves_the_interval(kind: str, polls: list[int], engine: Engine) -> None:
    """Empty at 0: 12 s. 12 fails, at once or by its timeout of 3 s: 12 s again. Then empty: 16 s."""
    scenario = world(
        AIMD, polling={"timeout_s": 3.0}, provider_api=outage(12.0, 13.0, kind), run=seconds(50.0)
    )
    assert poll_times(ask(scenario, engine, [])) == polls


def test_a_cycle_that_failed_after_a_full_page_leaves_the_interval(engine: Engine) -> None:
    """One second each way, a page of one, the API down over [3, 4).

    0: event 0 arrives at 2; asked at once, which fails, known at 4. The interval is still 8: 12, answered
    empty at 14: 12 s.
    """
    scenario = world(
        AIMD,
        network={"one_way": constant(1.0)},
        polling={"page_size": 1},
        provider_api=outage(3.0, 4.0, "error"),
        run=seconds(30.0),
    )
    run = ask(scenario, engine, [1.0])
    assert visible(run) == [2.0]
    assert poll_times(run) == [0, 2, 12, 26]


def test_a_retry_after_is_a_lower_bound_and_a_429_leaves_the_interval(engine: Engine) -> None:
    """One a 20 s. 0: event, 4 s. 4: refused for 16 s, so 20, which is empty: 4 + 4 = 8: 28, refused for 12 s.

    At 40 nothing: 12 s, so 52, refused for 8 s, less than the interval of 12: 64.
    """
    limit = {"rate_limit": {"requests": 1, "per_s": 20.0}}
    run = ask(world(AIMD, provider_api=limit, run=seconds(70.0)), engine, [0.0])
    assert poll_times(run) == [0, 4, 20, 28, 40, 52, 64]
    assert counted(run, "rejected", "empty_responses") == [3, 3]


def test_a_poller_whose_receiver_is_down_starts_again_one_interval_later(engine: Engine) -> None:
    """Down over [12, 30): 0 is empty: 12 s. 12 is skipped, 24 too; 36 is empty: 16 s. 52."""
    run = ask(world(AIMD, receiver=outage(12.0, 30.0), run=seconds(60.0)), engine, [])
    assert poll_times(run) == [0, 36, 52]
    # At the very first wake the interval is the first: 8.
    run = ask(world(AIMD, receiver=outage(0.0, 5.0), run=seconds(15.0)), engine, [])
    assert poll_times(run) == [8]


def test_a_full_page_that_meets_a_receiver_down_ends_a_cycle_that_found_something(engine: Engine) -> None:
    """One second each way, a page of one, the receiver down over [2, 3): event 0 comes at 2; 4 s later 6."""
    scenario = world(
        AIMD,
        network={"one_way": constant(1.0)},
        polling={"page_size": 1},
        receiver=outage(2.0, 3.0),
        run=seconds(8.0),
    )
    run = ask(scenario, engine, [0.0, 0.0])
    assert visible(run) == [2.0, "pending"]
    assert poll_times(run) == [0, 6]


def test_the_first_wake_is_at_a_random_phase_of_the_polling_interval(engine: Engine) -> None:
    """Whatever the schedule of polling, its jitter and the bounds: u·8."""
    for polling in ({"jitter_s": 4.0}, {"schedule": "exponential"}, {"schedule": "fixed_delay"}):
        scenario = world(
            AIMD, adaptive_polling={"max_interval_s": 2.0}, polling={"phase": "random"} | polling
        )
        run = ask(scenario, engine, [0.0], 7)
        assert first_attempts(run) == [8.0 * uniform(7, Stream.POLL_PHASE, 0, 0)]


# A share of the age.


def test_the_interval_is_a_share_of_the_newest_event_s_age(engine: Engine) -> None:
    """Half of it, within 2 and 10. Before an event is known the age counts from 0.

    0: age 0, 2 s. 2: age 2, 2 s. 4: age 4, 2 s. 6: event 5, age 1, 2 s. 8: 3, 2 s. 10: 5, 2.5 s. 12.5: 7.5,
    3.75 s. 16.25: 11.25, 5.625 s. 21.875: 16.875, 8.4375 s. 30.3125: 10 s rather than 12.65. 40.3125.
    """
    events = [5.0]
    run = ask(world(AGE, run=seconds(41.0)), engine, events)
    assert poll_times(run) == [0, 2, 4, 6, 8, 10, 12, 16, 21, 30, 40]
    assert visible(run) == [6.0]


def test_the_age_counts_from_creation_to_the_answer_and_follows_the_newest(engine: Engine) -> None:
    """One second each way, a page of one.

    0 arrives at 1 and finds event 0, known at 2, and so on at once: event 1, of 0.5, known at 4; nothing at
    6: its age is 5.5, so 2.75 s: 8.75, answered at 10.75: age 10.25, so 5.125 s: 15.875.
    """
    scenario = world(AGE, network={"one_way": constant(1.0)}, polling={"page_size": 1}, run=seconds(20.0))
    run = ask(scenario, engine, [0.0, 0.5])
    assert visible(run) == [2.0, 4.0]
    assert poll_times(run) == [0, 2, 4, 8, 15]


def test_the_newest_of_a_page_counts(engine: Engine) -> None:
    """The whole age. 0: 2 s. 2: 2 s. 4: 4 s. 8 finds both; the newest's age is 2: 2 s. 10: 4 s. 14."""
    run = ask(world(AGE, adaptive_polling={"share": 1.0}, run=seconds(15.0)), engine, [4.5, 6.0])
    assert visible(run) == [8.0, 8.0]
    assert poll_times(run) == [0, 2, 4, 8, 10, 14]


def test_an_event_that_was_lost_unseen_is_not_known(engine: Engine) -> None:
    """Retention 1 s: 0, 2, 4, 6, 9, 13.5; event 10 is gone by then, so the age still counts from 0."""
    scenario = world(AGE, provider_api={"retention": {"seconds": 1.0}}, run=seconds(21.0))
    run = ask(scenario, engine, [10.0])
    assert visible(run) == ["lost"]
    # 13.5 · 0.5 = 6.75: 20.25. Of event 10 it would have been 2 s.
    assert poll_times(run) == [0, 2, 4, 6, 9, 13, 20]


def test_a_failed_cycle_leaves_the_interval_of_a_share_of_the_age_too(engine: Engine) -> None:
    """The first interval is 8. Down over [0, 1): 0 fails: 8. Then age 8: 4 s: 12."""
    run = ask(world(AGE, provider_api=outage(0.0, 1.0, "error"), run=seconds(15.0)), engine, [])
    assert poll_times(run) == [0, 8, 12]


def test_each_poller_has_an_interval_of_its_own(engine: Engine) -> None:
    """Two subscribers, of which only the second wants the event: 0 and 12; 0, 4 and 12."""
    interested = {"count": 2, "interest": 0.5}

    def wants(seed: int) -> bool:
        return uniform(seed, Stream.INTEREST, 0, 0) >= 0.5 > uniform(seed, Stream.INTEREST, 1, 0)

    scenario = world(AIMD, subscribers=interested, run=seconds(13.0))
    run = ask(scenario, engine, [0.0], seed_where(wants))
    assert poll_times(run) == [0, 0, 4, 12, 12]


@pytest.mark.parametrize(
    ("rule", "last_s", "found", "age_s", "expected_s"),
    [
        (AIMD, 8.0, True, math.inf, 4.0),
        (AIMD, 8.0, False, 0.0, 12.0),
        (AIMD, 1.5, True, 0.0, 1.0),
        (AIMD, 98.0, False, 0.0, 100.0),
        (AGE, 7.0, True, 9.0, 4.5),
        (AGE, 7.0, False, 9.0, 4.5),
        (AGE, 7.0, False, 3.0, 2.0),
        (AGE, 7.0, False, 30.0, 10.0),
    ],
)
def test_the_rule_itself(
    rule: dict[str, Any], last_s: float, found: bool, age_s: float, expected_s: float, engine: Engine
) -> None:
    call = adaptive_interval if engine == "fast" else adaptive_interval.py_func  # type: ignore[attr-defined]
    assert call(compile_adaptive(world(rule)), last_s, found, age_s) == expected_s
