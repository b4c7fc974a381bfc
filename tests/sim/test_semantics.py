"""Protects what holds for every mechanism, in both engines, by worlds small enough to work out by hand.

Engines that agree may agree on an error, so here every number is a literal. The clock's horizon, what
counters cover, the receiver's queue, and common random numbers; what is said of webhooks and of polling
alone is in `test_semantics_webhook` and `test_semantics_polling`, which use the worlds built here.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from sim.distributions import compile_distribution, sample, service_times
from sim.engine import ENGINES, MECHANISMS, Engine, Replication, run_once, simulate
from sim.randomness import Stream, delivery_entity
from sim.records import Status, Window
from sim.scenario import Scenario, scenario_from

pytestmark = pytest.mark.parametrize("engine", ENGINES)


def constant(mean_s: float) -> dict[str, Any]:
    return {"kind": "constant", "mean_s": mean_s}


def one_of(*values_s: float) -> dict[str, Any]:
    return {"kind": "empirical", "values_s": values_s}


def retry(base_s: float, attempts: int = 100, kind: str = "fixed", **more: Any) -> dict[str, Any]:
    return {"kind": kind, "base_s": base_s, "max_attempts": attempts, **more}


def outage(start_s: float, end_s: float, kind: str = "refuse") -> dict[str, Any]:
    return {"outages": [{"start_s": start_s, "duration_s": end_s - start_s, "kind": kind}]}


# Nothing takes time, nothing is lost, one of everything; polls at 0, 10, 20, …; each test says what differs.
_PLAIN: dict[str, dict[str, Any]] = {
    "workload": {"kind": "periodic", "rate_per_s": 1.0, "payload_bytes": 1000},
    "subscribers": {"count": 1},
    "network": {"one_way": constant(0.0), "request_header_bytes": 600, "response_header_bytes": 300},
    "webhook": {"timeout_s": 1000.0, "retry": {"kind": "none"}},
    "thin_webhook": {"timeout_s": 1000.0},
    "reconciliation": {"interval_s": 50.0, "timeout_s": 1000.0, "phase": "synchronised"},
    "polling": {"interval_s": 10.0, "timeout_s": 1000.0, "phase": "synchronised"},
    "broker_push": {
        "persist": constant(0.0),
        "reconnect": {"kind": "fixed", "base_s": 1.0, "jitter": "none"},
    },
    "broker_pull": {"partitions": 1, "persist": constant(0.0)},
    "receiver": {"workers": 1, "service": constant(0.0)},
    "provider_api": {"workers": 1, "service": constant(0.0)},
    "run": {"duration_s": 100.0},
}


def small_world(**tables: dict[str, Any]) -> Scenario:
    return scenario_from(
        {"name": "small"} | tables | {name: _PLAIN[name] | tables.get(name, {}) for name in _PLAIN}
    )


def push(scenario: Scenario, engine: Engine, events: ArrayLike, seed: int = 1) -> Replication:
    return run_once(scenario, "webhook", np.array(events, dtype=np.float64), seed, engine)


def poll(scenario: Scenario, engine: Engine, events: ArrayLike, seed: int = 1) -> Replication:
    return run_once(scenario, "polling", np.array(events, dtype=np.float64), seed, engine)


def visible(run: Replication, subscriber: int = 0) -> list[float | str]:
    """When each event was visible, or what became of it instead."""
    d = run.deliveries
    return [
        float(time_s) if status == Status.DELIVERED else Status(status).name.lower()
        for time_s, status in zip(d.visible[subscriber], d.status[subscriber], strict=True)
    ]


def first_attempts(run: Replication, subscriber: int = 0) -> list[float]:
    return [float(time_s) for time_s in run.deliveries.first_attempt[subscriber]]


def attempts(run: Replication, subscriber: int = 0) -> list[int]:
    return [int(number) for number in run.deliveries.attempts[subscriber]]


def copies(run: Replication, subscriber: int = 0) -> list[int]:
    return [int(number) for number in run.deliveries.copies[subscriber]]


def counted(run: Replication, *names: str) -> list[Any]:
    return [getattr(run.counters, name) for name in names]


def seed_where(condition: Callable[[int], bool]) -> int:
    """The first seed whose draws are as a story wants them, so that the story's numbers are literals."""
    return next(seed for seed in count() if condition(seed))


def draws_service(scenario: Scenario, wanted: dict[tuple[int, int], float]) -> int:
    """A seed under which (event, copy) draws the service time wanted, at subscriber 0."""
    service = compile_distribution(scenario.receiver.service)
    return seed_where(
        lambda seed: all(
            sample(service, seed, Stream.SERVICE, delivery_entity(0, event), copy) == service_s
            for (event, copy), service_s in wanted.items()
        )
    )


# The horizon.


