"""Protects each rule of conditional polling, in both engines, by a world small enough to work out by hand.

Unless a test says otherwise a poller asks at 0, 10, 20, …, and neither the way, the API nor the receiver
takes time. Events are 1000 bytes, the headers of a 200 300, those of a 304 50.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from sim.engine import ENGINES, Engine, Replication, run_once
from sim.narration import narrate
from sim.scenario import Scenario
from tests.sim.test_semantics import attempts, constant, counted, one_of, outage, poll, small_world, visible
from tests.sim.test_semantics_polling import api_takes

pytestmark = pytest.mark.parametrize("engine", ENGINES)


def world(**tables: dict[str, Any]) -> Scenario:
    return small_world(**{"conditional_polling": {"not_modified_bytes": 50}} | tables)


def ask(scenario: Scenario, engine: Engine, events: ArrayLike, seed: int = 1) -> Replication:
    return run_once(scenario, "conditional_polling", np.array(events, dtype=np.float64), seed, engine)


def limited(requests: int, per_s: float, *, free: bool, **tables: dict[str, Any]) -> Scenario:
    limit = {"rate_limit": {"requests": requests, "per_s": per_s, "not_modified_free": free}}
    return world(**tables | {"provider_api": tables.get("provider_api", {}) | limit})


def test_the_first_answer_is_a_200_even_if_empty_and_later_empty_ones_are_304(engine: Engine) -> None:
    """0: 200, empty. 10: 304. 20: 200 with an event. 30: 304, though the ETag is an older one's."""
    scenario = world(run={"duration_s": 40.0})
    run = ask(scenario, engine, [15.0])
    assert visible(run) == [20.0]
    assert counted(run, "requests", "empty_responses", "not_modified") == [4, 3, 2]
    assert run.counters.response_bytes == 300 + 50 + 1300 + 50
    plain = poll(scenario, engine, [15.0])
    assert visible(plain) == [20.0]
    assert counted(plain, "empty_responses", "not_modified", "response_bytes") == [3, 0, 2200]


def test_a_first_answer_with_events_gives_an_etag_too(engine: Engine) -> None:
    run = ask(world(run={"duration_s": 20.0}), engine, [0.0])
    assert counted(run, "empty_responses", "not_modified", "response_bytes") == [1, 1, 1350]


def test_a_304_takes_a_worker_s_time_and_the_poller_a_round_trip(engine: Engine) -> None:
    """One second each way, two at the API: three polls of 4 s, two of which end in a 304."""
    scenario = world(
        network={"one_way": constant(1.0)},
        provider_api={"service": constant(2.0)},
        run={"duration_s": 30.0},
    )
    run = ask(scenario, engine, [])
    assert counted(run, "not_modified", "provider_busy_s", "connection_s") == [2, 6.0, 12.0]


@pytest.mark.parametrize("kind", ["refuse", "error", "black_hole"])
def test_only_an_answered_200_gives_an_etag(kind: str, engine: Engine) -> None:
    """Down over [0, 5): 0 fails, so 10 carries no ETag and is answered 200; 20 is a 304."""
    scenario = world(
        polling={"timeout_s": 4.0}, provider_api=outage(0.0, 5.0, kind), run={"duration_s": 30.0}
    )
    assert counted(ask(scenario, engine, []), "empty_responses", "not_modified") == [2, 1]


def test_a_late_answer_gives_no_etag(engine: Engine) -> None:
    """The API's one worker takes 5, 0 and 0 s; timeout 2: 0 is given up, its 200 ignored; 10 is the first."""
    api, seed = api_takes(5.0, 0.0, 0.0)
    scenario = world(polling={"timeout_s": 2.0}, provider_api=api, run={"duration_s": 30.0})
    run = ask(scenario, engine, [], seed)
    assert counted(run, "timeouts", "empty_responses", "not_modified") == [1, 2, 1]
    assert run.counters.response_bytes == 300 + 300 + 50


def test_an_etag_survives_failures(engine: Engine) -> None:
    """0 gives one; 10 fails; 20 is a 304."""
    scenario = world(provider_api=outage(10.0, 11.0, "error"), run={"duration_s": 30.0})
    run = ask(scenario, engine, [])
    assert counted(run, "errors", "not_modified", "response_bytes") == [1, 1, 300 + 300 + 50]


def test_a_full_page_is_followed_by_a_request_that_a_304_may_answer(engine: Engine) -> None:
    """A page of one: 10 brings event 0, and the request that follows finds nothing new."""
    run = ask(world(polling={"page_size": 1}, run={"duration_s": 15.0}), engine, [5.0])
    assert counted(run, "requests", "empty_responses", "not_modified") == [3, 2, 1]


# The rate limit.


@pytest.mark.parametrize(("free", "requests", "rejected"), [(True, 10, 0), (False, 2, 1)])
def test_a_304_may_be_free(free: bool, requests: int, rejected: int, engine: Engine) -> None:
    """One a 10 s, a tick each second: 0 is a 200 and takes the quota; 1 to 9 find nothing.

    Free, they are all answered 304; else 1 is refused until 10, which is the end.
    """
    scenario = limited(1, 10.0, free=free, polling={"interval_s": 1.0}, run={"duration_s": 10.0})
    run = ask(scenario, engine, [])
    assert counted(run, "requests", "rejected", "not_modified") == [
        requests,
        rejected,
        requests - 1 - rejected,
    ]


