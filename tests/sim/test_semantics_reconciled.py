"""Protects each rule of reconciled webhooks, in both engines, by worlds small enough to work out by hand.

Webhooks keep their rules (`test_semantics_webhook`), the poll beside them keeps polling's
(`test_semantics_polling`); here is what they are to each other. Polls at 0 and 50, the world ends at 100.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from sim.engine import ENGINES, Engine, Replication, run_once
from sim.records import Via
from sim.scenario import Scenario
from tests.sim.test_semantics import (
    attempts,
    constant,
    copies,
    counted,
    draws_service,
    first_attempts,
    one_of,
    outage,
    retry,
    small_world,
    visible,
)

pytestmark = pytest.mark.parametrize("engine", ENGINES)


def reconcile(scenario: Scenario, engine: Engine, events: ArrayLike, seed: int = 1) -> Replication:
    return run_once(scenario, "webhook_reconciled", np.array(events, dtype=np.float64), seed, engine)


def ways(run: Replication) -> list[Via]:
    return [Via(way) for way in run.deliveries.via[0]]


def missed(**tables: dict[str, Any]) -> Scenario:
    """A receiver that is down over [0, 5)."""
    return small_world(**tables | {"receiver": outage(0.0, 5.0) | tables.get("receiver", {})})


def test_the_poll_brings_what_the_webhook_failed_to(engine: Engine) -> None:
    """Refused at 1, fetched at 50; the poll at 0 is skipped, because the poller is down as well."""
    run = reconcile(missed(), engine, [1.0, 7.0])
    assert visible(run) == [50.0, 7.0]
    assert ways(run) == [Via.POLL, Via.WEBHOOK]
    assert first_attempts(run) == [1.0, 7.0]
    assert copies(run) == [1, 1]
    # Each was POSTed once, and the page of 50 carried both.
    assert attempts(run) == [2, 2]
    assert counted(run, "requests", "errors", "dead_letters", "empty_responses") == [3, 1, 1, 0]


def test_what_is_known_is_skipped_without_work(engine: Engine) -> None:
    """Served over [1, 4) once; the page of 50 carries it to no effect, and is not empty for that."""
    run = reconcile(small_world(receiver={"service": constant(3.0)}), engine, [1.0])
    assert visible(run) == [4.0]
    assert copies(run) == [1]
    assert counted(run, "receiver_busy_s", "empty_responses") == [3.0, 1]


def test_a_webhook_after_the_poll_is_a_duplicate_served_for_nothing(engine: Engine) -> None:
    """Refused at 1, polled at 50, POSTed again at 61."""
    scenario = missed(webhook={"retry": retry(60.0)}, receiver={"service": constant(3.0)})
    run = reconcile(scenario, engine, [1.0])
    assert visible(run) == [53.0]
    assert ways(run) == [Via.POLL]
    assert (attempts(run), copies(run)) == ([3], [2])
    assert run.counters.receiver_busy_s == 6.0


def test_the_way_is_that_of_the_copy_first_visible(engine: Engine) -> None:
    """The copy polled at 50 is in service when the webhook's comes at 51 to a second worker.

    The service of copy 0 is 20 s, of copy 1 it is 2 s.
    """
    scenario = missed(webhook={"retry": retry(50.0)}, receiver={"workers": 2, "service": one_of(2.0, 20.0)})
    seed = draws_service(scenario, {(0, 0): 20.0, (0, 1): 2.0})
    run = reconcile(scenario, engine, [1.0], seed)
    assert visible(run) == [53.0]
    assert ways(run) == [Via.WEBHOOK]


def test_the_first_attempt_is_the_earlier_of_post_and_page(engine: Engine) -> None:
    """One slot, held by event 0 in silence: event 1 is never POSTed."""
    scenario = small_world(webhook={"max_in_flight": 1}, receiver=outage(0.0, 5.0, "black_hole"))
    run = reconcile(scenario, engine, [1.0, 2.0])
    assert visible(run) == [50.0, 50.0]
    assert first_attempts(run) == [1.0, 50.0]
    assert attempts(run) == [2, 1]


def test_a_page_enters_the_queue_whatever_its_limit_and_without_fail(engine: Engine) -> None:
    scenario = small_world(
        receiver={"error_probability": 1.0, "queue_limit": 0, "service": constant(2.0)},
    )
    run = reconcile(scenario, engine, [1.0, 2.0, 3.0])
    assert visible(run) == [52.0, 54.0, 56.0]
    assert counted(run, "errors", "rejected", "receiver_queue_max") == [3, 0, 2]


def test_full_pages_chain_and_the_cursor_moves_whatever_the_webhooks_brought(engine: Engine) -> None:
    """Pages of two at 50: events 0 and 1, 2 and 3, then none. Only 0 and 1 were missed."""
    run = reconcile(missed(reconciliation={"page_size": 2}), engine, [1.0, 2.0, 7.0, 8.0])
    assert visible(run) == [50.0, 50.0, 7.0, 8.0]
    assert attempts(run) == [2, 2, 2, 2]
    assert counted(run, "requests", "empty_responses") == [4 + 3, 1]


def test_what_the_feed_no_longer_shows_only_a_webhook_can_bring(engine: Engine) -> None:
    """Retained is one event: the page of 50 skips event 0, whose sender gave up, or tries again at 61."""
    api = {"retention": {"events": 1}}
    run = reconcile(missed(provider_api=api), engine, [1.0, 2.0])
    assert visible(run) == ["lost", 50.0]
    run = reconcile(missed(provider_api=api, webhook={"retry": retry(60.0)}), engine, [1.0, 2.0])
    assert visible(run) == [61.0, 50.0]
    run = reconcile(missed(provider_api=api, webhook={"retry": retry(99.0)}), engine, [1.0, 2.0])
    assert visible(run) == ["pending", 50.0]


def test_what_the_next_poll_would_bring_is_pending(engine: Engine) -> None:
    """Refused at 60 and given up; the next poll is the world's end, unless the feed has forgotten by then."""
    down = outage(59.0, 61.0)
    assert visible(reconcile(small_world(receiver=down), engine, [60.0])) == ["pending"]
    for seconds, becomes in ((40.0, "pending"), (39.75, "lost")):
        scenario = small_world(receiver=down, provider_api={"retention": {"seconds": seconds}})
        assert visible(reconcile(scenario, engine, [60.0])) == [becomes]


