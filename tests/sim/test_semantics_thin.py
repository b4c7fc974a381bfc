"""Protects each rule of thin webhooks, in both engines, by worlds small enough to work out by hand.

Notifications keep the rules of webhooks (`test_semantics_webhook`, `test_semantics_webhook_failures`); here
is what is theirs alone, and the fetch that follows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

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
    outage,
    retry,
    seed_where,
    small_world,
    visible,
)

pytestmark = pytest.mark.parametrize("engine", ENGINES)


def notify(scenario: Scenario, engine: Engine, events: ArrayLike, seed: int = 1) -> Replication:
    return run_once(scenario, "thin_webhook", np.array(events, dtype=np.float64), seed, engine)


def test_a_notification_is_followed_by_a_fetch(engine: Engine) -> None:
    """Transit 1. The POST of event 0 arrives at 1 and the GET leaves; the API serves it over [2, 4).

    The event comes at 5 and is served over [5, 8).
    """
    scenario = small_world(
        network={"one_way": constant(1.0)},
        receiver={"service": constant(3.0)},
        provider_api={"service": constant(2.0)},
    )
    run = notify(scenario, engine, [0.0])
    assert visible(run) == [8.0]
    assert run.deliveries.via[0, 0] == Via.WEBHOOK
    assert (attempts(run), copies(run), first_attempts(run)) == ([2], [1], [0.0])
    # 600 + 200 of the POST, 600 of the GET; 300 back, and 300 + 1000.
    assert counted(run, "requests", "request_bytes", "response_bytes") == [2, 1400, 1600]
    assert counted(run, "connections_opened", "connections_peak", "connection_s") == [2, 2, 2.0 + 4.0]
    assert counted(run, "provider_busy_s", "receiver_busy_s") == [2.0, 3.0]
    assert run.series.sum() == 2


def test_notifications_have_a_size_of_their_own(engine: Engine) -> None:
    run = notify(small_world(thin_webhook={"notification_bytes": 50}), engine, [1.0])
    assert run.counters.request_bytes == 650 + 600


def test_a_notification_is_acknowledged_on_receipt_and_takes_no_place(engine: Engine) -> None:
    """Whatever the receiver does with webhooks: 3 s of service would time out, and no place turn away."""
    scenario = small_world(
        webhook={"timeout_s": 1.0, "retry": retry(1.0)},
        receiver={"service": constant(3.0), "queue_limit": 0, "acknowledge": "after_processing"},
    )
    run = notify(scenario, engine, [0.0, 1.0, 2.0])
    assert visible(run) == [3.0, 6.0, 9.0]
    assert attempts(run) == [2, 2, 2]
    assert counted(run, "timeouts", "rejected", "receiver_queue_max") == [0, 0, 2]


def test_a_second_notification_fetches_nothing(engine: Engine) -> None:
    """Transit 1, timeout 1: both notifications arrive and neither is known to; the sender gives up."""
    scenario = small_world(
        network={"one_way": constant(1.0)}, webhook={"timeout_s": 1.0, "retry": retry(3.0, attempts=2)}
    )
    run = notify(scenario, engine, [0.0])
    assert visible(run) == [3.0]
    assert (attempts(run), copies(run)) == ([3], [1])
    assert counted(run, "timeouts", "dead_letters", "requests") == [2, 1, 3]


def test_a_second_notification_does_not_hasten_a_fetch(engine: Engine) -> None:
    """The first GET fails at 1 and is due again at 9; the notification of 4 changes nothing."""
    scenario = small_world(
        network={"one_way": constant(0.5)},
        webhook={"timeout_s": 0.5, "retry": retry(3.0, attempts=2)},
        thin_webhook={"retry_s": 8.0},
        provider_api=outage(0.0, 2.0, "error"),
    )
    run = notify(scenario, engine, [0.0])
    assert visible(run) == [10.5]
    assert attempts(run) == [4]


@pytest.mark.parametrize(
    ("kind", "response_bytes", "opened"), [("refuse", 0, 1 + 5), ("error", 4 * 300, 1 + 1)]
)
def test_a_fetch_that_fails_is_tried_again(
    kind: str, response_bytes: int, opened: int, engine: Engine
) -> None:
    """GETs at 1, 2, 3, 4 meet an API that is down until 5; a refusal closes the connection."""
    run = notify(small_world(provider_api=outage(0.0, 5.0, kind)), engine, [1.0])
    assert visible(run) == [5.0]
    assert attempts(run) == [6]
    assert counted(run, "errors", "connections_opened") == [4, opened]
    assert run.counters.response_bytes == 300 + response_bytes + 1300


def test_an_event_is_lost_when_its_last_fetch_fails(engine: Engine) -> None:
    scenario = small_world(thin_webhook={"max_attempts": 4}, provider_api=outage(0.0, 5.0))
    run = notify(scenario, engine, [1.0])
    assert visible(run) == ["lost"]
    assert (attempts(run), copies(run)) == ([5], [0])


def test_a_fetch_into_silence_times_out(engine: Engine) -> None:
    """Sent at 1, given up at 3, sent again at 4."""
    scenario = small_world(thin_webhook={"timeout_s": 2.0}, provider_api=outage(0.0, 3.5, "black_hole"))
    run = notify(scenario, engine, [1.0])
    assert visible(run) == [4.0]
    assert counted(run, "timeouts", "errors", "connection_s") == [1, 0, 2.0]


def test_after_a_timeout_the_api_works_on_and_its_late_answer_is_ignored(engine: Engine) -> None:
    """3 s of service, 2 s of patience, one try; an answer at the very instant succeeds."""
    for timeout_s, becomes in ((2.0, "lost"), (3.0, 4.0)):
        scenario = small_world(
            thin_webhook={"timeout_s": timeout_s, "max_attempts": 1}, provider_api={"service": constant(3.0)}
        )
        run = notify(scenario, engine, [1.0])
        assert visible(run) == [becomes]
        assert counted(run, "provider_busy_s", "response_bytes") == [3.0, 1600]


def test_a_lost_fetch_is_tried_again(engine: Engine) -> None:
    """Half of all requests are lost: of event 0 the first GET, and not the POST nor the second GET.

    Timeout 2, so sent at 1 and at 1 + 2 + 1.
    """
    scenario = small_world(network={"request_loss": 0.5}, thin_webhook={"timeout_s": 2.0})
    seed = seed_where(
        lambda seed: (
            uniform(seed, Stream.REQUEST_LOSS, 0, 1) >= 0.5
            and uniform(seed, Stream.FETCH_REQUEST_LOSS, 0, 1) < 0.5
            and uniform(seed, Stream.FETCH_REQUEST_LOSS, 0, 2) >= 0.5
        )
    )
    run = notify(scenario, engine, [1.0], seed)
    assert visible(run) == [4.0]
    assert attempts(run) == [3]


@pytest.mark.parametrize(("retry_s", "visible_s"), [(1.0, 10.0), (9.0, 11.0)])
def test_a_fetch_over_the_limit_waits_for_the_longer(
    retry_s: float, visible_s: float, engine: Engine
) -> None:
    """One request in 10 s: the GET of event 1 at 2 is told to wait 8 s."""
    scenario = small_world(
        thin_webhook={"retry_s": retry_s}, provider_api={"rate_limit": {"requests": 1, "per_s": 10.0}}
    )
    run = notify(scenario, engine, [1.0, 2.0])
    assert visible(run) == [1.0, visible_s]
    assert counted(run, "rejected", "response_bytes") == [1, 2 * 300 + 2 * 1300 + 300]


def test_the_door_comes_before_the_limit(engine: Engine) -> None:
    """The GET refused at 1 uses nothing of the window's one request."""
    limited = {"rate_limit": {"requests": 1, "per_s": 10.0}}
    run = notify(small_world(provider_api=limited | outage(0.0, 1.5)), engine, [1.0])
    assert visible(run) == [2.0]
    assert run.counters.rejected == 0


