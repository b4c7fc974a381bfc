"""Protects each rule of long polling, in both engines, by a world small enough to work out by hand.

Unless a test says otherwise the first request is sent at 0, one is held for 10 s, the next follows an answer
at once and a failure after 1 s, and neither the way, the API nor the receiver takes time.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from sim.engine import ENGINES, Engine, Replication, run_once
from sim.errors import ScenarioError
from sim.narration import narrate
from sim.policies import shown_from
from sim.randomness import Stream, uniform
from sim.scenario import Scenario
from tests.sim.test_semantics import (
    attempts,
    constant,
    copies,
    counted,
    first_attempts,
    outage,
    seed_where,
    small_world,
    visible,
)

pytestmark = pytest.mark.parametrize("engine", ENGINES)

HOLD = {"hold_s": 10.0, "gap_s": 0.0, "retry_s": 1.0, "timeout_s": 1000.0}


def world(duration_s: float = 40.0, **tables: dict[str, Any]) -> Scenario:
    """A small world whose `series` has a bin a second; `hold` changes the long polling."""
    clock = {"duration_s": duration_s, "series_bin_s": 1.0} | tables.pop("run", {})
    return small_world(long_polling=HOLD | tables.pop("hold", {}), run=clock, **tables)


def ask(scenario: Scenario, engine: Engine, events: ArrayLike, seed: int = 1) -> Replication:
    return run_once(scenario, "long_polling", np.array(events, dtype=np.float64), seed, engine)


def asked(run: Replication) -> list[int]:
    """The seconds in which requests were sent."""
    return [int(second) for second in np.repeat(np.arange(len(run.series)), run.series)]


# Holding.


def test_a_request_is_held_until_an_event_is_created(engine: Engine) -> None:
    """Asked at 0, answered at 3 and asked again, answered at 4.5; then held to 14.5, 24.5."""
    run = ask(world(25.0), engine, [3.0, 4.5])
    assert visible(run) == [3.0, 4.5]
    assert first_attempts(run) == [0.0, 3.0]
    assert (attempts(run), copies(run)) == ([1, 1], [1, 1])
    assert asked(run) == [0, 3, 4, 14, 24]
    assert counted(run, "requests", "empty_responses", "not_modified", "errors", "timeouts") == [
        5,
        2,
        0,
        0,
        0,
    ]


def test_a_hold_ends_with_an_empty_answer(engine: Engine) -> None:
    run = ask(world(30.0), engine, [])
    assert asked(run) == [0, 10, 20]
    assert counted(run, "requests", "empty_responses", "response_bytes") == [3, 2, 600]


def test_the_next_request_follows_after_the_gap(engine: Engine) -> None:
    """Gap 2: asked at 0, answered at 3 with event 0; asked at 5, and at once answered with event 4."""
    run = ask(world(20.0, hold={"gap_s": 2.0}), engine, [3.0, 4.0])
    assert visible(run) == [3.0, 5.0]
    assert asked(run) == [0, 5, 7, 19]


def test_an_event_at_the_instant_the_hold_ends_is_in_the_answer(engine: Engine) -> None:
    run = ask(world(15.0), engine, [10.0])
    assert (visible(run), first_attempts(run)) == ([10.0], [0.0])
    assert counted(run, "requests", "empty_responses") == [2, 0]


def test_without_a_hold_it_is_polling_with_a_gap(engine: Engine) -> None:
    """Answered at once, asked again 4 s later: 0, 4, 8, …"""
    run = ask(world(12.0, hold={"hold_s": 0.0, "gap_s": 4.0}), engine, [3.0, 4.0, 5.0])
    assert visible(run) == [4.0, 4.0, 8.0]
    assert counted(run, "requests", "empty_responses") == [3, 1]


def test_the_hold_begins_with_the_end_of_service_and_the_page_is_of_when_it_leaves(engine: Engine) -> None:
    """Two seconds at the API: events 1 and 2 are in the answer of 2; asked at 2, held over [4, 14)."""
    run = ask(world(20.0, provider_api={"service": constant(2.0)}), engine, [1.0, 2.0, 13.0, 14.0])
    assert visible(run) == [2.0, 2.0, 13.0, 15.0]
    assert first_attempts(run) == [0.0, 0.0, 2.0, 13.0]
    run = ask(world(20.0, provider_api={"service": constant(2.0)}), engine, [])
    assert (asked(run), run.counters.provider_busy_s) == ([0, 12], 4.0)


def test_at_most_three_transits(engine: Engine) -> None:
    """One second each way. Event 5 finds the request held and leaves at once: one transit.

    Event 5.25 has just missed it: that answer is on its way until 6, the next request until 7, and then the
    answer until 8: nearly three.
    """
    run = ask(world(network={"one_way": constant(1.0)}), engine, [5.0, 5.25])
    assert visible(run) == [6.0, 8.0]
    assert first_attempts(run) == [0.0, 6.0]


def test_events_of_one_instant_come_in_one_answer(engine: Engine) -> None:
    run = ask(world(10.0), engine, [3.0, 3.0, 3.0])
    assert visible(run) == [3.0, 3.0, 3.0]
    assert run.counters.requests == 2


def test_a_full_page_is_followed_by_a_request_as_any_answer_is(engine: Engine) -> None:
    """A page of two, gap 0.5: 3 brings two, 3.5 the third; 4 is held to 14."""
    run = ask(world(10.0, polling={"page_size": 2}, hold={"gap_s": 0.5}), engine, [3.0, 3.0, 3.0])
    assert visible(run) == [3.0, 3.0, 3.5]
    assert asked(run) == [0, 3, 4]


def test_a_held_request_takes_no_worker(engine: Engine) -> None:
    """Two subscribers, one worker, 1 s each: served over [0, 1) and [1, 2), then both held.

    Event 5 answers both at once; then they queue again: [5, 6) and [6, 7).
    """
    run = ask(world(10.0, subscribers={"count": 2}, provider_api={"service": constant(1.0)}), engine, [5.0])
    assert [visible(run, 0), visible(run, 1)] == [[5.0], [5.0]]
    assert counted(run, "provider_busy_s", "provider_queue_integral_s", "provider_queue_max") == [4.0, 2.0, 1]
    assert counted(run, "requests", "connections_opened", "connections_peak") == [4, 2, 2]


def test_a_connection_is_in_use_while_its_request_is_held(engine: Engine) -> None:
    """Gap 2: in use over [0, 10), [12, 22) and [24, 30)."""
    run = ask(world(30.0, hold={"gap_s": 2.0}), engine, [])
    assert run.counters.connection_s == 26.0


def test_each_subscriber_is_held_for_its_own_events(engine: Engine) -> None:
    def wants(seed: int) -> bool:
        return uniform(seed, Stream.INTEREST, 0, 0) >= 0.5 > uniform(seed, Stream.INTEREST, 1, 0)

    scenario = world(10.0, subscribers={"count": 2, "interest": 0.5})
    assert asked(ask(scenario, engine, [3.0], seed_where(wants))) == [0, 0, 3]


# The feed.


def test_an_event_is_news_when_the_feed_shows_it(engine: Engine) -> None:
    """Lag 2: event 3 leaves at 5, event 9 at 11."""
    run = ask(world(provider_api={"feed_lag_s": 2.0}), engine, [3.0, 9.0])
    assert visible(run) == [5.0, 11.0]


def test_the_feed_shows_an_event_no_earlier_than_its_own_arithmetic_says(engine: Engine) -> None:
    """Where created + lag rounds down, the answer leaves an instant later, and with the event."""
    created_s, lag_s = 0.1, 0.4
    assert (created_s + lag_s) - lag_s < created_s
    leaves_s = float(np.nextafter(created_s + lag_s, math.inf))
    assert shown_from(created_s, lag_s) == leaves_s
    run = ask(world(provider_api={"feed_lag_s": lag_s}), engine, [created_s])
    assert visible(run) == [leaves_s]
    assert counted(run, "empty_responses") == [3]


def test_only_the_newest_of_a_last_value_comes(engine: Engine) -> None:
    """Gap 5. 2 answers with the update of 2; those of 3 and 4 are overwritten by that of 6, which 7 finds.

    Of three at one instant, 9, only the last is there.
    """
    scenario = world(workload={"content": "last_value"}, hold={"gap_s": 5.0})
    run = ask(scenario, engine, [2.0, 3.0, 4.0, 6.0, 19.0, 19.0, 19.0])
    assert visible(run) == [2.0, "lost", "lost", 7.0, "lost", "lost", 19.0]
    assert attempts(run) == [1, 0, 0, 1, 0, 0, 1]


def test_what_is_gone_before_the_request_comes_is_lost_when_an_answer_starts_past_it(engine: Engine) -> None:
    """Retention 3 s, gap 5: after 2, asked at 7: event 3.5 is gone, so it is held, until 8."""
    run = ask(
        world(hold={"gap_s": 5.0}, provider_api={"retention": {"seconds": 3.0}}), engine, [2.0, 3.5, 8.0]
    )
    assert visible(run) == [2.0, "lost", 8.0]
    assert asked(run)[:3] == [0, 7, 13]


def test_what_is_too_old_before_it_is_shown_is_no_news(engine: Engine) -> None:
    """Lag 4, retention 3 s: nothing ever comes, and every hold lasts its 10 s."""
    api = {"feed_lag_s": 4.0, "retention": {"seconds": 3.0}}
    run = ask(world(30.0, provider_api=api), engine, [1.0, 2.0, 15.0])
    assert visible(run) == ["lost", "lost", "lost"]
    assert (asked(run), attempts(run)) == ([0, 10, 20], [0, 0, 0])


# The intermediary.


def test_an_intermediary_answers_504_in_time_of_its_own(engine: Engine) -> None:
    """Patience 5: asked at 0, 504 at 5, asked at 6; event 8 is answered at 8; asked at 8, 504 at 13; 14."""
    run = ask(world(16.0, hold={"intermediary_timeout_s": 5.0}), engine, [8.0])
    assert (visible(run), first_attempts(run), attempts(run)) == ([8.0], [6.0], [1])
    assert asked(run) == [0, 6, 8, 14]
    assert counted(run, "errors", "empty_responses", "timeouts", "rejected") == [2, 0, 0, 0]
    assert counted(run, "response_bytes", "connections_opened") == [300 + 1300 + 300, 1]


def test_its_patience_counts_from_the_arrival_and_its_answer_travels(engine: Engine) -> None:
    """One second each way: arrives at 1, 504 at 6, known at 7, asked at 8: arrives at 9, event 10 at 11."""
    scenario = world(12.0, network={"one_way": constant(1.0)}, hold={"intermediary_timeout_s": 5.0})
    run = ask(scenario, engine, [10.0])
    assert (visible(run), first_attempts(run)) == ([11.0], [8.0])


@pytest.mark.parametrize(("event_s", "hold_s"), [(5.0, 10.0), (50.0, 5.0)])
def test_an_answer_at_the_instant_its_patience_ends_wins(
    event_s: float, hold_s: float, engine: Engine
) -> None:
    """An event's, or the empty one of a hold that is over."""
    scenario = world(6.0, hold={"intermediary_timeout_s": 5.0, "hold_s": hold_s})
    run = ask(scenario, engine, [event_s])
    assert counted(run, "errors", "empty_responses") == [0, int(event_s > hold_s)]
    assert asked(run) == [0, 5]