def test_an_event_dropped_for_a_newer_one_is_known_and_not_fetched_again(engine: Engine) -> None:
    monitor = {"discipline": "preempt", "acknowledge": "on_receipt", "service": constant(5.0)}
    run = reconcile(small_world(receiver=monitor), engine, [1.0, 2.0])
    assert visible(run) == ["lost", 7.0]
    assert copies(run) == [1, 1]


def test_a_page_pushes_out_what_a_webhook_brought(engine: Engine) -> None:
    """Event 0 was refused; event 1, in service since 48, is pushed out at 50 by the older event 0."""
    monitor = {"discipline": "preempt", "acknowledge": "on_receipt", "service": constant(5.0)}
    run = reconcile(missed(receiver=monitor), engine, [1.0, 48.0])
    assert visible(run) == [55.0, "lost"]
    assert ways(run) == [Via.POLL, Via.WEBHOOK]
    assert run.counters.receiver_busy_s == 7.0


def test_a_webhook_that_arrives_at_a_poll_s_tick_is_first(engine: Engine) -> None:
    """Both at 50: the request that arrives precedes the tick, so the page that follows knows the event."""
    run = reconcile(missed(webhook={"retry": retry(49.0)}), engine, [1.0, 50.0])
    assert visible(run) == [50.0, 50.0]
    assert ways(run) == [Via.WEBHOOK, Via.WEBHOOK]
    assert (attempts(run), copies(run)) == ([3, 2], [1, 1])


def test_a_page_that_arrives_as_a_webhook_does_is_first(engine: Engine) -> None:
    """Both at 50.5: an answer precedes a request, and the webhook's copy is the duplicate."""
    scenario = missed(webhook={"retry": retry(49.5)}, provider_api={"service": constant(0.5)})
    run = reconcile(scenario, engine, [1.0])
    assert visible(run) == [50.5]
    assert ways(run) == [Via.POLL]
    assert copies(run) == [2]


def test_counters_are_of_both(engine: Engine) -> None:
    """A POST of 1600 bytes over [1, 3), polls of 600 at 0 and 50 answered 6 s later, one with 1000 bytes."""
    scenario = small_world(network={"one_way": constant(1.0)}, provider_api={"service": constant(4.0)})
    run = reconcile(scenario, engine, [1.0])
    assert counted(run, "requests", "request_bytes", "response_bytes") == [3, 2800, 300 + 300 + 1300]
    assert counted(run, "connections_opened", "connections_peak", "connection_s") == [2, 2, 14.0]
    assert counted(run, "provider_busy_s", "provider_queue_max") == [8.0, 0]
    assert run.series.sum() == 3


def test_all_subscribers_polls_meet_at_the_api(engine: Engine) -> None:
    """Both poll at 50; one API worker, 2 s each."""
    scenario = missed(subscribers={"count": 2}, provider_api={"service": constant(2.0)})
    run = reconcile(scenario, engine, [1.0])
    assert [visible(run, 0), visible(run, 1)] == [[52.0], [54.0]]
    assert run.counters.provider_queue_max == 1