def test_a_fetch_due_while_the_receiver_is_down_waits_until_it_is_up(engine: Engine) -> None:
    """It fails at 1 and is due at 2, within the receiver's outage."""
    scenario = small_world(provider_api=outage(0.0, 1.5, "error"), receiver=outage(1.25, 4.0))
    run = notify(scenario, engine, [1.0])
    assert visible(run) == [4.0]
    assert attempts(run) == [3]


def test_a_receiver_that_is_down_takes_in_what_it_fetched(engine: Engine) -> None:
    scenario = small_world(provider_api={"service": constant(3.0)}, receiver=outage(2.0, 50.0))
    assert visible(notify(scenario, engine, [1.0])) == [4.0]


def test_all_subscribers_fetches_meet_at_the_api(engine: Engine) -> None:
    """One worker, 2 s each; a subscriber has any number of fetches out."""
    scenario = small_world(subscribers={"count": 2}, provider_api={"service": constant(2.0)})
    run = notify(scenario, engine, [0.0, 1.0])
    assert visible(run, 0) == [2.0, 6.0]
    assert visible(run, 1) == [4.0, 8.0]
    assert counted(run, "provider_busy_s", "provider_queue_max", "connections_peak") == [8.0, 3, 2 + 4]


def test_a_slow_api_serves_slowly_what_starts_then(engine: Engine) -> None:
    slow: dict[str, Any] = {"outages": [{"start_s": 3.0, "duration_s": 2.0, "kind": "slow", "slowdown": 3.0}]}
    run = notify(small_world(provider_api=slow | {"service": constant(2.0)}), engine, [0.0, 4.0])
    assert visible(run) == [2.0, 10.0]