def test_an_answer_that_leaves_as_its_service_and_the_patience_end_wins(engine: Engine) -> None:
    """Five seconds at the API, no hold; gap 1."""
    scenario = world(
        6.0,
        hold={"intermediary_timeout_s": 5.0, "hold_s": 0.0, "gap_s": 1.0},
        provider_api={"service": constant(5.0)},
    )
    assert counted(ask(scenario, engine, []), "errors", "empty_responses", "provider_busy_s") == [0, 1, 5.0]


def test_a_504_at_the_instant_of_the_client_s_timeout_is_heard(engine: Engine) -> None:
    run = ask(world(6.0, hold={"intermediary_timeout_s": 5.0, "timeout_s": 5.0}), engine, [])
    assert counted(run, "errors", "timeouts", "connections_opened") == [1, 0, 1]


def test_after_a_504_the_api_works_on_and_its_answer_goes_nowhere(engine: Engine) -> None:
    """One worker, 7 s each, patience 5.

    504 at 5; asked at 6, waits to 7, 504 at 11; asked at 12, waits to 14, 504 at 17; asked at 18, waits.
    Served over [0, 7), [7, 14), [14, 20): event 1 is never carried, nor counted as tried.
    """
    scenario = world(20.0, hold={"intermediary_timeout_s": 5.0}, provider_api={"service": constant(7.0)})
    run = ask(scenario, engine, [1.0])
    assert (visible(run), attempts(run), copies(run)) == (["pending"], [0], [0])
    assert counted(run, "errors", "response_bytes") == [3, 900]
    assert counted(run, "provider_busy_s", "provider_queue_integral_s") == [20.0, 1.0 + 2.0 + 2.0]


