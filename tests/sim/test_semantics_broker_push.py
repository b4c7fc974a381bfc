"""Protects each rule of `broker_push`, in both engines, by a world small enough to work out by hand.

Unless a test says otherwise nothing takes time, one worker serves, nothing is lost, and a consumer that has
noticed the end of its connection connects again a second later.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from sim.distributions import compile_distribution, sample
from sim.engine import ENGINES, Engine, Replication, run_once
from sim.randomness import Stream, delivery_entity, uniform
from sim.records import Via
from sim.scenario import Scenario
from tests.sim.test_semantics import (
    attempts,
    constant,
    copies,
    counted,
    first_attempts,
    one_of,
    outage,
    seed_where,
    small_world,
    visible,
)

pytestmark = pytest.mark.parametrize("engine", ENGINES)

A_SECOND_AWAY = {"one_way": constant(1.0)}


def consume(scenario: Scenario, engine: Engine, events: ArrayLike, seed: int = 1) -> Replication:
    return run_once(scenario, "broker_push", np.array(events, dtype=np.float64), seed, engine)


def draws(distribution: dict[str, Any], wanted: dict[tuple[Stream, int, int], float]) -> int:
    """A seed under which (stream, event, number) draws the time wanted, at subscriber 0."""
    scenario = small_world(network={"one_way": distribution})
    table = compile_distribution(scenario.network.one_way)
    return seed_where(
        lambda seed: all(
            sample(table, seed, int(stream), delivery_entity(0, event), number) == time_s
            for (stream, event, number), time_s in wanted.items()
        )
    )


def fails_on(probability: float, wanted: dict[tuple[int, int], bool]) -> int:
    """A seed under which the consumer fails on (event, delivery), or does not, as wanted."""
    return seed_where(
        lambda seed: all(
            (uniform(seed, int(Stream.RECEIVER_ERROR), delivery_entity(0, event), number) < probability)
            == fails
            for (event, number), fails in wanted.items()
        )
    )


# The way of a message.


def test_an_event_is_published_stored_sent_served_and_acknowledged(engine: Engine) -> None:
    """A second each way, half a second to persist, two to serve.

    Event 0: stored at 1.5, arrives at 2.5, visible at 4.5. Event 1 is stored at 1.75 and sent at once; it
    arrives at 2.75 and waits until 4.5.
    """
    scenario = small_world(
        network=A_SECOND_AWAY,
        broker_push={"persist": constant(0.5)},
        receiver={"service": constant(2.0)},
        run={"duration_s": 10.0},
    )
    run = consume(scenario, engine, [0.0, 0.25])
    assert visible(run) == [4.5, 6.5]
    assert first_attempts(run) == [1.5, 1.75]
    assert (attempts(run), copies(run)) == ([1, 1], [1, 1])
    assert (run.deliveries.via == Via.QUEUE).all()
    # Requests are the publishes. Sent by clients: two of 600 + 1000 bytes and two acks of 60; by the broker
    # two messages of 1060. Its connection is up all the time, and too short-lived for a heartbeat.
    names = ("requests", "request_bytes", "response_bytes", "connections_opened", "connections_peak")
    assert counted(run, *names) == [2, 3320, 2120, 1, 1]
    names = ("redeliveries", "errors", "dead_letters", "receiver_queue_max")
    assert counted(run, *names) == [0, 0, 0, 1]
    assert counted(run, "connection_s", "receiver_busy_s", "receiver_queue_integral_s") == [10.0, 4.0, 1.75]


def test_a_publish_is_a_request_when_the_event_is_created(engine: Engine) -> None:
    """Two subscribers; the event before the window is in the series and not in the counters."""
    scenario = small_world(
        subscribers={"count": 2},
        run={"warmup_s": 2.0, "duration_s": 10.0, "series_bin_s": 1.0},
    )
    run = consume(scenario, engine, [1.0, 2.0, 9.5])
    assert run.counters.requests == 4
    assert [int(n) for n in run.series[:10]] == [0, 2, 2, 0, 0, 0, 0, 0, 0, 2]


@pytest.mark.parametrize(("prefetch", "sent_s"), [(1, [1.0, 5.0, 9.0]), (2, [1.0, 1.0, 5.0]), (3, [1.0] * 3)])
def test_at_most_prefetch_messages_are_unacknowledged(
    prefetch: int, sent_s: list[float], engine: Engine
) -> None:
    """Stored at 1; two seconds of service between two of transit: a slot is busy for four."""
    scenario = small_world(
        network=A_SECOND_AWAY,
        broker_push={"prefetch": prefetch},
        receiver={"workers": 3, "service": constant(2.0)},
    )
    run = consume(scenario, engine, [0.0, 0.0, 0.0])
    assert first_attempts(run) == sent_s
    assert visible(run) == [time_s + 3.0 for time_s in sent_s]


def test_messages_are_in_the_order_of_storing(engine: Engine) -> None:
    """Persisting takes 3 s for event 0 and no time for 1 and 2: stored at 3, 1 and 2; served for 5 s each."""
    persist = one_of(0.0, 3.0)
    stored = {(Stream.PERSIST, 0, 0): 3.0, (Stream.PERSIST, 1, 0): 0.0, (Stream.PERSIST, 2, 0): 0.0}
    scenario = small_world(
        broker_push={"persist": persist, "prefetch": 1}, receiver={"service": constant(5.0)}
    )
    run = consume(scenario, engine, [0.0, 1.0, 2.0], draws(persist, stored))
    assert first_attempts(run) == [11.0, 1.0, 6.0]
    assert visible(run) == [16.0, 6.0, 11.0]


def test_what_is_stored_at_one_instant_is_in_the_order_of_events(engine: Engine) -> None:
    run = consume(small_world(receiver={"service": constant(1.0)}), engine, [2.0, 2.0, 2.0])
    assert visible(run) == [3.0, 4.0, 5.0]


def test_no_message_overtakes_another(engine: Engine) -> None:
    """Event 1 is stored at 1, sent at once, and arrives at 6; event 0 is stored at 5 and a second under way.

    They arrive at one instant, the one sent first before the one of the lower number.
    """
    one_way = one_of(1.0, 5.0)
    seed = draws(
        one_way,
        {
            (Stream.PUBLISH_TRANSIT, 0, 0): 5.0,
            (Stream.PUBLISH_TRANSIT, 1, 0): 1.0,
            (Stream.MESSAGE_TRANSIT, 1, 1): 5.0,
            (Stream.MESSAGE_TRANSIT, 0, 1): 1.0,
        },
    )
    scenario = small_world(network={"one_way": one_way}, receiver={"service": constant(1.0)})
    assert visible(consume(scenario, engine, [0.0, 0.0], seed)) == [8.0, 7.0]
    # Event 1 half a second later arrives at 6.5; event 0 would be there at 6, and waits behind it.
    assert visible(consume(scenario, engine, [0.0, 0.5], seed)) == [8.5, 7.5]


def test_no_acknowledgement_overtakes_another(engine: Engine) -> None:
    """Two slots. Events 0 and 1 are served at 2; the first ack takes 5 s, the second 1: both come at 7."""
    one_way = one_of(1.0, 5.0)
    seed = draws(
        one_way,
        {(Stream.PUBLISH_TRANSIT, event, 0): 1.0 for event in range(3)}
        | {(Stream.MESSAGE_TRANSIT, event, 1): 1.0 for event in range(3)}
        | {(Stream.ACK_TRANSIT, 0, 1): 5.0, (Stream.ACK_TRANSIT, 1, 1): 1.0},
    )
    scenario = small_world(network={"one_way": one_way}, broker_push={"prefetch": 2}, receiver={"workers": 2})
    run = consume(scenario, engine, [0.0, 0.0, 0.0], seed)
    assert first_attempts(run) == [1.0, 1.0, 7.0]


# Failures of the consumer.


def test_what_the_consumer_fails_on_is_redelivered_before_what_waits(engine: Engine) -> None:
    """A second each way and one of service, one slot; both events are stored at 1.

    Event 0 arrives at 2, fails at 3, is back at 4, comes at 5, is visible at 6; its ack frees the slot at 7.
    """
    scenario = small_world(
        network=A_SECOND_AWAY,
        broker_push={"prefetch": 1},
        receiver={"service": constant(1.0), "error_probability": 0.5},
        run={"duration_s": 20.0, "warmup_s": 0.0},
    )
    seed = fails_on(0.5, {(0, 1): True, (0, 2): False, (1, 1): False})
    run = consume(scenario, engine, [0.0, 0.0], seed)
    assert visible(run) == [6.0, 9.0]
    assert first_attempts(run) == [1.0, 7.0]
    assert (attempts(run), copies(run)) == ([2, 1], [2, 1])
    assert counted(run, "errors", "redeliveries", "dead_letters") == [1, 1, 0]
    # Three answers of 60 bytes beside two publishes, three messages; a heartbeat of 16 each way at 15.
    assert counted(run, "requests", "request_bytes", "response_bytes") == [2, 3396, 3196]


def test_a_message_that_always_fails_is_dead_lettered(engine: Engine) -> None:
    """One second each: event 0 fails at 1, 2 and 3, and with it goes event 1's way: 4, 5 and 6."""
    scenario = small_world(
        broker_push={"prefetch": 1, "max_deliveries": 3},
        receiver={"service": constant(1.0), "error_probability": 1.0},
    )
    run = consume(scenario, engine, [0.0, 0.0])
    assert visible(run) == ["lost", "lost"]
    assert first_attempts(run) == [0.0, 3.0]
    assert (attempts(run), copies(run)) == ([3, 3], [3, 3])
    assert counted(run, "errors", "redeliveries", "dead_letters", "receiver_busy_s") == [6, 4, 2, 6.0]