def test_the_feed_s_lag_and_retention_do_not_matter(engine: Engine) -> None:
    api = {"feed_lag_s": 60.0, "retention": {"events": 1}}
    assert visible(notify(small_world(provider_api=api), engine, [1.0, 1.0])) == [1.0, 1.0]


def test_lost_is_what_nobody_was_told_of(engine: Engine) -> None:
    run = notify(small_world(receiver=outage(0.0, 5.0)), engine, [1.0])
    assert visible(run) == ["lost"]
    assert (attempts(run), copies(run)) == ([1], [0])
    assert counted(run, "errors", "dead_letters", "provider_busy_s") == [1, 1, 0.0]


def test_pending_is_what_may_still_come(engine: Engine) -> None:
    """As the world ends at 100, event 0 is in service, 1 at the API, 2's fetch waits, 3's POST travels."""
    busy = small_world(receiver={"service": constant(30.0)})
    assert visible(notify(busy, engine, [80.0])) == ["pending"]
    slow = small_world(provider_api={"service": constant(30.0)})
    assert visible(notify(slow, engine, [80.0])) == ["pending"]
    down = small_world(thin_webhook={"retry_s": 50.0}, provider_api=outage(70.0, 90.0))
    assert visible(notify(down, engine, [80.0])) == ["pending"]
    far = small_world(network={"one_way": constant(30.0)}, webhook={"timeout_s": 1.0})
    assert visible(notify(far, engine, [80.0])) == ["pending"]


def test_a_monitor_drops_what_it_serves_for_what_is_fetched_later(engine: Engine) -> None:
    monitor = {"discipline": "preempt", "acknowledge": "on_receipt", "service": constant(5.0)}
    run = notify(small_world(receiver=monitor), engine, [1.0, 2.0])
    assert visible(run) == ["lost", 7.0]


def test_the_first_told_of_is_the_first_to_fetch_even_at_one_instant(engine: Engine) -> None:
    """Events 0, 1 and 2 at 1, one slot. The POST of 0 fails; 1 and 2 are let in; 0 at its second attempt.

    The API serves one in 2 s. When 2 is let in, the GET of 1 has arrived there; the second POST of 0 then
    arrives before the GET of 2, and so does its GET.
    """
    scenario = small_world(
        webhook={"max_in_flight": 1, "retry": retry(0.0)},
        receiver={"error_probability": 0.5},
        provider_api={"service": constant(2.0)},
    )

    def fails(seed: int, event: int, attempt: int) -> bool:
        return uniform(seed, Stream.RECEIVER_ERROR, delivery_entity(0, event), attempt) < 0.5

    seed = seed_where(
        lambda seed: (
            fails(seed, 0, 1) and not fails(seed, 0, 2) and not fails(seed, 1, 1) and not fails(seed, 2, 1)
        )
    )
    run = notify(scenario, engine, [1.0, 1.0, 1.0], seed)
    assert visible(run) == [5.0, 3.0, 7.0]