# Timeouts and losses.


def test_a_client_that_gives_up_is_held_all_the_same(engine: Engine) -> None:
    """Timeout 4: given up at 4; event 4.5 answers the request of 0 into nothing, and that of 5 for good."""
    run = ask(world(8.0, hold={"timeout_s": 4.0}), engine, [4.5])
    assert (visible(run), first_attempts(run)) == ([5.0], [0.0])
    assert (attempts(run), copies(run)) == ([2], [1])
    assert counted(run, "requests", "timeouts", "response_bytes") == [3, 1, 2600]


def test_the_timeout_is_long_polling_s_own_and_an_answer_at_its_instant_succeeds(engine: Engine) -> None:
    """Whatever `polling.timeout_s`. Held for 10 s: with a timeout of 10 there is none, with 9.75 there is."""
    for timeout_s, timeouts, empty in ((10.0, 0, 1), (9.75, 1, 0)):
        scenario = world(10.5, hold={"timeout_s": timeout_s}, polling={"timeout_s": 0.25})
        assert counted(ask(scenario, engine, []), "timeouts", "empty_responses") == [timeouts, empty]


def test_a_lost_answer_is_found_out_by_the_timeout(engine: Engine) -> None:
    """The answer of 3 is lost, given up at 6, asked again at 7."""
    lost = (True, False)
    seed = seed_where(
        lambda seed: all(
            (uniform(seed, Stream.POLL_RESPONSE_LOSS, 0, number) < 0.5) is wanted
            for number, wanted in enumerate(lost)
        )
    )
    run = ask(world(8.0, network={"response_loss": 0.5}, hold={"timeout_s": 6.0}), engine, [3.0], seed)
    assert (visible(run), first_attempts(run), attempts(run)) == ([7.0], [0.0], [2])


