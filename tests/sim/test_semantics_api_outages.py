"""Protects what an outage of the provider's API does to every pull, in both engines, by hand-worked worlds.

Unless a test says otherwise a poller asks at 0, 10, 20, …, and neither the way, the API nor the receiver
takes time.
"""

from __future__ import annotations

from typing import Any

import pytest

from sim.engine import ENGINES, Engine
from sim.narration import narrate
from sim.randomness import Stream, uniform
from tests.sim.test_semantics import (
    attempts,
    constant,
    counted,
    first_attempts,
    outage,
    poll,
    seed_where,
    small_world,
    visible,
)

pytestmark = pytest.mark.parametrize("engine", ENGINES)

FIXED_DELAY = {"schedule": "fixed_delay", "interval_s": 10.0, "timeout_s": 4.0}


@pytest.mark.parametrize(
    ("kind", "errors", "timeouts", "response_bytes", "opened"),
    [
        ("refuse", 1, 0, 300 + 300 + 1000, 2),  # no bytes, and the connection is closed
        ("error", 1, 0, 300 + 300 + 300 + 1000, 1),  # headers only; the connection survives
        ("black_hole", 0, 1, 300 + 300 + 1000, 2),  # silence: the poller gives up, at 14
    ],
)
def test_what_the_door_answers(
    kind: str, errors: int, timeouts: int, response_bytes: int, opened: int, engine: Engine
) -> None:
    """Down over [10, 20): its start is in it and its end is not. What 10 did not bring, 20 does."""
    scenario = small_world(
        polling={"timeout_s": 4.0}, provider_api=outage(10.0, 20.0, kind), run={"duration_s": 30.0}
    )
    run = poll(scenario, engine, [5.0])
    assert visible(run) == [20.0]
    assert (attempts(run), first_attempts(run)) == ([1], [20.0])
    assert counted(run, "requests", "errors", "timeouts", "rejected") == [3, errors, timeouts, 0]
    assert counted(run, "empty_responses", "response_bytes", "connections_opened") == [
        1,
        response_bytes,
        opened,
    ]


@pytest.mark.parametrize(
    ("kind", "asked_s", "in_use_s"),
    [("refuse", 24.0, 2 + 2 + 2 + 2), ("error", 24.0, 2 + 2 + 2 + 2), ("black_hole", 26.0, 2 + 4 + 2 + 2)],
)
def test_a_failure_is_known_when_its_news_is_back(
    kind: str, asked_s: float, in_use_s: float, engine: Engine
) -> None:
    """One second each way, 10 s of sleep: asked at 0, answered at 2, asked at 12.

    The request of 12 arrives at 13: the bad news is back at 14, so asked again at 24, answered at 26; of a
    black hole there is no news, given up at 16: asked at 26, answered at 28. Then once more before 40.
    """
    scenario = small_world(
        network={"one_way": constant(1.0)},
        polling=FIXED_DELAY,
        provider_api=outage(13.0, 14.0, kind),
        run={"duration_s": 40.0},
    )
    run = poll(scenario, engine, [5.0])
    assert (first_attempts(run), visible(run)) == ([asked_s], [asked_s + 2.0])
    assert run.counters.connection_s == in_use_s


def test_the_door_comes_before_the_rate_limit_and_takes_no_quota(engine: Engine) -> None:
    """One a 10 s, a tick each 2 s, down over [0, 5).

    0, 2 and 4 fail at the door; 6 is let in, brings event 0, and uses the quota; 8 is refused until 10.
    Did the three count, 6 would be refused, and event 0 come at 10.
    """
    api = outage(0.0, 5.0, "error") | {"rate_limit": {"requests": 1, "per_s": 10.0}}
    scenario = small_world(polling={"interval_s": 2.0}, provider_api=api, run={"duration_s": 10.0})
    run = poll(scenario, engine, [1.0])
    assert visible(run) == [6.0]
    assert counted(run, "requests", "errors", "rejected") == [5, 3, 1]


def test_a_request_over_the_limit_that_meets_an_outage_is_an_error_and_no_429(engine: Engine) -> None:
    """One a 10 s, a tick each 2 s, down over [2, 3): 0 takes the quota, 2 fails, 4 is refused until 10."""
    api = outage(2.0, 3.0, "refuse") | {"rate_limit": {"requests": 1, "per_s": 10.0}}
    scenario = small_world(polling={"interval_s": 2.0}, provider_api=api, run={"duration_s": 10.0})
    assert counted(poll(scenario, engine, []), "requests", "errors", "rejected") == [3, 1, 1]


