"""Protects each rule of streaming, in both engines, by a world small enough to work out by hand.

Unless a test says otherwise a client connects at 0, a transit takes a second and everything else no time: so
the stream is opened at 1, the client hears of it at 2, and a back-off takes a second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sim.distributions import compile_distribution, sample
from sim.engine import ENGINES, Engine, run_once
from sim.randomness import Stream, delivery_entity
from sim.records import Replication
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

A_SECOND_LATER = {"kind": "fixed", "base_s": 1.0, "jitter": "none"}


def stream_world(streaming: dict[str, Any] | None = None, **tables: dict[str, Any]) -> Scenario:
    spec = {"reconnect": A_SECOND_LATER} | (streaming or {})
    return small_world(**({"network": {"one_way": constant(1.0)}} | tables), streaming=spec)


def listen(scenario: Scenario, engine: Engine, events: list[float], seed: int = 1) -> Replication:
    return run_once(scenario, "streaming", np.array(events), seed, engine)


def test_events_come_one_transit_after_they_happen(engine: Engine) -> None:
    """What happened before the opening at 1 is sent then; nothing comes before the 200 at 2."""
    run = listen(stream_world(), engine, [0.5, 0.75, 1.25, 5.0])
    assert visible(run) == [2.0, 2.0, 2.25, 6.0]
    assert first_attempts(run) == [1.0, 1.0, 1.25, 5.0]
    assert (attempts(run), copies(run)) == ([1] * 4, [1] * 4)
    assert counted(run, "requests", "connections_opened", "connections_peak", "errors") == [1, 1, 1, 0]


def test_the_feed_s_lag_is_waited_for(engine: Engine) -> None:
    scenario = stream_world(provider_api={"feed_lag_s": 3.0})
    assert visible(listen(scenario, engine, [5.0])) == [9.0]


def test_nothing_overtakes_on_a_stream(engine: Engine) -> None:
    """Event 0, sent at 10, takes 4 s; event 1, sent at 11, none: it comes with event 0."""
    scenario = stream_world(network={"one_way": one_of(0.0, 4.0)})
    one_way = compile_distribution(scenario.network.one_way)

    def draws(seed: int, stream: Stream, entity: int) -> float:
        return sample(one_way, seed, int(stream), entity, 0)

    seed = seed_where(
        lambda seed: (
            draws(seed, Stream.POLL_REQUEST_TRANSIT, 0) == draws(seed, Stream.POLL_RESPONSE_TRANSIT, 0) == 0.0
            and draws(seed, Stream.MESSAGE_TRANSIT, delivery_entity(0, 0)) == 4.0
            and draws(seed, Stream.MESSAGE_TRANSIT, delivery_entity(0, 1)) == 0.0
        )
    )
    assert visible(listen(scenario, engine, [10.0, 11.0], seed)) == [14.0, 14.0]


@pytest.mark.parametrize("event_s", [11.0, 11.5])
@pytest.mark.parametrize(("replay", "outcome"), [(True, 16.0), (False, "lost")])
def test_what_is_under_way_when_a_stream_ends_is_lost_or_replayed(
    replay: bool, outcome: float | str, event_s: float, engine: Engine
) -> None:
    """Up at 2 for 10 s. Sent at 11, it would arrive just as the stream ends at 12: too late.

    Noticed at 13, back at 14, opened at 15, heard of at 16.
    """
    scenario = stream_world({"lifetime": constant(10.0), "replay": replay}, run={"duration_s": 20.0})
    run = listen(scenario, engine, [event_s, 19.0] if replay else [event_s, 15.5])
    assert visible(run)[0] == outcome
    assert attempts(run)[0] == (2 if replay else 1)
    assert first_attempts(run)[0] == event_s
    # In use from the request at 0 to 12, and from 14 to the end.
    assert counted(run, "requests", "connection_s") == [2, 18.0]


def test_without_replay_what_happens_meanwhile_never_comes(engine: Engine) -> None:
    """Away from 12 to 15: event 13 is lost; 15.5 comes at 16.5. At the end, away again, 27 is lost too."""
    scenario = stream_world({"lifetime": constant(10.0), "replay": False}, run={"duration_s": 28.0})
    assert visible(listen(scenario, engine, [13.0, 15.5, 27.0])) == ["lost", 16.5, "lost"]
    with_replay = stream_world({"lifetime": constant(10.0)}, run={"duration_s": 28.0})
    assert visible(listen(with_replay, engine, [13.0, 15.5, 27.0])) == [16.0, 16.5, "pending"]


def test_a_silent_end_is_noticed_when_heartbeats_fail_to_come(engine: Engine) -> None:
    """Up at 2, ended at 12; heartbeats at 6 and 10, so noticed at 10 + 6 = 16, back at 17, heard of at 19."""
    silent = {"lifetime": constant(10.0), "silent": True, "heartbeat_s": 4.0, "heartbeat_timeout_s": 6.0}
    run = listen(stream_world(silent, run={"duration_s": 25.0}), engine, [11.5])
    assert visible(run) == [19.0]
    # Answers of 300 bytes at 1 and 18, the event twice; heartbeats at 6, 10 and 23.
    assert run.counters.response_bytes == 2 * 300 + 2 * 1008 + 3 * 16


def test_a_receiver_that_goes_down_ends_its_stream(engine: Engine) -> None:
    """Down over [10, 15): noticed at 11, rested at 12, but up only at 15; heard of at 17."""
    scenario = stream_world(receiver=outage(10.0, 15.0))
    run = listen(scenario, engine, [9.5, 12.0])
    assert visible(run) == [17.0, 17.0]
    assert counted(run, "requests", "errors") == [2, 0]


def test_a_slow_receiver_keeps_its_stream(engine: Engine) -> None:
    run = listen(stream_world(receiver=outage(10.0, 15.0, "slow")), engine, [12.0])
    assert visible(run) == [13.0]
    assert run.counters.requests == 1


def test_an_api_that_fails_ends_all_streams_and_refuses_new_ones(engine: Engine) -> None:
    """Over [10, 15). Noticed at 11, tried at 12, refused at 13, known at 14, tried at 15, heard of at 17."""
    run = listen(stream_world(provider_api=outage(10.0, 15.0)), engine, [12.0])
    assert visible(run) == [17.0]
    assert counted(run, "requests", "errors", "connections_opened") == [3, 1, 3]


def test_the_back_off_grows_with_failures_and_a_stream_resets_it(engine: Engine) -> None:
    """1, 2, 4 s without transit: the API fails over [10, 14.5).

    Ended and noticed at 10; refused at 11 and, 2 s later, at 13; opened at 17; at its end, 27, back at 28.
    """
    doubling = {"kind": "exponential", "base_s": 1.0, "factor": 2.0, "jitter": "none"}
    scenario = stream_world(
        {"reconnect": doubling, "lifetime": constant(10.0)},
        network={"one_way": constant(0.0)},
        provider_api=outage(10.0, 14.5),
        run={"duration_s": 30.0},
    )
    run = listen(scenario, engine, [12.0, 27.5])
    assert visible(run) == [17.0, 28.0]
    assert run.counters.requests == 5


def test_a_429_is_waited_out(engine: Engine) -> None:
    """One connect in 20 s. Ended at 5, tried at 6: 429, again after 14 s, so at 20."""
    scenario = stream_world(
        {"lifetime": constant(5.0)},
        network={"one_way": constant(0.0)},
        provider_api={"rate_limit": {"requests": 1, "per_s": 20.0}},
        run={"duration_s": 24.0},
    )
    run = listen(scenario, engine, [10.0])
    assert visible(run) == [20.0]
    assert counted(run, "requests", "rejected") == [3, 1]


def test_a_connect_unanswered_is_given_up(engine: Engine) -> None:
    """The API swallows what arrives before 5: sent at 0, given up at 4, sent again at 5."""
    scenario = stream_world({"connect_timeout_s": 4.0}, provider_api=outage(0.0, 5.0, "black_hole"))
    run = listen(scenario, engine, [1.0])
    assert visible(run) == [7.0]
    assert counted(run, "requests", "timeouts", "connection_s") == [2, 1, 4.0 + 95.0]


def test_what_the_feed_no_longer_retains_is_lost_to_who_was_away(engine: Engine) -> None:
    """Only the newest is replayed at 15; what happens on an open stream all comes."""
    scenario = stream_world({"lifetime": constant(10.0)}, provider_api={"retention": {"events": 1}})
    assert visible(listen(scenario, engine, [5.0, 5.25, 12.5, 13.0])) == [6.0, 6.25, "lost", 16.0]


def test_connecting_takes_a_set_up_and_a_worker_s_time(engine: Engine) -> None:
    """Two round trips are 4 s, the request a second, the API 3, the answer a second: heard of at 9."""
    scenario = stream_world(
        network={"one_way": constant(1.0), "setup_round_trips": 2, "setup_bytes": 5000},
        provider_api={"workers": 1, "service": constant(3.0)},
    )
    run = listen(scenario, engine, [1.0])
    assert visible(run) == [9.0]
    assert first_attempts(run) == [8.0]
    assert counted(run, "request_bytes", "provider_busy_s") == [5600, 3.0]


def test_clients_queue_for_the_api_when_all_come_at_once(engine: Engine) -> None:
    """Three seconds each: opened at 4, 7 and 10, heard of a second later."""
    scenario = stream_world(
        {"connect_timeout_s": 20.0},
        subscribers={"count": 3},
        provider_api={"workers": 1, "service": constant(3.0)},
        run={"duration_s": 50.0},
    )
    run = listen(scenario, engine, [0.0])
    assert [visible(run, s) for s in range(3)] == [[5.0], [8.0], [11.0]]
    assert run.counters.provider_queue_max == 2


def test_messages_at_one_instant_join_the_queue_one_by_one(engine: Engine) -> None:
    """One worker, 2 s each; three events at the opening."""
    run = listen(stream_world(receiver={"service": constant(2.0)}), engine, [0.0, 0.25, 0.5])
    assert visible(run) == [4.0, 6.0, 8.0]
    assert run.counters.receiver_queue_max == 2


def test_a_stream_opened_in_the_warm_up_is_open_in_the_window(engine: Engine) -> None:
    """Heartbeats at 17 and 32 and the event fall into [10, 40), the connect does not."""
    scenario = stream_world(run={"warmup_s": 10.0, "duration_s": 40.0})
    run = listen(scenario, engine, [20.0])
    assert counted(run, "requests", "connections_peak", "connection_s") == [0, 1, 30.0]
    assert run.counters.response_bytes == 1008 + 2 * 16