def test_a_lost_request_is_not_held(engine: Engine) -> None:
    run = ask(world(12.0, network={"request_loss": 1.0}, hold={"timeout_s": 3.0}), engine, [1.0])
    assert (visible(run), attempts(run), asked(run)) == (["pending"], [0], [0, 4, 8])
    assert counted(run, "timeouts", "response_bytes", "connections_opened") == [3, 0, 3]


# Outages and the rate limit.


@pytest.mark.parametrize(
    ("kind", "asked_s"),
    [("refuse", [0, 10, 11, 12, 13, 23]), ("error", [0, 10, 11, 12, 13, 23]), ("black_hole", [0, 10, 26])],
)
def test_a_failure_is_tried_again_after_its_own_delay(kind: str, asked_s: list[int], engine: Engine) -> None:
    """The API is down over [10, 12.5); the timeout is 15 s."""
    scenario = world(30.0, hold={"timeout_s": 15.0}, provider_api=outage(10.0, 12.5, kind))
    run = ask(scenario, engine, [])
    assert asked(run) == asked_s
    assert counted(run, "errors", "timeouts") == ([0, 1] if kind == "black_hole" else [3, 0])


@pytest.mark.parametrize("kind", ["refuse", "error", "black_hole"])
def test_an_outage_strikes_arriving_requests_and_not_held_ones(kind: str, engine: Engine) -> None:
    """Down over [2, 5.5), timeout 12: the request of 0 is answered at 4 all the same; that of 4 is not."""
    run = ask(world(10.0, hold={"timeout_s": 12.0}, provider_api=outage(2.0, 5.5, kind)), engine, [4.0, 5.0])
    assert visible(run) == [4.0, "pending" if kind == "black_hole" else 6.0]