def test_a_free_request_is_let_in_over_the_limit_and_one_that_finds_something_is_not(engine: Engine) -> None:
    """One a 10 s, a tick each 2 s. 0 takes the quota; 2 and 4 are free; 6 finds event 5: refused until 10.

    At 10 there is a quota again. It is used, so 12 would not be let in but for finding nothing.
    """
    scenario = limited(1, 10.0, free=True, polling={"interval_s": 2.0}, run={"duration_s": 14.0})
    run = ask(scenario, engine, [5.0])
    assert visible(run) == [10.0]
    assert counted(run, "requests", "rejected", "empty_responses", "not_modified") == [6, 1, 4, 3]


def test_a_free_request_uses_no_quota(engine: Engine) -> None:
    """Two a 100 s, a tick each 2 s. 0 uses one; 2 and 4 none; so one is left for 6, which finds event 5."""
    scenario = limited(2, 100.0, free=True, polling={"interval_s": 2.0}, run={"duration_s": 8.0})
    run = ask(scenario, engine, [5.0])
    assert visible(run) == [6.0]
    assert counted(run, "requests", "rejected", "not_modified") == [4, 0, 2]


def test_what_is_found_at_arrival_decides_whether_it_is_free_and_at_service_what_it_says(
    engine: Engine,
) -> None:
    """Two subscribers, one worker, 3 s each, one a 100 s: both ask at 0 and use their quotas.

    At 10 both find nothing, so both are let in; the second waits until 13 and then finds event 12. At 20 both
    have it.
    """
    scenario = limited(
        1,
        100.0,
        free=True,
        subscribers={"count": 2},
        provider_api={"service": constant(3.0)},
        run={"duration_s": 20.0},
    )
    run = ask(scenario, engine, [12.0])
    assert visible(run, 1) == [16.0]
    assert visible(run, 0) == ["pending"]
    # 0: two empty 200s. 10: a 304, and a 200 with an event.
    assert counted(run, "requests", "rejected", "empty_responses", "not_modified") == [4, 0, 3, 1]


def test_only_a_conditional_request_is_free(engine: Engine) -> None:
    """One a 100 s. Polls take 5, 0, 0 s with a timeout of 2, so the first gives no ETag but used the quota.

    10 carries no ETag and is refused until 100, though it would find nothing. A plain poller is never let
    in free: its second poll is refused in the same way.
    """
    api, seed = api_takes(5.0, 0.0, 0.0)
    scenario = limited(1, 100.0, free=True, polling={"timeout_s": 2.0}, provider_api=api)
    assert counted(ask(scenario, engine, [], seed), "requests", "timeouts", "rejected") == [2, 1, 1]
    plain = limited(1, 100.0, free=True)
    assert counted(poll(plain, engine, []), "requests", "rejected") == [2, 1]
    assert counted(ask(plain, engine, []), "requests", "rejected") == [10, 0]


def test_nothing_new_means_nothing_retained_from_the_cursor_on(engine: Engine) -> None:
    """Retention 3 s: event 12 is gone by 20, so that poll is a 304 and free; the event is lost."""
    scenario = limited(
        1, 100.0, free=True, provider_api={"retention": {"seconds": 3.0}}, run={"duration_s": 30.0}
    )
    run = ask(scenario, engine, [12.0])
    assert (visible(run), attempts(run)) == (["lost"], [0])
    assert counted(run, "requests", "rejected", "not_modified") == [3, 0, 2]


def test_conditional_requests_change_nothing_else(engine: Engine) -> None:
    """Everything random: what a conditional poller brings, and when, is what a plain one does."""
    scenario = world(
        workload={"kind": "poisson", "rate_per_s": 0.2},
        network={"one_way": one_of(0.1, 0.5, 2.0), "request_loss": 0.1, "response_loss": 0.1},
        polling={"interval_s": 5.0, "timeout_s": 3.0, "page_size": 2},
        receiver={"service": constant(0.5)},
        provider_api={"service": one_of(0.0, 1.0)},
    )
    events = np.arange(0.5, 90.0, 13.0)
    plain, conditional = poll(scenario, engine, events, 3), ask(scenario, engine, events, 3)
    assert visible(plain) == visible(conditional)
    assert attempts(plain) == attempts(conditional)
    names = ("requests", "empty_responses", "timeouts", "provider_busy_s", "request_bytes")
    assert counted(plain, *names) == counted(conditional, *names)
    not_modified = conditional.counters.not_modified
    assert not_modified is not None
    assert not_modified > 3


def test_the_story_tells_what_is_conditional(engine: Engine) -> None:
    scenario = world(
        workload={"kind": "periodic", "rate_per_s": 0.01, "phase": "synchronised"},
        network={"one_way": constant(0.5)},
        run={"duration_s": 20.0},
    )
    assert [(line.time_s, line.text) for line in narrate(scenario, "conditional_polling")] == [
        (0.0, "event 0 is created"),
        (0.0, "GET events after 0"),
        (1.0, "the answer carries 1 event"),
        (1.0, "event 0 is visible"),
        (10.0, "GET events after 1, if modified"),
        (11.0, "the answer is 304: not modified"),
    ]
