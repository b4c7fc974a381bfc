"""Protects each rule of `broker_pull`, in both engines, by a world small enough to work out by hand.

Unless a test says otherwise there is one partition and one consumer, nothing takes time, and the broker
holds a fetch for 100 s, so that a consumer fetches when it has worked its batch off.
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
NEVER_COMMITS = {"commit_interval_s": 1e9}


def log_world(broker_pull: dict[str, Any] | None = None, **tables: dict[str, Any]) -> Scenario:
    patient = {"fetch_max_wait_s": 100.0} | (broker_pull or {})
    return small_world(broker_pull=patient, **tables)


def consume(scenario: Scenario, engine: Engine, events: ArrayLike, seed: int = 1) -> Replication:
    return run_once(scenario, "broker_pull", np.array(events, dtype=np.float64), seed, engine)


def in_partitions(partitions: int, *wanted: int) -> int:
    """A seed under which events 0, 1, … are written to the partitions wanted, at subscriber 0."""
    return seed_where(
        lambda seed: all(
            int(partitions * uniform(seed, int(Stream.PARTITION), delivery_entity(0, event), 0)) == partition
            for event, partition in enumerate(wanted)
        )
    )


def fails_on(probability: float, wanted: dict[tuple[int, int], bool]) -> int:
    """A seed under which the consumer fails on (event, copy), or does not, as wanted."""
    return seed_where(
        lambda seed: all(
            (uniform(seed, int(Stream.RECEIVER_ERROR), delivery_entity(0, event), copy) < probability)
            == fails
            for (event, copy), fails in wanted.items()
        )
    )


# Fetches.


def test_a_fetch_is_held_until_there_is_a_record(engine: Engine) -> None:
    """A second each way, half a second of service; held for 10 s.

    Sent at 0, there at 1; event 0 is stored at 3, back at 4, visible at 4.5. Sent at 4.5, there at 5.5,
    answered in vain at 15.5, back at 16.5; sent at once, there at 17.5; event 1 is stored at 18, back at 19.
    """
    scenario = log_world(
        {"fetch_max_wait_s": 10.0},
        network=A_SECOND_AWAY,
        receiver={"service": constant(0.5)},
        run={"duration_s": 20.0},
    )
    run = consume(scenario, engine, [2.0, 17.0])
    assert visible(run) == [4.5, 19.5]
    assert first_attempts(run) == [0.0, 16.5]
    assert (attempts(run), copies(run)) == ([1, 1], [1, 1])
    assert (run.deliveries.via == Via.LOG).all()
    # Two publishes of 1600 bytes, four fetches (the last at 19.5) and a commit, at 16.5, of 600. Answered are
    # three: 300 bytes each and twice 1000 + 70.
    names = ("requests", "empty_responses", "request_bytes", "response_bytes")
    assert counted(run, *names) == [7, 1, 6200, 3040]
    assert counted(run, "connections_opened", "connections_peak", "redeliveries") == [1, 1, 0]
    # Fetches are out over [0, 4), [4.5, 16.5), [16.5, 19) and [19.5, 20).
    assert counted(run, "connection_s", "receiver_busy_s") == [19.0, 1.0]


def test_an_event_is_stored_one_transit_and_one_write_after_it_is_created(engine: Engine) -> None:
    """Stored at 2 + 1 + 0.25, and at the consumer a second later."""
    scenario = log_world({"persist": constant(0.25)}, network=A_SECOND_AWAY)
    assert visible(consume(scenario, engine, [2.0])) == [4.25]


def test_records_that_are_there_are_answered_at_once(engine: Engine) -> None:
    """Three events fall into the 10 s of service of the first, and come as one batch at 11."""
    scenario = log_world(receiver={"service": constant(10.0)})
    run = consume(scenario, engine, [1.0, 2.0, 3.0, 4.0])
    assert visible(run) == [11.0, 21.0, 31.0, 41.0]
    assert first_attempts(run) == [0.0, 11.0, 11.0, 11.0]
    assert counted(run, "receiver_queue_max", "receiver_queue_integral_s") == [2, 30.0]


@pytest.mark.parametrize(
    ("fetch_min", "visible_s", "empty"),
    [(1, [1.0, 4.0, 17.0], 1), (2, [4.0, 4.0, 24.0], 1), (3, [10.0, 10.0, 20.0], 0)],
)
def test_a_fetch_is_answered_with_enough_records_or_after_long_enough(
    fetch_min: int, visible_s: list[float], empty: int, engine: Engine
) -> None:
    """Events at 1, 4 and 17, fetches held for 10 s.

    One is enough: answered at 1, 4, 14 (in vain) and 17. Two: at 4, 14 (in vain), and at 24 with one. Three:
    at 10 with two, and at 20 with one.
    """
    scenario = log_world({"fetch_min": fetch_min, "fetch_max_wait_s": 10.0}, run={"duration_s": 25.0})
    run = consume(scenario, engine, [1.0, 4.0, 17.0])
    assert visible(run) == visible_s
    assert run.counters.empty_responses == empty


def test_records_stored_at_one_instant_are_answered_together(engine: Engine) -> None:
    """One is enough, and the other two stored just then come with it: nothing else is fetched before 2."""
    scenario = log_world(receiver={"service": constant(1.0)})
    run = consume(scenario, engine, [1.0, 1.0, 1.0])
    assert visible(run) == [2.0, 3.0, 4.0]
    assert first_attempts(run) == [0.0, 0.0, 0.0]


def test_an_answer_carries_max_records(engine: Engine) -> None:
    """Five events at 1, two a fetch: at 1, at 3 and at 5."""
    scenario = log_world({"max_records": 2}, receiver={"service": constant(1.0)})
    run = consume(scenario, engine, [1.0] * 5)
    assert visible(run) == [2.0, 3.0, 4.0, 5.0, 6.0]
    assert first_attempts(run) == [0.0, 0.0, 3.0, 3.0, 5.0]


def test_a_consumer_idles_after_an_empty_answer_only(engine: Engine) -> None:
    """Not held, four seconds of idling: asked at 0, 4 and 8; event 5 is served over [8, 9)."""
    scenario = log_world(
        {"fetch_max_wait_s": 0.0, "idle_s": 4.0} | NEVER_COMMITS,
        receiver={"service": constant(1.0)},
        run={"duration_s": 20.0},
    )
    run = consume(scenario, engine, [5.0, 9.0])
    assert visible(run) == [9.0, 10.0]
    # Fetches at 0, 4, 8, 9, 10, 14 and 18; two publishes.
    assert counted(run, "requests", "empty_responses") == [9, 5]


def test_the_first_fetch_of_a_connection_sets_it_up(engine: Engine) -> None:
    """Two round trips of 2 s and a transit: there at 5, back at 6 with the event of 1; then 2 s a fetch."""
    scenario = log_world(
        NEVER_COMMITS,
        network=A_SECOND_AWAY | {"setup_round_trips": 2, "setup_bytes": 500, "keep_alive": False},
        run={"duration_s": 10.0},
    )
    run = consume(scenario, engine, [1.0, 6.0])
    assert visible(run) == [6.0, 8.0]
    # Two publishes, fetches at 0, 6 and 8, one set-up.
    assert counted(run, "connections_opened", "request_bytes") == [1, 3200 + 1800 + 500]


# Partitions.


@pytest.mark.parametrize(
    ("wanted", "visible_s"),
    [((0, 1, 2), [10.0, 10.0, 20.0]), ((1, 3, 0), [10.0, 20.0, 10.0]), ((2, 1, 3), [10.0, 10.0, 20.0])],
)
def test_a_consumer_works_off_the_partitions_that_are_its_own(
    wanted: tuple[int, ...], visible_s: list[float], engine: Engine
) -> None:
    """Four partitions, two consumers: 0 and 2 are the first's, 1 and 3 the second's, whoever is free."""
    scenario = log_world({"partitions": 4}, receiver={"workers": 2, "service": constant(10.0)})
    run = consume(scenario, engine, [0.0, 0.0, 0.0], in_partitions(4, *wanted))
    assert visible(run) == visible_s


def test_consumers_without_a_partition_idle(engine: Engine) -> None:
    scenario = log_world(receiver={"workers": 5, "service": constant(10.0)})
    run = consume(scenario, engine, [0.0, 0.0, 0.0])
    assert visible(run) == [10.0, 20.0, 30.0]
    assert counted(run, "connections_opened", "connections_peak") == [1, 1]


def test_the_longest_queue_is_that_of_one_consumer(engine: Engine) -> None:
    """Two events to each of two consumers: one waits behind either."""
    scenario = log_world({"partitions": 2}, receiver={"workers": 2, "service": constant(1.0)})
    run = consume(scenario, engine, [0.0] * 4, in_partitions(2, 0, 1, 0, 1))
    assert counted(run, "receiver_queue_max", "receiver_queue_integral_s") == [1, 2.0]
    assert counted(run, "connections_peak", "receiver_busy_s") == [2, 4.0]


def test_a_log_is_in_the_order_of_storing(engine: Engine) -> None:
    """Persisting takes 3 s for event 0 and no time for 1 and 2: stored at 3, 1 and 2; served for 5 s each."""
    scenario = log_world({"persist": one_of(0.0, 3.0)}, receiver={"service": constant(5.0)})
    persist = compile_distribution(scenario.broker_pull.persist)
    seed = seed_where(
        lambda seed: (
            [sample(persist, seed, int(Stream.PERSIST), delivery_entity(0, event), 0) for event in range(3)]
            == [3.0, 0.0, 0.0]
        )
    )
    assert visible(consume(scenario, engine, [0.0, 1.0, 2.0], seed)) == [16.0, 6.0, 11.0]


def test_each_consumer_has_transits_of_its_own(engine: Engine) -> None:
    """Publishing takes no time here, so a record's way is that of the first fetch: there and back."""
    one_way = {"kind": "exponential", "mean_s": 1.0}
    scenario = log_world(
        {"partitions": 2, "fetch_min": 1}, network={"one_way": one_way}, receiver={"workers": 2}
    )
    seed, table = in_partitions(2, 0, 1), compile_distribution(scenario.network.one_way)
    expected = []
    for consumer in (0, 1):
        there_s, back_s = (
            sample(table, seed, int(stream), delivery_entity(0, consumer), 0)
            for stream in (Stream.POLL_REQUEST_TRANSIT, Stream.POLL_RESPONSE_TRANSIT)
        )
        published_s = sample(table, seed, int(Stream.PUBLISH_TRANSIT), delivery_entity(0, consumer), 0)
        expected.append(max(there_s, published_s) + back_s)
    assert visible(consume(scenario, engine, [0.0, 0.0], seed)) == pytest.approx(expected)
    assert len(set(expected)) == 2