# The end of a connection.


@pytest.mark.parametrize(("service_s", "first_visible_s"), [(4.0, 6.0), (3.0, 5.0)])
def test_what_is_unacknowledged_when_the_receiver_goes_down_is_sent_again(
    service_s: float, first_visible_s: float, engine: Engine
) -> None:
    """A second each way; the receiver is down over [6, 8).

    Event 0 arrives at 2. Served for 4 s it ends as the connection does, so no ack leaves; served for 3 s its
    ack would arrive at that instant and is lost. Event 1, sent at 5, would arrive then, and is lost too. The
    consumer notices at 7 and connects at 8; both come again at 9, in their order.
    """
    scenario = small_world(
        network=A_SECOND_AWAY, receiver={"service": constant(service_s)} | outage(6.0, 8.0)
    )
    run = consume(scenario, engine, [0.0, 4.0])
    assert visible(run) == [first_visible_s, 9.0 + 2.0 * service_s]
    assert (attempts(run), copies(run)) == ([2, 2], [2, 1])
    assert first_attempts(run) == [1.0, 5.0]
    assert counted(run, "redeliveries", "errors", "dead_letters", "connections_opened") == [2, 0, 0, 2]
    assert run.counters.connection_s == 98.0


def test_an_acknowledgement_that_arrived_before_is_not_forgotten(engine: Engine) -> None:
    """As above with 2.75 s of service: the ack is there a quarter second before the end."""
    scenario = small_world(network=A_SECOND_AWAY, receiver={"service": constant(2.75)} | outage(6.0, 8.0))
    run = consume(scenario, engine, [0.0])
    assert (visible(run), attempts(run), copies(run)) == ([4.75], [1], [1])