@pytest.mark.parametrize("run", [push, poll])
def test_a_service_that_ends_as_the_world_ends_is_outside_it(run: Any, engine: Engine) -> None:
    """Event 0 at 0 is served at once, by either mechanism; the world ends at 8, or at 5 + 3."""
    for clock in ({"duration_s": 8.0}, {"duration_s": 5.0, "drain_s": 3.0}):
        inside = small_world(receiver={"service": constant(7.75)}, run=clock)
        outside = small_world(receiver={"service": constant(8.0)}, run=clock)
        assert visible(run(inside, engine, [0.0])) == [7.75]
        late = run(outside, engine, [0.0])
        assert visible(late) == ["pending"]
        assert copies(late) == [1]


def test_what_is_delivered_in_the_drain_is_in_the_records_and_not_in_the_counters(engine: Engine) -> None:
    """Events end at 5, the world at 10. Event 4 is in service over [4, 7): 1 s of it is counted."""
    scenario = small_world(receiver={"service": constant(3.0)}, run={"duration_s": 5.0, "drain_s": 5.0})
    run = push(scenario, engine, [4.0])
    assert visible(run) == [7.0]
    assert counted(run, "requests", "request_bytes", "response_bytes") == [1, 1600, 0]
    assert run.counters.receiver_busy_s == 1.0


def test_a_request_at_the_end_of_the_events_is_made_and_not_counted(engine: Engine) -> None:
    """Event 4 is refused and tried again at 5, when counting has just ended."""
    scenario = small_world(
        webhook={"retry": retry(1.0)},
        receiver=outage(0.0, 4.5),
        run={"duration_s": 5.0, "drain_s": 5.0},
    )
    run = push(scenario, engine, [4.0])
    assert visible(run) == [5.0]
    assert attempts(run) == [2]
    assert counted(run, "requests", "errors", "connections_opened") == [1, 1, 1]


def test_counters_and_integrals_cover_what_happens_from_the_warm_up_to_the_end(engine: Engine) -> None:
    """Window [2, 6), service 1.5, one worker.

    Event 1 is served over [1, 2.5): 0.5 s counted, its answer too, its request not. Event 2 waits over
    [2, 2.5), is served over [2.5, 4): a request at the window's very start is in it. Event 5.75 is served
    over [5.75, 7.25): 0.25 s counted, its answer not.
    """
    scenario = small_world(
        receiver={"service": constant(1.5)}, run={"warmup_s": 2.0, "duration_s": 6.0, "drain_s": 4.0}
    )
    run = push(scenario, engine, [1.0, 2.0, 5.75])
    assert visible(run) == [2.5, 4.0, 7.25]
    assert counted(run, "requests", "request_bytes", "response_bytes") == [2, 3200, 600]
    assert counted(run, "receiver_busy_s", "receiver_queue_integral_s") == [2.25, 0.5]
    assert run.deliveries.frame(Window(2.0, 6.0))["event"].tolist() == [1, 2]


def test_a_poll_at_the_world_s_end_is_not_sent_and_one_before_the_window_not_counted(engine: Engine) -> None:
    """Polls at 0, 5, 10, 15 and none at 20; the window [5, 15) holds two, both empty."""
    clock = {"warmup_s": 5.0, "duration_s": 15.0, "drain_s": 5.0}
    run = poll(small_world(polling={"interval_s": 5.0}, run=clock), engine, [12.0])
    assert visible(run) == [15.0]
    assert counted(run, "requests", "empty_responses", "request_bytes") == [2, 2, 1200]
    run = poll(small_world(polling={"interval_s": 5.0}, run={"duration_s": 20.0}), engine, [])
    assert run.counters.requests == 4


# The receiver.


def test_the_queue_limit_is_exact_and_excludes_the_job_in_service(engine: Engine) -> None:
    """One worker, 10 s each, two places: event 0 is served, 1 and 2 wait, 3 is answered 503."""
    scenario = small_world(
        receiver={"service": constant(10.0), "queue_limit": 2, "acknowledge": "on_receipt"}
    )
    run = push(scenario, engine, [0.0, 1.0, 2.0, 3.0])
    assert visible(run) == [10.0, 20.0, 30.0, "lost"]
    # Four answers, the 503 among them, of 300 bytes each; waiting: 9 + 18 s.
    assert counted(run, "rejected", "errors", "response_bytes") == [1, 0, 1200]
    assert counted(run, "receiver_queue_max", "receiver_queue_integral_s", "receiver_busy_s") == [2, 27, 30]


def test_a_job_waits_only_if_every_worker_is_busy(engine: Engine) -> None:
    """Two workers, 10 s each, one place: 0 and 1 are served, 2 waits for 0's worker, 3 is refused."""
    scenario = small_world(receiver={"workers": 2, "service": constant(10.0), "queue_limit": 1})
    run = push(scenario, engine, [0.0, 1.0, 2.0, 3.0])
    assert visible(run) == [10.0, 11.0, 20.0, "lost"]
    assert run.counters.rejected == 1


