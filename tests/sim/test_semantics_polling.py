"""Protects each rule of polling, in both engines, by a world small enough to work out by hand.

Unless a test says otherwise a poller asks at 0, 10, 20, …, and neither the way, the API nor the receiver
takes time.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from sim.distributions import compile_distribution, sample
from sim.engine import ENGINES, Engine
from sim.randomness import Stream, uniform
from sim.scenario import Scenario
from tests.sim.test_semantics import (
    attempts,
    constant,
    copies,
    counted,
    first_attempts,
    one_of,
    outage,
    poll,
    seed_where,
    small_world,
    visible,
)

pytestmark = pytest.mark.parametrize("engine", ENGINES)


def api_takes(*service_s: float) -> tuple[dict[str, Any], int]:
    """An API whose service times for subscriber 0's polls 0, 1, … are as given, and the seed for it."""
    table = one_of(*sorted(set(service_s)))
    api = {"workers": 1, "service": table}
    service = compile_distribution(small_world(provider_api=api).provider_api.service)
    seed = seed_where(
        lambda seed: all(
            sample(service, seed, Stream.API_SERVICE, 0, number) == wanted
            for number, wanted in enumerate(service_s)
        )
    )
    return api, seed


# Ticks and pages.


def test_an_event_is_fetched_by_the_first_poll_at_or_after_it(engine: Engine) -> None:
    """An event at the very instant of a poll is created first, so it is in the answer."""
    run = poll(small_world(run={"duration_s": 30.0}), engine, [0.0, 9.5, 10.0, 10.5])
    assert visible(run) == [0.0, 10.0, 10.0, 20.0]
    assert first_attempts(run) == [0.0, 10.0, 10.0, 20.0]
    assert (attempts(run), copies(run)) == ([1] * 4, [1] * 4)
    assert counted(run, "requests", "empty_responses", "rejected", "timeouts") == [3, 0, 0, 0]


def test_a_full_page_is_followed_by_a_request_at_once(engine: Engine) -> None:
    """One second each way and at the API, two events a page.

    Asked at 10, answered at 13 with events 0 and 1: full, so asked at 13, answered at 16 with event 2.
    """
    scenario = small_world(
        network={"one_way": constant(1.0)},
        polling={"page_size": 2},
        provider_api={"service": constant(1.0)},
        run={"duration_s": 20.0},
    )
    run = poll(scenario, engine, [2.0, 3.0, 4.0])
    assert visible(run) == [13.0, 13.0, 16.0]
    assert first_attempts(run) == [10.0, 10.0, 13.0]
    assert counted(run, "requests", "empty_responses") == [3, 1]


@pytest.mark.parametrize(("page_size", "requests", "empty"), [(1, 5, 2), (2, 3, 1), (3, 3, 2), (4, 2, 1)])
def test_the_page_size_is_exact(page_size: int, requests: int, empty: int, engine: Engine) -> None:
    """Three events at the poll at 10: a last page that is exactly full costs an empty answer more."""
    scenario = small_world(polling={"page_size": page_size}, run={"duration_s": 20.0})
    run = poll(scenario, engine, [1.0, 2.0, 3.0])
    assert visible(run) == [10.0, 10.0, 10.0]
    assert counted(run, "requests", "empty_responses") == [requests, empty]


@pytest.mark.parametrize(
    ("service_s", "requests", "visible_s"),
    [
        (1.0, 3, 5.5),  # 2.5 s a cycle: asked at 0, 3, 6
        (0.5, 5, 4.0),  # 2 s a cycle, over at a tick's instant: asked at 0, 2, 4, 6, 8
    ],
)
def test_ticks_within_a_cycle_are_skipped(
    service_s: float, requests: int, visible_s: float, engine: Engine
) -> None:
    """A tick each second for 9 s; 0.75 s each way. The event at 2.25 comes with the second request."""
    scenario = small_world(
        network={"one_way": constant(0.75)},
        polling={"interval_s": 1.0},
        provider_api={"service": constant(service_s)},
        run={"duration_s": 9.0},
    )
    run = poll(scenario, engine, [2.25])
    assert visible(run) == [visible_s]
    assert run.counters.requests == requests