def test_what_was_accepted_before_goes_on_and_becomes_a_duplicate(engine: Engine) -> None:
    """Event 0 is in service over [0, 10) through the outage [2, 3), and comes again at 3.

    The worker is free at 10: the duplicate is served until 20, event 1 until 30. Acknowledged is only the
    second copy, at 20.
    """
    scenario = small_world(
        broker_push={"prefetch": 1}, receiver={"service": constant(10.0)} | outage(2.0, 3.0)
    )
    run = consume(scenario, engine, [0.0, 1.0])
    assert visible(run) == [10.0, 30.0]
    assert (attempts(run), copies(run)) == ([2, 1], [2, 1])
    assert first_attempts(run) == [0.0, 20.0]
    assert counted(run, "receiver_busy_s", "receiver_queue_integral_s") == [30.0, 7.0]
    # Two publishes, two acks (none at 10: its connection is gone), heartbeats at 18, 33, …, 93.
    assert run.counters.request_bytes == 3200 + 120 + 6 * 16


def test_put_back_messages_come_before_those_never_sent_in_the_order_of_storing(engine: Engine) -> None:
    """Two slots, ten seconds of service: 0 and 1 are out when the receiver goes down at 1; 2 waits.

    They come again at 2, and are served at 10 and 20 for nothing but 1, whose first copy ended at 20.
    """
    scenario = small_world(
        broker_push={"prefetch": 2}, receiver={"service": constant(10.0)} | outage(1.0, 2.0)
    )
    run = consume(scenario, engine, [0.0, 0.25, 0.5])
    assert visible(run) == [10.0, 20.0, 50.0]
    assert attempts(run) == [2, 2, 1]
    assert first_attempts(run) == [0.0, 0.25, 30.0]