def test_a_service_that_ends_as_a_request_arrives_frees_the_worker_first(engine: Engine) -> None:
    """No waiting places, 2 s each: event 2 finds the worker free at 2; event 3.75 finds it busy until 4."""
    scenario = small_world(receiver={"service": constant(2.0), "queue_limit": 0})
    run = push(scenario, engine, [0.0, 2.0, 3.75])
    assert visible(run) == [2.0, 4.0, "lost"]
    assert run.counters.rejected == 1


def test_each_subscriber_has_a_receiver_and_slots_of_its_own(engine: Engine) -> None:
    """One worker, no waiting place and one slot each: neither subscriber is in the other's way."""
    scenario = small_world(
        subscribers={"count": 2},
        webhook={"max_in_flight": 1},
        receiver={"service": constant(2.0), "queue_limit": 0},
    )
    run = push(scenario, engine, [1.0])
    assert [visible(run, 0), visible(run, 1)] == [[3.0], [3.0]]
    assert first_attempts(run, 1) == [1.0]
    # Busy and connections are summed over subscribers.
    assert counted(run, "rejected", "requests", "connections_peak", "receiver_busy_s") == [0, 2, 2, 4.0]


# Common random numbers.


def test_every_mechanism_draws_the_same_service_time_for_an_event(engine: Engine) -> None:
    """With a worker for each event nothing queues: what is left of the latency is the service time."""
    scenario = small_world(
        subscribers={"count": 2},
        receiver={"workers": 9, "service": {"kind": "exponential", "mean_s": 1.0}},
    )
    events = np.array([1.0, 2.0, 3.0, 4.0])
    for seed in (3, 4):
        pushed = push(scenario, engine, events, seed).deliveries.visible - events
        polled = poll(scenario, engine, events, seed).deliveries.visible - 10.0
        for subscriber in range(2):
            drawn = service_times(scenario, seed, 4, subscriber)
            assert len(set(drawn)) == 4
            assert pushed[subscriber] == pytest.approx(drawn, abs=1e-12)
            assert polled[subscriber] == pytest.approx(drawn, abs=1e-12)
    assert not set(service_times(scenario, 3, 4, 0)) & set(service_times(scenario, 3, 4, 1))
    assert not set(service_times(scenario, 3, 4)) & set(service_times(scenario, 4, 4))


def test_simulate_gives_mechanisms_the_same_world_and_replications_and_seeds_another(engine: Engine) -> None:
    """Polls every second, a worker for everything: visible − the poll's second is the service time."""
    scenario = small_world(
        workload={"kind": "poisson", "rate_per_s": 2.0},
        polling={"interval_s": 1.0},
        receiver={"workers": 200, "service": {"kind": "exponential", "mean_s": 0.5}},
        run={"duration_s": 20.0, "drain_s": 60.0},
    )
    outcome = simulate(scenario, engine=engine, seed=5, replications=2)
    for pushed, polled in zip(outcome.deliveries["webhook"], outcome.deliveries["polling"], strict=True):
        assert pushed.created.size > 10
        np.testing.assert_array_equal(pushed.created, polled.created)
        at_s = np.ceil(pushed.created)
        np.testing.assert_allclose(pushed.visible - pushed.created, polled.visible - at_s, atol=1e-9)
    first, second = outcome.deliveries["webhook"]
    other = simulate(scenario, ["webhook"], engine=engine, seed=6).deliveries["webhook"][0]
    again = simulate(scenario, ["polling", "webhook"], engine=engine, seed=5).deliveries["webhook"][0]
    np.testing.assert_array_equal(first.visible, again.visible)
    for different in (second, other):
        assert first.created[0, 0] != different.created[0, 0]
        assert (first.visible - first.created)[0, 0] != (different.visible - different.created)[0, 0]


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_without_events_nothing_is_delivered(mechanism: str, engine: Engine) -> None:
    """Every 10 s of 100 a poller asks all the same, every 50 a reconciler; a webhook sender does nothing.

    An adaptive poller sleeps 5 s longer each time: 0, 15, 35, 60, 90. A long poll is held for 30 s.
    A stream is opened once. A consumer fetches each half second, 200 times, and commits at 5, 10, …, 95; a
    queue's only waits.
    """
    run = run_once(small_world(), mechanism, np.empty(0), 1, engine)
    assert visible(run) == []
    requests = {
        "webhook": 0,
        "webhook_reconciled": 2,
        "thin_webhook": 0,
        "polling": 10,
        "conditional_polling": 10,
        "adaptive_polling": 5,
        "long_polling": 4,
        "streaming": 1,
        "broker_push": 0,
        "broker_pull": 219,
    }
    assert run.counters.requests == requests[mechanism]