def test_random_phase_and_jitter(engine: Engine) -> None:
    """Polls at u·10 with a phase; at 0, 10, … each put off by up to 2 s with a jitter."""
    u = uniform(7, Stream.POLL_PHASE, 0, 0)
    run = poll(small_world(polling={"phase": "random"}), engine, [0.0], 7)
    assert visible(run) == pytest.approx([10.0 * u])
    late_s = [2.0 * uniform(7, Stream.POLL_JITTER, 0, tick) for tick in range(3)]
    assert len(set(late_s)) == 3
    run = poll(small_world(polling={"jitter_s": 2.0}), engine, [0.0, 5.0, 15.0], 7)
    assert visible(run) == pytest.approx([late_s[0], 10.0 + late_s[1], 20.0 + late_s[2]])


def test_fixed_delay_sleeps_from_the_last_answer(engine: Engine) -> None:
    """One way 1, delay 5, a page of one: asked at 0; at 7 and, its page full, 9; at 16 and, the same, 18.

    From the start of a cycle it would be 0, 5, 10, …; from its first answer 0, 7, 14, ….
    """
    scenario = small_world(
        network={"one_way": constant(1.0)},
        polling={"schedule": "fixed_delay", "interval_s": 5.0, "page_size": 1},
        run={"duration_s": 23.5},
    )
    run = poll(scenario, engine, [7.5, 16.0])
    assert first_attempts(run) == [7.0, 16.0]
    assert visible(run) == [9.0, 18.0]
    assert counted(run, "requests", "empty_responses") == [5, 3]


def test_fixed_delay_sleeps_from_a_timeout(engine: Engine) -> None:
    """One way 1, timeout 1: asked at 0, 6, 12, 18 and 24, and each time given up a second later."""
    scenario = small_world(
        network={"one_way": constant(1.0)},
        polling={"schedule": "fixed_delay", "interval_s": 5.0, "timeout_s": 1.0},
        run={"duration_s": 24.5},
    )
    run = poll(scenario, engine, [6.5, 18.5])
    assert counted(run, "requests", "timeouts", "empty_responses") == [5, 4, 0]
    assert first_attempts(run) == [6.0, 18.0]
    # Cursor 0 is asked for each time: event 0 is carried at 7, 13 and 19, event 1 at 19.
    assert (attempts(run), copies(run)) == ([3, 1], [0, 0])


def test_exponential_gaps_run_from_start_to_start_and_are_put_off_to_the_answer(engine: Engine) -> None:
    """One way 1, so a cycle takes 2 s. The first gap is shorter: asked at 2, when the answer is there.

    The second is longer and runs from the start at 2, not from the answer at 4.
    """

    def gap_s(seed: int, number: int) -> float:
        return -4.0 * math.log1p(-uniform(seed, Stream.POLL_GAP, 0, number))

    seed = seed_where(lambda seed: gap_s(seed, 1) < 1.5 and 3.0 < gap_s(seed, 2) < 8.0)
    scenario = small_world(
        network={"one_way": constant(1.0)}, polling={"schedule": "exponential", "interval_s": 4.0}
    )
    run = poll(scenario, engine, [0.5, 2.5, 3.5], seed)
    third_s = 2.0 + gap_s(seed, 2)
    assert first_attempts(run) == pytest.approx([0.0, 2.0, third_s])
    assert visible(run) == pytest.approx([2.0, 4.0, third_s + 2.0])


# Timeouts and losses.