def test_a_connection_lives_for_its_lifetime(engine: Engine) -> None:
    """Ten seconds, noticed after one of transit, a second of back-off: up at 0, 12, 24 and 36.

    The back-off of 1, 2, 4, … is reset each time. The event of 10 is stored at 11, when nobody is there.
    """
    scenario = small_world(
        network=A_SECOND_AWAY,
        broker_push={
            "lifetime": constant(10.0),
            "reconnect": {"kind": "exponential", "base_s": 1.0, "jitter": "none"},
        },
        run={"duration_s": 40.0},
    )
    run = consume(scenario, engine, [10.0])
    assert (visible(run), first_attempts(run)) == ([13.0], [12.0])
    assert counted(run, "connections_opened", "connection_s") == [4, 34.0]


def test_the_back_off_is_drawn_for_each_connection(engine: Engine) -> None:
    """Full jitter over 8 s after a life of 10: up again at 10 + 8u."""
    scenario = small_world(
        broker_push={
            "lifetime": constant(10.0),
            "reconnect": {"kind": "fixed", "base_s": 8.0, "jitter": "full"},
        },
    )
    u = uniform(3, int(Stream.RECONNECT_JITTER), 0, 1)
    assert visible(consume(scenario, engine, [10.0], 3)) == [pytest.approx(10.0 + 8.0 * u)]


def test_a_set_up_that_an_outage_interrupts_lengthens_the_back_off(engine: Engine) -> None:
    """A second each way, one round trip of set-up (2 s); down over [3, 4) and [6, 7); back-off 1, 2, ….

    Up at 2, lost at 3, noticed at 4; set up from 5, down at 6; 2 s later, at 8, set up again, up at 10.
    """
    scenario = small_world(
        network=A_SECOND_AWAY | {"setup_round_trips": 1, "setup_bytes": 500},
        broker_push={"reconnect": {"kind": "exponential", "base_s": 1.0, "jitter": "none"}},
        receiver={
            "outages": [{"start_s": 3.0, "duration_s": 1.0}, {"start_s": 6.0, "duration_s": 1.0}],
        },
        run={"duration_s": 13.0},
    )
    run = consume(scenario, engine, [0.0])
    assert (visible(run), attempts(run), first_attempts(run)) == ([11.0], [2], [2.0])
    # A publish, three set-ups and an acknowledgement, which leaves at 11.
    assert counted(run, "connections_opened", "request_bytes", "connection_s") == [3, 3160, 4.0]


def test_a_connection_does_not_come_about_in_the_instant_the_receiver_goes_down(engine: Engine) -> None:
    """Set up over [0, 2), down over [2, 3): known at once, tried again a second later, up at 5."""
    scenario = small_world(
        network=A_SECOND_AWAY | {"setup_round_trips": 1}, receiver=outage(2.0, 3.0), run={"duration_s": 10.0}
    )
    run = consume(scenario, engine, [0.0])
    assert (visible(run), first_attempts(run), run.counters.connection_s) == ([6.0], [5.0], 5.0)


def test_a_receiver_that_is_down_at_first_connects_when_it_is_up(engine: Engine) -> None:
    run = consume(small_world(receiver=outage(0.0, 5.0)), engine, [1.0])
    assert (visible(run), first_attempts(run)) == ([5.0], [5.0])
    assert counted(run, "connections_opened", "connection_s") == [1, 95.0]