# Outages and commits.


@pytest.mark.parametrize(
    ("commit_interval_s", "again", "commits"),
    [(1e9, 3, 0), (7.0, 0, 1), (5.0, 0, 1), (3.0, 0, 2), (0.0, 0, 4)],
)
def test_a_consumer_that_was_down_starts_again_where_it_last_committed(
    commit_interval_s: float, again: int, commits: int, engine: Engine
) -> None:
    """Two seconds of service. Fetched at 0, answered at 1; at 3, with two records; at 7, and held.

    Down over [10, 12), back in its group at 15. What was not committed comes again, to be served over
    [15, 21) for nothing; the event of 15.5 waits for it, or is served at once. Fetches that may commit are
    those of 0, 3, 7 and 15, that long after the last commit or the start, at 0 and 15.
    """
    scenario = log_world(
        {"commit_interval_s": commit_interval_s, "rebalance_s": 3.0},
        receiver={"service": constant(2.0)} | outage(10.0, 12.0),
        run={"duration_s": 16.0, "drain_s": 20.0},
    )
    run = consume(scenario, engine, [1.0, 2.0, 3.0, 15.5])
    assert visible(run) == [3.0, 5.0, 7.0, 23.0 if again else 17.5]
    assert attempts(run) == ([2, 2, 2, 1] if again else [1, 1, 1, 1])
    assert copies(run) == attempts(run)
    assert counted(run, "redeliveries", "connections_opened") == [again, 2]
    # Four publishes, fetches at 0, 3, 7 and 15.
    assert run.counters.requests == 8 + commits