def test_a_lost_answer_abandons_the_cycle_and_leaves_the_cursor(engine: Engine) -> None:
    """The answer to the poll at 10 is lost, given up at 12; that to the poll at 20 brings event 0."""
    lost = (False, True, False)
    seed = seed_where(
        lambda seed: all(
            (uniform(seed, Stream.POLL_RESPONSE_LOSS, 0, number) < 0.5) is wanted
            for number, wanted in enumerate(lost)
        )
    )
    scenario = small_world(
        network={"response_loss": 0.5}, polling={"timeout_s": 2.0}, run={"duration_s": 25.0}
    )
    run = poll(scenario, engine, [1.0], seed)
    assert visible(run) == [20.0]
    assert (first_attempts(run), attempts(run), copies(run)) == ([10.0], [2], [1])
    assert counted(run, "requests", "timeouts", "empty_responses") == [3, 1, 1]
    # The lost answer left the API: 3 · 300 bytes of headers, and the event twice.
    assert counted(run, "response_bytes", "connections_opened", "connections_peak") == [2900, 2, 1]


def test_a_lost_request_carries_nothing(engine: Engine) -> None:
    scenario = small_world(
        network={"request_loss": 1.0}, polling={"timeout_s": 2.0}, run={"duration_s": 25.0}
    )
    run = poll(scenario, engine, [1.0])
    assert visible(run) == ["pending"]
    assert attempts(run) == [0]
    assert counted(run, "requests", "timeouts", "request_bytes", "response_bytes") == [3, 3, 1800, 0]
    assert run.counters.provider_busy_s == 0.0


def test_after_a_timeout_the_api_works_on_and_its_late_answer_is_ignored(engine: Engine) -> None:
    """Polls at 0, 4, 8 take the API's one worker 0, 5 and 0 s; timeout 2.

    That at 4 carries event 1, is given up at 6 and leaves at 9: ignored. That at 8 waits for the worker
    until 9 and then finds events 1 and 8.5; the cursor had stayed at 0.
    """
    api, seed = api_takes(0.0, 5.0, 0.0)
    scenario = small_world(
        polling={"interval_s": 4.0, "timeout_s": 2.0}, provider_api=api, run={"duration_s": 12.0}
    )
    run = poll(scenario, engine, [1.0, 8.5], seed)
    assert visible(run) == [9.0, 9.0]
    assert (first_attempts(run), attempts(run), copies(run)) == ([4.0, 8.0], [2, 1], [1, 1])
    assert counted(run, "requests", "timeouts", "empty_responses") == [3, 1, 1]
    assert counted(run, "response_bytes", "connections_opened") == [3900, 2]
    assert counted(run, "provider_busy_s", "provider_queue_integral_s", "provider_queue_max") == [5, 1, 1]


def test_a_late_answer_does_not_bring_its_events(engine: Engine) -> None:
    """The answer of 10 comes at 15, given up at 12; the event is visible with the poll at 20."""
    api, seed = api_takes(0.0, 5.0, 0.0)
    run = poll(small_world(polling={"timeout_s": 2.0}, provider_api=api), engine, [1.0], seed)
    assert visible(run) == [20.0]


def test_a_timeout_leaves_the_pages_before_it(engine: Engine) -> None:
    """A page of one. 10 brings event 0 and asks at once again, which is given up at 12; 20 brings event 1."""
    api, seed = api_takes(0.0, 0.0, 5.0, 0.0, 0.0)
    scenario = small_world(polling={"timeout_s": 2.0, "page_size": 1}, provider_api=api)
    run = poll(scenario, engine, [1.0, 2.0], seed)
    assert visible(run) == [10.0, 20.0]
    assert (attempts(run), copies(run)) == ([1, 2], [1, 1])


def test_an_answer_at_the_instant_of_the_timeout_succeeds(engine: Engine) -> None:
    """One second each way and at the API is 3 s; polls at 0 and 10."""
    for timeout_s, outcome, timeouts in ((3.0, 13.0, 0), (2.75, "pending", 2)):
        scenario = small_world(
            network={"one_way": constant(1.0)},
            polling={"timeout_s": timeout_s},
            provider_api={"service": constant(1.0)},
            run={"duration_s": 20.0},
        )
        run = poll(scenario, engine, [2.0])
        assert visible(run) == [outcome]
        assert run.counters.timeouts == timeouts