@pytest.mark.parametrize(("lifetime_s", "noticed_s"), [(7.0, 11.0), (6.0, 9.0), (1.0, 5.0), (6.25, 11.0)])
def test_the_end_of_a_silent_connection_is_noticed_by_its_heartbeats(
    lifetime_s: float, noticed_s: float, engine: Engine
) -> None:
    """Heartbeats every 2 s, given up 5 s after the last: the one at 6, at 4 (that of the end itself is not
    heard any more), or the set-up at 0. Both sides connect again a second later.
    """
    scenario = small_world(
        broker_push={
            "lifetime": constant(lifetime_s),
            "silent": True,
            "heartbeat_s": 2.0,
            "heartbeat_timeout_s": 5.0,
            "max_deliveries": 2,
        },
        run={"duration_s": noticed_s + 1.5},
    )
    run = consume(scenario, engine, [lifetime_s])
    assert (visible(run), first_attempts(run), attempts(run)) == ([noticed_s + 1.0], [lifetime_s], [2])
    assert run.counters.connection_s == lifetime_s + 0.5


def test_a_silent_connection_is_given_up_no_earlier_than_it_ends(engine: Engine) -> None:
    """A timeout of 1 s is shorter than the 4 s between heartbeats: noticed at the end, at 3."""
    scenario = small_world(
        broker_push={
            "lifetime": constant(3.0), "silent": True, "heartbeat_s": 4.0, "heartbeat_timeout_s": 1.0,
        },
    )  # fmt: skip
    assert visible(consume(scenario, engine, [3.0])) == [4.0]


def test_the_broker_sends_into_a_silent_void_up_to_prefetch(engine: Engine) -> None:
    """Lost at 7, noticed at 11: of three events two are sent into the void; all come at 12, in order."""
    scenario = small_world(
        broker_push={
            "lifetime": constant(7.0),
            "silent": True,
            "heartbeat_s": 2.0,
            "heartbeat_timeout_s": 5.0,
            "prefetch": 2,
        },
        receiver={"workers": 3},
        run={"duration_s": 13.0},
    )
    run = consume(scenario, engine, [8.0, 8.5, 9.0])
    assert visible(run) == [12.0, 12.0, 12.0]
    assert first_attempts(run) == [8.0, 8.5, 12.0]
    assert (attempts(run), copies(run)) == ([2, 2, 1], [1, 1, 1])
    # Five messages; heartbeats at 2, 4 and 6 while it lasted.
    assert counted(run, "redeliveries", "response_bytes") == [2, 5 * 1060 + 3 * 16]


def test_drops_count_as_deliveries_and_a_copy_in_service_may_still_save_a_dead_letter(engine: Engine) -> None:
    """One delivery allowed; down over [6, 8). Event 0 is in service until 7, event 1 under way: lost."""
    scenario = small_world(
        network=A_SECOND_AWAY,
        broker_push={"max_deliveries": 1},
        receiver={"service": constant(5.0)} | outage(6.0, 8.0),
    )
    run = consume(scenario, engine, [0.0, 4.0, 8.0])
    assert visible(run) == [7.0, "lost", 15.0]
    assert (attempts(run), copies(run)) == ([1, 1, 1], [1, 0, 1])
    assert counted(run, "dead_letters", "redeliveries") == [2, 0]


# Automatic acknowledgement.


def test_automatic_acknowledgement_knows_no_prefetch_and_loses_what_is_under_way(engine: Engine) -> None:
    """A second each way, down over [6, 8). Sent at 5 and 5.5: lost. Stored at 6.5: sent at 8."""
    scenario = small_world(
        network=A_SECOND_AWAY,
        broker_push={"prefetch": 1},
        receiver={"acknowledge": "on_receipt", "service": constant(3.0)} | outage(6.0, 8.0),
        run={"duration_s": 14.0},
    )
    run = consume(scenario, engine, [0.0, 0.5, 4.0, 4.5, 5.5])
    assert visible(run) == [5.0, 8.0, "lost", "lost", 12.0]
    assert (attempts(run), copies(run)) == ([1] * 5, [1, 1, 0, 0, 1])
    # Nobody acknowledges: clients send five publishes and nothing else.
    assert counted(run, "request_bytes", "redeliveries", "dead_letters") == [8000, 0, 0]