def test_an_intermediary_says_nothing_of_what_the_door_swallowed(engine: Engine) -> None:
    """Patience 2, timeout 5: swallowed at 0, given up at 5, asked at 6, 504 at 8, …"""
    hold = {"intermediary_timeout_s": 2.0, "timeout_s": 5.0}
    run = ask(world(9.0, hold=hold, provider_api=outage(0.0, 1.0, "black_hole")), engine, [])
    assert (asked(run), counted(run, "timeouts", "errors")) == ([0, 6], [1, 1])


@pytest.mark.parametrize(("retry_s", "again_s", "rejected"), [(1.0, 20.0, 2), (30.0, 32.0, 1)])
def test_a_429_is_waited_out(retry_s: float, again_s: float, rejected: int, engine: Engine) -> None:
    """Two a 20 s: 0 and 1 are let in; 2 is refused for 18 s.

    Then 20 brings event 3, is followed at once, held to 30, and refused until 40; or 32 brings it, is
    followed at once and held to 42, when there is another window.
    """
    api = {"rate_limit": {"requests": 2, "per_s": 20.0}}
    run = ask(world(50.0, hold={"retry_s": retry_s}, provider_api=api), engine, [1.0, 2.0, 3.0])
    assert visible(run) == [1.0, 2.0, again_s]
    assert asked(run)[:4] == [0, 1, 2, int(again_s)]
    assert run.counters.rejected == rejected


def test_a_client_whose_receiver_is_down_asks_when_it_is_up(engine: Engine) -> None:
    """Down over [4, 7), slow over [7, 8), down over [8, 9) and [9, 11).

    Event 5 is answered at 5 and taken in; asked again at 7, when it is merely slow; event 8.5 is taken in;
    asked again at 11.
    """
    outages = [
        {"start_s": 4.0, "duration_s": 3.0},
        {"start_s": 7.0, "duration_s": 1.0, "kind": "slow"},
        {"start_s": 8.0, "duration_s": 1.0, "kind": "black_hole"},
        {"start_s": 9.0, "duration_s": 2.0, "kind": "error"},
    ]
    run = ask(world(20.0, receiver={"outages": outages}), engine, [5.0, 6.0, 8.5, 10.0])
    assert visible(run) == [5.0, 7.0, 8.5, 11.0]
    assert asked(run) == [0, 7, 7, 11, 11]


# The clock.


def test_the_first_request_is_where_a_poller_s_would_be(engine: Engine) -> None:
    """At a random phase of polling's interval of 10 s, however long a request is held."""
    u = uniform(7, Stream.POLL_PHASE, 0, 0)
    run = ask(world(polling={"phase": "random"}), engine, [0.0], 7)
    assert first_attempts(run) == [u * 10.0]
    held_longer = world(polling={"phase": "random"}, hold={"hold_s": 25.0})
    assert first_attempts(ask(held_longer, engine, [0.0], 7)) == [u * 10.0]


def test_an_answer_at_the_world_s_end_does_not_leave(engine: Engine) -> None:
    """Event 5 in a world that ends at 6 and at 5 + 1, and one whose lag shows it just then."""
    assert attempts(ask(world(6.0), engine, [5.0])) == [1]
    run = ask(world(6.0, provider_api={"feed_lag_s": 1.0}), engine, [5.0])
    assert (visible(run), attempts(run), run.counters.requests) == (["pending"], [0], 1)