# The rate limit.


def limited(requests: int, per_s: float, **tables: dict[str, Any]) -> Scenario:
    limit = {"rate_limit": {"requests": requests, "per_s": per_s}}
    return small_world(**tables | {"provider_api": tables.get("provider_api", {}) | limit})


def test_a_rate_limit_counts_in_windows_and_tells_when_the_next_begins(engine: Engine) -> None:
    """One request a second, polls every quarter: 0 is let in, 0.25 refused until 1, and so on."""
    scenario = limited(1, 1.0, polling={"interval_s": 0.25}, run={"duration_s": 5.0})
    run = poll(scenario, engine, [0.125, 1.125])
    assert visible(run) == [1.0, 2.0]
    # A 429 is neither empty nor an error; it is 300 bytes like any other answer without events.
    assert counted(run, "requests", "rejected", "empty_responses", "errors") == [10, 5, 3, 0]
    assert counted(run, "response_bytes", "connections_opened") == [5000, 1]


def test_the_limit_is_exact(engine: Engine) -> None:
    """Three a 10 s, polls each second: 0, 1 and 2 are let in, 3 is refused until 10; 20 is the end."""
    scenario = limited(3, 10.0, polling={"interval_s": 1.0}, run={"duration_s": 20.0})
    run = poll(scenario, engine, [1.5, 2.5])
    assert visible(run) == [2.0, 10.0]
    assert counted(run, "requests", "rejected") == [8, 2]


def test_windows_are_aligned_at_0_and_a_poller_resumes_at_its_first_tick_after(engine: Engine) -> None:
    """One a 2 s, a tick each 0.75: 0; 0.75 refused until 2; 2.25; 3 refused until 4; 4.5; 5.25; 6.

    The tick at 6 is at a window's very start. Did a window begin with its first request, at 4.5, then 5.25
    would be refused until 6.5.
    """
    scenario = limited(1, 2.0, polling={"interval_s": 0.75}, run={"duration_s": 6.5})
    run = poll(scenario, engine, [0.5, 2.5, 5.0])
    assert visible(run) == [2.25, 4.5, 6.0]
    assert counted(run, "requests", "rejected") == [7, 3]


def test_a_retry_after_counts_from_its_receipt(engine: Engine) -> None:
    """Half a second each way, one a 4 s, a tick each second.

    The request of 1 arrives at 1.5, is refused for 2.5 s, known at 2: so the next tick is not 4 but the
    first from 4.5, 5. It is let in; 6 is refused at 6.5 for 1.5 s, known at 7: so 9, let in; 10 is refused.
    """
    scenario = limited(
        1,
        4.0,
        network={"one_way": constant(0.5)},
        polling={"interval_s": 1.0},
        run={"duration_s": 11.0},
    )
    run = poll(scenario, engine, [0.75, 5.75])
    assert visible(run) == [6.0, 10.0]
    assert counted(run, "requests", "rejected") == [6, 3]


def test_fixed_delay_waits_out_a_retry_after(engine: Engine) -> None:
    """One a 4 s, delay 1: 0, 1 refused for 3 s, 4, 5 refused for 3 s, 8. With delay 5: 0, 5, 10."""
    for interval_s, requests, rejected in ((1.0, 5, 2), (5.0, 2, 0)):
        scenario = limited(
            1,
            4.0,
            polling={"schedule": "fixed_delay", "interval_s": interval_s},
            run={"duration_s": 8.5},
        )
        assert counted(poll(scenario, engine, []), "requests", "rejected") == [requests, rejected]


def test_each_subscriber_has_a_quota_of_its_own(engine: Engine) -> None:
    """One a 10 s and subscriber: both may ask at 0 and 10. One more each would be refused."""
    scenario = limited(1, 10.0, subscribers={"count": 2}, run={"duration_s": 20.0})
    run = poll(scenario, engine, [1.0])
    assert [visible(run, 0), visible(run, 1)] == [[10.0], [10.0]]
    assert counted(run, "requests", "rejected") == [4, 0]