def test_automatic_acknowledgement_loses_what_the_consumer_fails_on(engine: Engine) -> None:
    scenario = small_world(receiver={"acknowledge": "on_receipt", "error_probability": 1.0})
    run = consume(scenario, engine, [1.0])
    assert (visible(run), attempts(run), copies(run)) == (["lost"], [1], [1])
    assert counted(run, "errors", "dead_letters") == [1, 0]


def test_automatic_acknowledgement_loses_all_that_is_sent_into_a_silent_void(engine: Engine) -> None:
    """Lost at 7, noticed at 11, connected at 12."""
    scenario = small_world(
        broker_push={
            "lifetime": constant(7.0), "silent": True, "heartbeat_s": 2.0, "heartbeat_timeout_s": 5.0,
            "prefetch": 1,
        },
        receiver={"acknowledge": "on_receipt"},
        run={"duration_s": 15.0},
    )  # fmt: skip
    assert visible(consume(scenario, engine, [8.0, 9.0, 11.0])) == ["lost", "lost", 12.0]


def test_what_was_under_way_on_a_lost_connection_is_lost_before_it_would_have_arrived(engine: Engine) -> None:
    """Four seconds each way: sent at 4, due at 8; the connection drops at 5, the world ends at 6."""
    scenario = small_world(
        network={"one_way": constant(4.0)},
        receiver={"acknowledge": "on_receipt"} | outage(5.0, 5.5),
        run={"duration_s": 6.0},
    )
    assert visible(consume(scenario, engine, [0.0])) == ["lost"]
    assert visible(consume(scenario.with_values(**{"receiver.outages": ()}), engine, [0.0])) == ["pending"]


# The horizon, and what counters cover.


@pytest.mark.parametrize("acknowledge", ["after_processing", "on_receipt"])
def test_what_is_alive_when_the_world_ends_is_pending(acknowledge: str, engine: Engine) -> None:
    """A second each way, 4 s of service; the world ends at 10.

    Event 0 is visible at 6, event 1 at 10 and so not in this world, event 2 waits, event 3 is under way
    until 10, and event 4 is not stored.
    """
    scenario = small_world(
        network=A_SECOND_AWAY,
        receiver={"service": constant(4.0), "acknowledge": acknowledge},
        run={"duration_s": 10.0},
    )
    run = consume(scenario, engine, [0.0, 1.0, 2.0, 8.0, 9.0])
    assert visible(run) == [6.0, "pending", "pending", "pending", "pending"]
    assert attempts(run) == [1, 1, 1, 1, 0]


def test_counters_cover_the_window(engine: Engine) -> None:
    """Window [20, 50) of a world of 60. Connections over [0, 25), [26, 51), …; heartbeats 10 s after each
    beginning: at 10, 20, 36, 46, 62, …, of which 20, 36 and 46 count.

    Event 19 is published and sent before, event 49 within; both acks leave at once.
    """
    scenario = small_world(
        broker_push={"lifetime": constant(25.0), "heartbeat_s": 10.0},
        run={"warmup_s": 20.0, "duration_s": 50.0, "drain_s": 10.0},
    )
    run = consume(scenario, engine, [19.0, 49.0])
    assert counted(run, "requests", "request_bytes", "response_bytes") == [1, 1660 + 48, 1060 + 48]
    names = ("connections_opened", "connections_peak", "connection_s")
    assert counted(run, *names) == [1, 1, 29.0]


def test_each_subscriber_has_a_queue_and_a_consumer_of_its_own(engine: Engine) -> None:
    scenario = small_world(subscribers={"count": 2}, receiver={"service": constant(2.0)})
    run = consume(scenario, engine, [1.0, 1.0])
    assert [visible(run, 0), visible(run, 1)] == [[3.0, 5.0], [3.0, 5.0]]
    names = ("requests", "connections_opened", "connections_peak", "connection_s", "receiver_queue_max")
    assert counted(run, *names) == [4, 2, 2, 200.0, 1]