@pytest.mark.parametrize("kind", ["refuse", "error", "black_hole"])
def test_work_under_way_goes_on(kind: str, engine: Engine) -> None:
    """Three seconds at the API, down over [11, 19): what was accepted at 10 is answered at 13."""
    scenario = small_world(
        provider_api={"service": constant(3.0)} | outage(11.0, 19.0, kind), run={"duration_s": 20.0}
    )
    run = poll(scenario, engine, [5.0])
    assert visible(run) == [13.0]
    assert counted(run, "errors", "provider_busy_s") == [0, 6.0]


def test_what_is_turned_away_takes_no_worker(engine: Engine) -> None:
    """One worker, 3 s; ticks each 5 s; down over [5, 10): served over [0, 3), [10, 13) and [15, 18)."""
    api = {"service": constant(3.0)} | outage(5.0, 10.0, "error")
    run = poll(
        small_world(polling={"interval_s": 5.0}, provider_api=api, run={"duration_s": 20.0}), engine, []
    )
    assert counted(run, "requests", "errors", "provider_busy_s", "provider_queue_max") == [4, 1, 9.0, 0]


def test_an_error_ends_the_cycle_and_leaves_the_pages_before_it(engine: Engine) -> None:
    """One second each way, a page of one, down over [13, 15).

    Asked at 10, answered at 12 with event 0: full, asked at once; that arrives at 13 and fails, known at 14.
    Event 1 comes with the next tick, 20, at 22.
    """
    scenario = small_world(
        network={"one_way": constant(1.0)},
        polling={"page_size": 1},
        provider_api=outage(13.0, 15.0, "error"),
        run={"duration_s": 30.0},
    )
    run = poll(scenario, engine, [2.0, 3.0])
    assert visible(run) == [12.0, 22.0]
    assert (attempts(run), counted(run, "errors")) == ([1, 1], [1])


def test_an_error_s_answer_may_be_lost_as_any_other(engine: Engine) -> None:
    """The answer to poll 1, at 10, is lost: it counts as an error at the API and a timeout at the poller."""
    lost = (False, True, False)
    seed = seed_where(
        lambda seed: all(
            (uniform(seed, Stream.POLL_RESPONSE_LOSS, 0, number) < 0.5) is wanted
            for number, wanted in enumerate(lost)
        )
    )
    scenario = small_world(
        network={"response_loss": 0.5},
        polling={"timeout_s": 2.0},
        provider_api=outage(10.0, 11.0, "error"),
        run={"duration_s": 25.0},
    )
    run = poll(scenario, engine, [1.0], seed)
    assert visible(run) == [20.0]
    assert counted(run, "requests", "errors", "timeouts") == [3, 1, 1]


def test_the_outages_of_the_two_servers_are_their_own(engine: Engine) -> None:
    """The receiver is down at 10 and sends nothing; the API is down at 20 and answers 500; 30 is well."""
    scenario = small_world(
        receiver=outage(10.0, 11.0), provider_api=outage(20.0, 21.0, "error"), run={"duration_s": 40.0}
    )
    run = poll(scenario, engine, [5.0])
    assert visible(run) == [30.0]
    assert counted(run, "requests", "errors") == [3, 1]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("refuse", "the connection is refused"),
        ("error", "the answer is 500: internal server error"),
        ("black_hole", "the request times out"),
    ],
)
def test_the_story_tells_of_the_door(kind: str, text: str, engine: Engine) -> None:
    tables: dict[str, Any] = {
        "workload": {"kind": "periodic", "rate_per_s": 0.04, "phase": "synchronised"},
        "network": {"one_way": constant(0.5)},
        "polling": {"timeout_s": 4.0},
    }
    scenario = small_world(**tables, provider_api=outage(10.0, 11.0, kind), run={"duration_s": 30.0})
    told = [(line.time_s, line.text) for line in narrate(scenario, "polling")]
    at = told.index((10.0, "GET events after 1"))
    assert told[at + 1] == (14.0 if kind == "black_hole" else 11.0, text)