def test_a_commit_covers_what_is_worked_off_when_a_fetch_is_sent(engine: Engine) -> None:
    """Five seconds of service, a commit at least every 4.5 s, down over [12, 13).

    Record 0 is committed at 5, with the fetch that brings 1 and 2. They end at 15, when a commit would be
    due, but the consumer went down at 12: they come again.
    """
    scenario = log_world(
        {"commit_interval_s": 4.5, "rebalance_s": 3.0},
        receiver={"service": constant(5.0)} | outage(12.0, 13.0),
    )
    run = consume(scenario, engine, [0.0, 1.0, 2.0])
    assert visible(run) == [5.0, 10.0, 15.0]
    assert attempts(run) == [1, 2, 2]


def test_a_batch_accepted_before_an_outage_is_worked_off_before_anything_else(engine: Engine) -> None:
    """Ten seconds each, down over [4, 5): the batch of two ends at 20, and only then they come again."""
    scenario = log_world(
        NEVER_COMMITS | {"rebalance_s": 3.0}, receiver={"service": constant(10.0)} | outage(4.0, 5.0)
    )
    run = consume(scenario, engine, [0.0, 0.0])
    assert visible(run) == [10.0, 20.0]
    assert (attempts(run), copies(run)) == ([2, 2], [2, 2])
    assert counted(run, "receiver_busy_s", "receiver_queue_integral_s") == [40.0, 20.0]