def test_a_429_uses_no_worker(engine: Engine) -> None:
    """One worker, 2 s; one a 20 s; ticks each 5 s. Served over [0, 2); 5 is refused and answered at once."""
    scenario = limited(
        1,
        20.0,
        polling={"interval_s": 5.0, "timeout_s": 2.0},
        provider_api={"service": constant(2.0)},
        run={"duration_s": 20.0},
    )
    run = poll(scenario, engine, [])
    assert counted(run, "requests", "rejected", "timeouts", "provider_busy_s") == [2, 1, 0, 2.0]


def test_a_429_moves_no_cursor_and_ends_the_cycle(engine: Engine) -> None:
    """A page of one, two requests a 10 s: 0 and 10 with what follows their full pages.

    0 is empty. 10 brings event 0, then at once event 1, then a 429 until 20; 20 brings event 2, then 429
    no more: an empty answer within the quota.
    """
    scenario = limited(2, 10.0, polling={"page_size": 1}, run={"duration_s": 30.0})
    run = poll(scenario, engine, [1.0, 2.0, 3.0])
    assert visible(run) == [10.0, 10.0, 20.0]
    assert attempts(run) == [1, 1, 1]
    assert counted(run, "requests", "rejected", "empty_responses") == [6, 1, 2]


# The feed.


def test_the_feed_shows_an_event_after_its_lag(engine: Engine) -> None:
    """Lag 2, polls each second: event 1.5 is shown from 3.5 on, event 4 from 6 on, in time for 6."""
    scenario = small_world(polling={"interval_s": 1.0}, provider_api={"feed_lag_s": 2.0})
    assert visible(poll(scenario, engine, [1.5, 4.0])) == [4.0, 6.0]


def test_the_feed_retains_for_seconds_counted_from_the_creation_whatever_its_lag(engine: Engine) -> None:
    """Lag 2, retention 3 s, polls each second: at 4 the feed shows [1, 2]."""
    api = {"feed_lag_s": 2.0, "retention": {"seconds": 3.0}}
    scenario = small_world(polling={"interval_s": 1.0}, provider_api=api)
    assert visible(poll(scenario, engine, [1.5])) == [4.0]


def test_events_older_than_the_retention_are_lost(engine: Engine) -> None:
    """At the poll at 10 events from 7 on are retained, that of the very instant 7 among them."""
    scenario = small_world(provider_api={"retention": {"seconds": 3.0}})
    run = poll(scenario, engine, [6.0, 6.75, 7.0, 9.0, 18.0])
    assert visible(run) == ["lost", "lost", 10.0, 10.0, 20.0]
    assert (attempts(run), copies(run)) == ([0, 0, 1, 1, 1], [0, 0, 1, 1, 1])


def test_only_the_newest_events_are_retained(engine: Engine) -> None:
    """Two are: of the three before 10 the first is lost; of the one before 20 none is."""
    scenario = small_world(provider_api={"retention": {"events": 2}})
    assert visible(poll(scenario, engine, [1.0, 2.0, 3.0, 15.0])) == ["lost", 10.0, 10.0, 20.0]


def test_pages_start_at_the_oldest_retained_event(engine: Engine) -> None:
    """One event retained, a page of one, 1 s at the API, polls each 5 s: at 5 only event 3 is there."""
    scenario = small_world(
        polling={"interval_s": 5.0, "page_size": 1},
        provider_api={"service": constant(1.0), "retention": {"events": 1}},
    )
    run = poll(scenario, engine, [1.0, 2.0, 3.0])
    assert visible(run) == ["lost", "lost", 6.0]


