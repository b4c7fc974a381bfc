"""Protects the rules of brokers both engines share, each against its statement in words, computed plainly."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sim.policies import (
    Rebalances,
    answered_at,
    broker_notices,
    carried_until,
    compile_link,
    compile_rebalances,
    heartbeats_before,
    heartbeats_within,
    outage_at,
    partition_of,
    put_off,
    rebalances_by,
    receiver_outages,
    rejoined_at,
)
from sim.policies.outages import UP
from sim.scenario import BrokerPush, Network, Outage, load_scenario

quarters_s = st.integers(0, 80).map(lambda quarters: quarters / 4)
tenths_s = st.integers(0, 300).map(lambda tenths: tenths * 0.1)


@given(
    up_s=tenths_s,
    lasted_s=tenths_s,
    heartbeat_s=st.sampled_from([0.1, 0.25, 0.7, 3.0, 100.0]),
    window=st.tuples(tenths_s, tenths_s).map(sorted),
)
def test_heartbeats_are_sent_strictly_before_the_end(
    up_s: float, lasted_s: float, heartbeat_s: float, window: list[float]
) -> None:
    """Counted one by one, at computed times, so that tenths round as they do in the model."""
    link = compile_link(BrokerPush(heartbeat_s=heartbeat_s, silent=True, heartbeat_timeout_s=1.5), Network())
    ended_s, (low_s, high_s) = up_s + lasted_s, window
    sent_s = [up_s + k * heartbeat_s for k in range(1, 400)]
    sent_s = [time_s for time_s in sent_s if time_s < ended_s]
    assert heartbeats_before(link, up_s, ended_s) == len(sent_s)
    within = [time_s for time_s in sent_s if low_s <= time_s < high_s]
    assert heartbeats_within(link, up_s, ended_s, low_s, high_s) == len(within)
    assert broker_notices(link, up_s, ended_s) == max(max([up_s, *sent_s]) + 1.5, ended_s)


def test_partitions_are_hit_evenly() -> None:
    """Pearson's chi-square of 9,000 events over 9 partitions; 8 degrees of freedom, level 1e-4: 31.83."""
    hits = np.bincount([partition_of(9, 1, 0, event) for event in range(9000)], minlength=9)
    assert len(hits) == 9
    assert float(((hits - 1000.0) ** 2 / 1000.0).sum()) < 31.83


@given(
    stored_s=st.lists(quarters_s, max_size=12).map(sorted),
    position=st.integers(0, 12),
    fetch_min=st.integers(1, 5),
    max_records=st.integers(1, 5),
    wait_s=quarters_s,
    arrival_s=quarters_s,
)
def test_a_fetch_is_answered_at_the_first_instant_it_may_be(
    stored_s: list[float],
    position: int,
    fetch_min: int,
    max_records: int,
    wait_s: float,
    arrival_s: float,
) -> None:
    """By looking at the log every quarter of a second from its arrival on."""
    log, position = np.array(stored_s, dtype=np.float64), min(position, len(stored_s))
    now = arrival_s
    while sum(t <= now for t in stored_s[position:]) < fetch_min and now < arrival_s + wait_s:
        now += 0.25
    assert answered_at(log, position, fetch_min, wait_s, arrival_s) == now
    there = sum(t <= now for t in stored_s[position:])
    assert carried_until(log, position, max_records, now) == position + min(there, max_records)


@given(
    at_s=st.lists(quarters_s, max_size=8).map(sorted),
    pause_s=st.sampled_from([0.0, 0.25, 1.0, 5.0]),
    due_s=quarters_s,
)
def test_a_fetch_is_put_off_to_the_first_instant_no_pause_covers(
    at_s: list[float], pause_s: float, due_s: float
) -> None:
    """The second of two groups; the first rebalances all the time."""
    first = [0.0, 0.0, 0.25]
    rebalances = Rebalances(np.array(first + at_s), np.array([0, 3, 3 + len(at_s)]), pause_s)
    now = due_s
    while any(t <= now < t + pause_s for t in at_s):
        now += 0.25
    assert put_off(rebalances, 1, due_s) == now
    assert rebalances_by(rebalances, 1, due_s) == sum(t <= due_s for t in at_s)


def test_rebalances_are_drawn_for_each_group_to_the_end_of_the_world() -> None:
    scenario = load_scenario("shop-orders").with_values(
        **{
            "subscribers.count": 3,
            "run.duration_s": 1000.0,
            "run.drain_s": 0.0,
            "run.warmup_s": 0.0,
            "receiver.outages": (),
            "broker_pull.rebalance_every": {"kind": "exponential", "mean_s": 50.0},
        }
    )
    rebalances = compile_rebalances(scenario, 1)
    rows = [rebalances.at_s[a:b] for a, b in zip(rebalances.first[:-1], rebalances.first[1:], strict=True)]
    assert len(rows) == 3
    for row in rows:
        assert 5 < len(row) < 50
        assert (np.diff(row) > 0).all()
        assert row[-1] < 1000.0
    assert not set(rows[0]) & set(rows[1])
    never = compile_rebalances(scenario.with_values(**{"broker_pull.rebalance_every": None}), 1)
    assert put_off(never, 2, 10.0) == 10.0


@given(
    edges_s=st.lists(st.integers(0, 40), max_size=8, unique=True).map(sorted),
    down=st.integers(0, 3),
    pause_s=st.sampled_from([0.0, 0.25, 2.0, 9.0]),
    not_before_s=quarters_s,
)
def test_a_consumer_rejoins_once_it_was_up_for_a_whole_pause_and_its_batch_is_done(
    edges_s: list[int], down: int, pause_s: float, not_before_s: float
) -> None:
    """By looking every quarter of a second for one before which it was up for the whole pause."""
    pairs = list(zip(edges_s[::2], edges_s[1::2], strict=False)) or [(3, 4)]
    planned = tuple(Outage(start_s=float(a), duration_s=float(b - a)) for a, b in pairs)
    scenario = load_scenario("shop-orders").with_values(**{"receiver.outages": planned})
    outages = receiver_outages(scenario, 1)
    down_s = now = float(pairs[min(down, len(pairs) - 1)][0])
    while now < not_before_s or any(
        outage_at(outages, 0, now - quarters / 4) != UP for quarters in range(int(4 * pause_s) + 1)
    ):
        now += 0.25
    assert rejoined_at(outages, 0, down_s, pause_s, not_before_s) == now