def test_counters_cover_the_window_and_a_504_counts_when_it_leaves(engine: Engine) -> None:
    """Window [3, 8): the request of 0 is not counted, its 504 at 5 is; asked at 6; the 504 at 11 is not."""
    scenario = world(
        run={"duration_s": 8.0, "warmup_s": 3.0, "drain_s": 10.0}, hold={"intermediary_timeout_s": 5.0}
    )
    run = ask(scenario, engine, [])
    assert counted(run, "requests", "errors", "response_bytes", "connection_s") == [1, 1, 300, 2.0 + 2.0]


# What would never end.


def test_a_client_that_would_ask_for_ever_at_one_instant_is_refused(engine: Engine) -> None:
    with pytest.raises(ScenarioError, match=r"long_polling\.hold_s, long_polling\.gap_s, .* are all 0"):
        ask(world(hold={"hold_s": 0.0}), engine, [])
    for tables in (
        {"hold": {"hold_s": 0.25}},
        {"hold": {"hold_s": 0.0, "gap_s": 0.25}},
        {"hold": {"hold_s": 0.0}, "network": {"one_way": constant(0.25)}},
        {"hold": {"hold_s": 0.0}, "provider_api": {"service": constant(0.25)}},
    ):
        assert ask(world(1.0, **tables), engine, []).counters.requests in (2, 4)


@pytest.mark.parametrize("kind", ["refuse", "error"])
def test_so_is_one_that_would_be_turned_away_for_ever_at_one_instant(kind: str, engine: Engine) -> None:
    down, at_once = outage(5.0, 10.0, kind), {"retry_s": 0.0}
    always = {
        "random_outages": {"up": constant(5.0), "down": constant(5.0), "kind": kind},
    }
    for api in (down, always):
        with pytest.raises(ScenarioError, match=r"long_polling\.retry_s and network\.one_way are 0"):
            ask(world(hold=at_once, provider_api=api), engine, [])
    assert ask(world(hold=at_once), engine, []).counters.requests == 4
    afar = world(hold=at_once, provider_api=down, network={"one_way": constant(0.5)})
    # Asked at 0; 11, held from 11.5; 22; 33.
    assert asked(ask(afar, engine, [])) == [0, 11, 22, 33]
    afar = world(hold=at_once, provider_api=outage(0.0, 2.0, kind), network={"one_way": constant(0.5)})
    assert asked(ask(afar, engine, []))[:4] == [0, 1, 2, 13]


# The story.


def test_the_story_tells_of_the_hold(engine: Engine) -> None:
    scenario = world(
        25.0,
        workload={"kind": "periodic", "rate_per_s": 0.0625, "phase": "synchronised"},
        network={"one_way": constant(0.5)},
        hold={"intermediary_timeout_s": 6.0},
    )
    assert [(line.time_s, line.text) for line in narrate(scenario, "long_polling")] == [
        (0.0, "event 0 is created"),
        (0.0, "GET events after 0"),
        (1.0, "the answer carries 1 event"),
        (1.0, "event 0 is visible"),
        (1.0, "GET events after 1"),
        (1.5, "the provider holds the request"),
        (7.5, "an intermediary loses patience"),
        (8.0, "the answer is 504: gateway timeout"),
        (9.0, "GET events after 1"),
        (9.5, "the provider holds the request"),
        (15.5, "an intermediary loses patience"),
        (16.0, "event 1 is created"),
        (16.0, "the answer is 504: gateway timeout"),
        (17.0, "GET events after 1"),
        (18.0, "the answer carries 1 event"),
        (18.0, "event 1 is visible"),
        (18.0, "GET events after 2"),
        (18.5, "the provider holds the request"),
        (24.5, "an intermediary loses patience"),
    ]


def test_empty_holds_are_told_once_and_counted(engine: Engine) -> None:
    scenario = world(
        100.0,
        workload={"kind": "periodic", "rate_per_s": 0.005, "phase": "synchronised"},
        hold={"gap_s": 1.0},
    )
    story = [(line.time_s, line.text) for line in narrate(scenario, "long_polling")]
    assert story[4:] == [
        (1.0, "GET events after 1"),
        (1.0, "the provider holds the request"),
        (11.0, "the answer carries 0 events"),
        (99.0, "… the same 8 more times"),
    ]