@pytest.mark.parametrize(
    ("down_s", "visible_s", "tries"),
    [(1.5, 4.25, 1), (1.75, 4.5, 1), (2.0, 4.75, 2), (2.75, 5.5, 2), (3.0, 3.25, 2)],
)
def test_an_answer_under_way_when_the_receiver_goes_down_is_lost(
    down_s: float, visible_s: float, tries: int, engine: Engine
) -> None:
    """A second each way, half a second of service; the record is stored and answered at 1.75, back at 2.75.

    Down by 1.75, the broker has no one left to answer; down later and by 2.75, the answer is lost. A
    quarter second later the consumer fetches again, and has the record 2 s after that. Down from 3, it has
    it already, and as it did not commit, reads it again.
    """
    scenario = log_world(
        NEVER_COMMITS | {"rebalance_s": 0.0},
        network=A_SECOND_AWAY,
        receiver={"service": constant(0.5)} | outage(down_s, down_s + 0.25),
        run={"duration_s": 20.0},
    )
    run = consume(scenario, engine, [0.75])
    assert (visible(run), attempts(run)) == ([visible_s], [tries])
    assert first_attempts(run) == [down_s + 0.25 if tries == 1 else 0.0]


def test_a_second_outage_before_the_consumer_is_back_delays_it_again(engine: Engine) -> None:
    """Down over [2, 3) and [5, 6), and 3 s to rejoin: not at 6, but at 9; an event of 4 waits till then."""
    scenario = log_world(
        {"rebalance_s": 3.0},
        receiver={"outages": [{"start_s": 2.0, "duration_s": 1.0}, {"start_s": 5.0, "duration_s": 1.0}]},
    )
    run = consume(scenario, engine, [4.0])
    assert (visible(run), first_attempts(run)) == ([9.0], [9.0])
    assert counted(run, "connections_opened", "connection_s") == [2, 93.0]


def test_a_second_outage_while_an_old_batch_is_worked_off_delays_it_again(engine: Engine) -> None:
    """Ten seconds of service, down over [2, 3) and [9, 11): done at 10, back at 14, served again till 24."""
    scenario = log_world(
        NEVER_COMMITS | {"rebalance_s": 3.0},
        receiver={
            "service": constant(10.0),
            "outages": [{"start_s": 2.0, "duration_s": 1.0}, {"start_s": 9.0, "duration_s": 2.0}],
        },
    )
    run = consume(scenario, engine, [0.0, 20.0])
    assert visible(run) == [10.0, 34.0]
    assert attempts(run) == [2, 1]


def test_a_receiver_that_is_down_at_first_joins_when_it_is_up(engine: Engine) -> None:
    run = consume(log_world({"rebalance_s": 3.0}, receiver=outage(0.0, 5.0)), engine, [1.0])
    assert (visible(run), first_attempts(run)) == ([8.0], [8.0])


# Rebalances.


def test_a_fetch_due_while_the_group_rebalances_is_put_off_and_the_position_committed(engine: Engine) -> None:
    """Rebalances at 10, 20, …, 3 s each; empty fetches are held for 4 s.

    Sent at 0, 4 and 8; that due at 12 at 13, with a commit at 12; at 17; that due at 21 at 23, with a commit.
    """
    scenario = log_world(
        {"fetch_max_wait_s": 4.0, "rebalance_every": constant(10.0), "rebalance_s": 3.0} | NEVER_COMMITS,
        run={"duration_s": 24.0, "series_bin_s": 1.0},
    )
    run = consume(scenario, engine, [])
    assert [int(t) for t in np.flatnonzero(run.series)] == [0, 4, 8, 12, 13, 17, 21, 23]
    assert counted(run, "requests", "empty_responses", "connection_s") == [8, 5, 4 * 5 + 1.0]