def test_the_snapshot_is_taken_when_the_shared_api_s_worker_starts(engine: Engine) -> None:
    """Two subscribers, one worker, 4 s a poll: the second waits for the first.

    At 10: served over [10, 14) and [14, 18). Event 12 is created during the first's service and the second's
    wait: so the first does not see it and the second does. Event 15 both see at 20: [20, 24) and [24, 28).
    """
    scenario = small_world(
        subscribers={"count": 2}, provider_api={"service": constant(4.0)}, run={"duration_s": 30.0}
    )
    run = poll(scenario, engine, [9.0, 12.0, 15.0])
    assert visible(run, 0) == [14.0, 24.0, 24.0]
    assert visible(run, 1) == [18.0, 18.0, 28.0]
    assert counted(run, "provider_busy_s", "provider_queue_integral_s", "provider_queue_max") == [24, 12, 1]
    two_workers = small_world(
        subscribers={"count": 2},
        provider_api={"workers": 2, "service": constant(4.0)},
        run={"duration_s": 30.0},
    )
    run = poll(two_workers, engine, [9.0, 12.0, 15.0])
    assert [visible(run, 0), visible(run, 1)] == [[14.0, 24.0, 24.0]] * 2
    assert counted(run, "provider_queue_integral_s", "provider_queue_max") == [0, 0]


def test_an_event_created_as_the_request_arrives_is_in_the_snapshot(engine: Engine) -> None:
    """One second each way, 2 s at the API: events until 11 are in the answer of 14."""
    scenario = small_world(network={"one_way": constant(1.0)}, provider_api={"service": constant(2.0)})
    assert visible(poll(scenario, engine, [10.5, 11.0, 11.25])) == [14.0, 14.0, 24.0]


# The subscriber's side.


def test_a_page_enters_the_receiver_in_event_order_whatever_its_queue_limit(engine: Engine) -> None:
    """One worker, 2 s each, no waiting places: served over [10, 12), [12, 14), [14, 16) all the same."""
    scenario = small_world(receiver={"service": constant(2.0), "queue_limit": 0}, run={"duration_s": 20.0})
    run = poll(scenario, engine, [1.0, 2.0, 3.0])
    assert visible(run) == [12.0, 14.0, 16.0]
    assert counted(run, "rejected", "receiver_queue_max", "receiver_busy_s") == [0, 2, 6.0]
    assert run.counters.receiver_queue_integral_s == 6.0  # 2 + 4


def test_a_poller_in_an_outage_sends_nothing_but_takes_in_what_arrives(engine: Engine) -> None:
    """One second each way, a page of one, outage [11, 25).

    Asked at 10, answered at 12 with event 0: a full page, yet nothing is asked. Nothing at 20. Asked at 30:
    event 1 at 32, and at once again: nothing at 34.
    """
    scenario = small_world(
        network={"one_way": constant(1.0)},
        polling={"page_size": 1},
        receiver=outage(11.0, 25.0),
        run={"duration_s": 40.0},
    )
    run = poll(scenario, engine, [2.0, 3.0])
    assert visible(run) == [12.0, 32.0]
    assert counted(run, "requests", "empty_responses", "timeouts", "errors") == [4, 2, 0, 0]


@pytest.mark.parametrize("kind", ["refuse", "black_hole", "error"])
def test_a_tick_at_an_outage_s_start_is_in_it_and_one_at_its_end_is_not(kind: str, engine: Engine) -> None:
    scenario = small_world(receiver=outage(10.0, 20.0, kind), run={"duration_s": 30.0})
    run = poll(scenario, engine, [5.0])
    assert visible(run) == [20.0]
    assert counted(run, "requests", "errors") == [2, 0]  # at 0 and 20


def test_bytes_each_way_and_one_connection(engine: Engine) -> None:
    """Three polls of 50 bytes; three answers of 20, with two events of 7 in one and one in another."""
    scenario = small_world(
        workload={"payload_bytes": 7},
        network={"request_header_bytes": 50, "response_header_bytes": 20},
        run={"duration_s": 30.0},
    )
    run = poll(scenario, engine, [1.0, 2.0, 15.0])
    assert counted(run, "requests", "request_bytes", "response_bytes") == [3, 150, 81]
    assert counted(run, "connections_opened", "connections_peak") == [1, 1]