def test_a_rebalance_noticed_too_late_to_wait_for_still_commits(engine: Engine) -> None:
    """Six seconds of service from 9 on; the rebalance of 10 is over when the next fetch is due at 15.

    Committed there, record 0 does not come again after the outage [16, 17); without rebalances it does.
    """
    tables = {"receiver": {"service": constant(6.0)} | outage(16.0, 17.0), "run": {"duration_s": 19.5}}
    pull = NEVER_COMMITS | {"rebalance_s": 1.0}
    run = consume(log_world(pull | {"rebalance_every": constant(10.0)}, **tables), engine, [9.0])
    assert (visible(run), attempts(run), run.counters.requests) == ([15.0], [1], 5)
    run = consume(log_world(pull, **tables), engine, [9.0])
    assert (visible(run), attempts(run), run.counters.requests) == ([15.0], [2], 4)


def test_a_rebalance_during_a_put_off_fetch_puts_it_off_again(engine: Engine) -> None:
    """Rebalances every 2 s, of 3 s each: after the fetch of 0 none is ever sent again."""
    scenario = log_world(
        {"rebalance_every": constant(2.0), "rebalance_s": 3.0, "fetch_max_wait_s": 1.0} | NEVER_COMMITS,
        run={"duration_s": 50.0, "series_bin_s": 1.0},
    )
    run = consume(scenario, engine, [3.0])
    assert visible(run) == ["pending"]
    # Fetches at 0 and 1, and the publish of 3; the fetch due at 2 commits, and waits for ever.
    assert [int(t) for t in np.flatnonzero(run.series)] == [0, 1, 2, 3]


def test_a_consumer_that_rejoins_has_nothing_to_commit_but_waits_with_its_group(engine: Engine) -> None:
    """Down over [9, 11), back at 14; rebalances at 12.5 and 25, of 3 s: it fetches at 15.5."""
    scenario = log_world(
        {"rebalance_every": constant(12.5), "rebalance_s": 3.0} | NEVER_COMMITS,
        receiver=outage(9.0, 11.0),
        run={"duration_s": 24.0, "series_bin_s": 0.5},
    )
    run = consume(scenario, engine, [20.0])
    assert visible(run) == [20.0]
    # Fetches at 0, 15.5 and 20; the publish of 20.
    assert [int(half) / 2 for half in np.flatnonzero(run.series)] == [0.0, 15.5, 20.0]
    assert run.counters.requests == 4


# Failures on a record.


def test_a_record_the_consumer_fails_on_is_tried_again_at_once(engine: Engine) -> None:
    """Two seconds a try: record 0 fails over [0, 2) and succeeds over [2, 4); record 1 waits for it."""
    scenario = log_world(receiver={"service": constant(2.0), "error_probability": 0.5})
    seed = fails_on(0.5, {(0, 0): True, (0, 1): False, (1, 0): False})
    run = consume(scenario, engine, [0.0, 0.0], seed)
    assert visible(run) == [4.0, 6.0]
    assert (attempts(run), copies(run)) == ([1, 1], [2, 1])
    assert counted(run, "errors", "dead_letters", "receiver_busy_s") == [1, 0, 6.0]
    assert run.counters.receiver_queue_integral_s == 4.0


def test_each_try_takes_a_service_time_of_its_own(engine: Engine) -> None:
    scenario = log_world(receiver={"service": one_of(1.0, 5.0), "error_probability": 0.5})
    service = compile_distribution(scenario.receiver.service)
    seed = seed_where(
        lambda seed: (
            [sample(service, seed, int(Stream.SERVICE), 0, copy) for copy in (0, 1)] == [5.0, 1.0]
            and uniform(seed, int(Stream.RECEIVER_ERROR), 0, 0) < 0.5
            and uniform(seed, int(Stream.RECEIVER_ERROR), 0, 1) > 0.5
        )
    )
    assert visible(consume(scenario, engine, [0.0], seed)) == [6.0]


def test_a_record_is_given_up_after_max_deliveries(engine: Engine) -> None:
    """Three tries of a second: record 0 is given up at 3, record 1 at 6."""
    scenario = log_world({"max_deliveries": 3}, receiver={"service": constant(1.0), "error_probability": 1.0})
    run = consume(scenario, engine, [0.0, 0.0])
    assert visible(run) == ["lost", "lost"]
    assert (attempts(run), copies(run)) == ([1, 1], [3, 3])
    assert counted(run, "errors", "dead_letters", "redeliveries") == [6, 2, 0]


@pytest.mark.parametrize(
    ("until_s", "became", "tries"),
    [(3.0, "lost", 1), (3.75, "pending", 1), (5.25, "pending", 2), (6.0, 5.5, 2)],
)
def test_a_record_given_up_but_not_committed_comes_again_after_an_outage(
    until_s: float, became: float | str, tries: int, engine: Engine
) -> None:
    """One try of half a second, failed at 0.5; down over [3.5, 4), back at 5: tried again, visible at 5.5.

    Once the consumer is down it is to come again; before, nobody knows that.
    """
    scenario = log_world(
        {"max_deliveries": 1, "rebalance_s": 1.0} | NEVER_COMMITS,
        receiver={"service": constant(0.5), "error_probability": 0.5} | outage(3.5, 4.0),
        run={"duration_s": until_s},
    )
    run = consume(scenario, engine, [0.0], fails_on(0.5, {(0, 0): True, (0, 1): False}))
    assert (visible(run), copies(run)) == ([became], [tries])
    assert run.counters.dead_letters == 1


@pytest.mark.parametrize(("until_s", "became"), [(5.0, "lost"), (5.25, "pending"), (7.0, "pending")])
def test_a_consumer_that_is_down_will_read_again_what_it_gave_up_though_its_batch_is_not_done(
    until_s: float, became: str, engine: Engine
) -> None:
    """Four seconds a try: record 0 is given up at 4, record 1 in service until 8; down over [5, 6)."""
    scenario = log_world(
        {"max_deliveries": 1} | NEVER_COMMITS,
        receiver={"service": constant(4.0), "error_probability": 0.5} | outage(5.0, 6.0),
        run={"duration_s": until_s},
    )
    run = consume(scenario, engine, [0.0, 0.0], fails_on(0.5, {(0, 0): True}))
    assert (visible(run), copies(run)) == ([became, "pending"], [1, 1])


# The horizon, and what counters cover.


def test_what_is_in_the_log_or_being_worked_on_when_the_world_ends_is_pending(engine: Engine) -> None:
    """Four seconds of service; the world ends at 10: event 1 would be visible just then."""
    scenario = log_world(receiver={"service": constant(4.0)}, run={"duration_s": 10.0})
    run = consume(scenario, engine, [2.0, 5.0, 5.0, 9.0])
    assert visible(run) == [6.0, "pending", "pending", "pending"]
    assert copies(run) == [1, 1, 1, 0]


def test_counters_cover_the_window(engine: Engine) -> None:
    """Window [5, 10) of a world of 15; a second each way, held for half a second, two seconds of service.

    Fetches in vain at 0 and 2.5. That of 5 is there at 6 and brings event 4.5, stored at 5.5: back at 7,
    served till 9. That of 9 is there at 10, and brings event 9.5, stored at 10.5: back at 11.5.
    """
    scenario = log_world(
        {"fetch_max_wait_s": 0.5} | NEVER_COMMITS,
        network=A_SECOND_AWAY,
        receiver={"service": constant(2.0)},
        run={"warmup_s": 5.0, "duration_s": 10.0, "drain_s": 5.0},
    )
    run = consume(scenario, engine, [4.5, 9.5])
    assert (visible(run), first_attempts(run)) == ([9.0, 13.5], [5.0, 9.0])
    # Counted: the fetches of 5 and 9 and a publish; the empty answer that comes at 5, but not its bytes,
    # which left at 4; the answer that leaves at 6.
    assert counted(run, "requests", "empty_responses") == [3, 1]
    assert counted(run, "request_bytes", "response_bytes") == [2800, 1370]
    assert counted(run, "connection_s", "receiver_busy_s", "connections_opened") == [3.0, 2.0, 0]


def test_each_subscriber_has_a_log_and_a_group_of_its_own(engine: Engine) -> None:
    scenario = log_world(subscribers={"count": 2}, receiver={"service": constant(2.0)})
    run = consume(scenario, engine, [1.0, 1.0])
    assert [visible(run, 0), visible(run, 1)] == [[3.0, 5.0], [3.0, 5.0]]
    assert counted(run, "connections_opened", "connections_peak", "receiver_busy_s") == [2, 2, 8.0]
