"""Protects each rule of webhook delivery, in both engines, by a world small enough to work out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from sim.engine import ENGINES, Engine
from sim.randomness import Stream, uniform
from tests.sim.test_semantics import (
    attempts,
    constant,
    copies,
    counted,
    draws_service,
    first_attempts,
    one_of,
    outage,
    push,
    retry,
    seed_where,
    small_world,
    visible,
)

pytestmark = pytest.mark.parametrize("engine", ENGINES)

FOR_EVER = outage(0.0, 1000.0)


# When a failed attempt is tried again.


@pytest.mark.parametrize(("backoff_s", "visible_s"), [(1.0, 6.5), (4.0, 8.5)])
def test_the_retry_after_of_a_503_is_a_lower_bound(
    backoff_s: float, visible_s: float, engine: Engine
) -> None:
    """Event 0 is in service over [0, 3), so event 1 is answered 503 at 1.5 with Retry-After 2.

    It comes again at 1.5 + max(1, 2) = 3.5, or at 1.5 + max(4, 2) = 5.5, and takes 3 s.
    """
    scenario = small_world(
        webhook={"retry": retry(backoff_s)},
        receiver={
            "service": constant(3.0),
            "queue_limit": 0,
            "retry_after_s": 2.0,
            "acknowledge": "on_receipt",
        },
    )
    run = push(scenario, engine, [0.0, 1.5])
    assert visible(run) == [3.0, visible_s]
    assert attempts(run) == [1, 2]
    assert run.counters.rejected == 1


def test_only_a_503_carries_a_retry_after(engine: Engine) -> None:
    """An answer 500 at 1 is followed by the back-off of 2, not by the full queue's Retry-After of 50."""
    receiver = outage(0.0, 2.0, "error") | {"retry_after_s": 50.0}
    scenario = small_world(webhook={"retry": retry(2.0)}, receiver=receiver)
    assert visible(push(scenario, engine, [1.0])) == [3.0]


@pytest.mark.parametrize(
    ("policy", "visible_s", "tries"),
    [
        (retry(2.0), 10.0, 6),  # 0, 2, 4, 6, 8, 10
        (retry(1.0, kind="linear"), 10.0, 5),  # 0, 1, 3, 6, 10
        (retry(1.0, kind="linear", cap_s=2.0), 9.0, 6),  # 0, 1, 3, 5, 7, 9
        (retry(1.0, kind="exponential", factor=2.0, cap_s=3.0), 9.0, 5),  # 0, 1, 3, 6, 9
        (retry(1.0, kind="exponential", factor=3.0), 13.0, 4),  # 0, 1, 4, 13
        ({"kind": "schedule", "gaps_s": [1.0, 1.0, 7.0]}, 9.0, 4),  # 0, 1, 2, 9
    ],
)
def test_nominal_delays(policy: dict[str, Any], visible_s: float, tries: int, engine: Engine) -> None:
    """Refused until 8.5; the attempts are beside each policy."""
    run = push(small_world(webhook={"retry": policy}, receiver=outage(0.0, 8.5)), engine, [0.0])
    assert visible(run) == [visible_s]
    assert attempts(run) == [tries]


def test_max_attempts_includes_the_first(engine: Engine) -> None:
    for policy, tries in (
        ({"kind": "none"}, 1),
        (retry(1.0, attempts=1), 1),
        (retry(1.0, attempts=3), 3),
        ({"kind": "schedule", "gaps_s": [1.0, 2.0]}, 3),
    ):
        run = push(small_world(webhook={"retry": policy}, receiver=FOR_EVER), engine, [1.0])
        assert attempts(run) == [tries]
        assert visible(run) == ["lost"]
        assert counted(run, "requests", "errors") == [tries, tries]


def test_no_attempt_becomes_ready_later_than_max_duration_after_the_event(engine: Engine) -> None:
    """Refused at 1, 3, 5 and 7, which is 6 s after the event and just allowed; 9 is not."""
    run = push(
        small_world(webhook={"retry": retry(2.0, max_duration_s=6.0)}, receiver=FOR_EVER), engine, [1.0]
    )
    assert attempts(run) == [4]
    assert visible(run) == ["lost"]


def test_max_duration_counts_from_the_event_not_from_its_first_attempt(engine: Engine) -> None:
    """One slot, silence, timeout 4, back-off 1, at most 5 s after the event.

    Event 0: sent at 0, timeout at 4, ready at 5, just allowed; sent at 8, timeout at 12, 13 is too late.
    Event 0.5 gets the slot at 4, times out at 8; ready at 9 would be 5 after its first attempt, but is
    8.5 after the event.
    """
    scenario = small_world(
        webhook={"timeout_s": 4.0, "max_in_flight": 1, "retry": retry(1.0, max_duration_s=5.0)},
        receiver=outage(0.0, 1000.0, "black_hole"),
    )
    run = push(scenario, engine, [0.0, 0.5])
    assert first_attempts(run) == [0.0, 4.0]
    assert attempts(run) == [2, 1]
    assert visible(run) == ["lost", "lost"]


@pytest.mark.parametrize(("jitter", "share"), [("full", 0.0), ("equal", 0.5)])
def test_full_and_equal_jitter(jitter: str, share: float, engine: Engine) -> None:
    """Event 0 is refused at 0 and comes again after U(0, 8), or after 4 + U(0, 4)."""
    seed = seed_where(lambda seed: uniform(seed, Stream.RETRY_JITTER, 0, 1) > 0.3)
    u = uniform(seed, Stream.RETRY_JITTER, 0, 1)
    scenario = small_world(webhook={"retry": retry(8.0, jitter=jitter)}, receiver=outage(0.0, 1.0))
    assert visible(push(scenario, engine, [0.0], seed)) == pytest.approx([8.0 * (share + u * (1 - share))])


def test_decorrelated_jitter_grows_from_the_previous_delay(engine: Engine) -> None:
    """min(cap, U(base, 3 · previous)), the previous of the first being the base, here 1.

    With draws above 0.9 the first delay is 1 + u·2, in (2.8, 3), and the second 1 + u·(3·first − 1), above
    7.6; from the base again it would be below 3. A cap of 5 makes the second 5.
    """
    seed = seed_where(lambda seed: all(uniform(seed, Stream.RETRY_JITTER, 0, k) > 0.9 for k in (1, 2)))
    u_1, u_2 = (uniform(seed, Stream.RETRY_JITTER, 0, k) for k in (1, 2))
    first_s = 1.0 + 2.0 * u_1
    for cap_s, second_s in ((1000.0, 1.0 + u_2 * (3.0 * first_s - 1.0)), (5.0, 5.0)):
        policy = retry(1.0, kind="exponential", jitter="decorrelated", cap_s=cap_s)
        run = push(small_world(webhook={"retry": policy}, receiver=outage(0.0, 3.5)), engine, [0.0], seed)
        assert visible(run) == pytest.approx([first_s + second_s])
        assert attempts(run) == [3]


# The timeout.


def test_a_timeout_does_not_cancel_the_work(engine: Engine) -> None:
    """Sent at 1, given up at 2, tried at 3: the worker is busy until 6, so 503. Visible at 6 all the same."""
    scenario = small_world(
        webhook={"timeout_s": 1.0, "retry": retry(1.0, attempts=2)},
        receiver={"service": constant(5.0), "queue_limit": 0},
    )
    run = push(scenario, engine, [1.0])
    assert visible(run) == [6.0]
    assert (attempts(run), copies(run)) == ([2], [1])
    assert counted(run, "timeouts", "rejected") == [1, 1]


def test_a_timeout_starts_at_the_send_and_a_retry_counts_from_the_timeout(engine: Engine) -> None:
    """One way 1, timeout 3, back-off 2, silence until 3: sent at 0, given up at 3, sent at 5, there at 6."""
    scenario = small_world(
        network={"one_way": constant(1.0)},
        webhook={"timeout_s": 3.0, "retry": retry(2.0)},
        receiver=outage(0.0, 3.0, "black_hole"),
    )
    assert visible(push(scenario, engine, [0.0])) == [6.0]


@pytest.mark.parametrize(("service_s", "tries"), [(1.0, 1), (1.25, 2)])
def test_an_answer_at_the_instant_of_the_timeout_succeeds(
    service_s: float, tries: int, engine: Engine
) -> None:
    """Half a second each way, timeout 2: a service of 1 s answers exactly then, one of 1.25 s too late."""
    scenario = small_world(
        network={"one_way": constant(0.5)},
        webhook={"timeout_s": 2.0, "retry": retry(10.0, attempts=2)},
        receiver={"service": constant(service_s)},
    )
    run = push(scenario, engine, [1.0])
    assert visible(run) == [1.5 + service_s]
    assert (attempts(run), copies(run)) == ([tries], [tries])
    assert run.counters.timeouts == 2 * (tries - 1)


def test_a_duplicate_takes_a_service_time_of_its_own(engine: Engine) -> None:
    """One worker, timeout 1, back-off 1, two attempts; copies of event 0 draw 3 and 5, event 1 draws 4.

    Event 0 is served over [0, 3). Its second copy, sent at 2, over [3, 8). Event 1, sent at 2.5, over
    [8, 12), its second copy, sent at 4.5, over [12, 16).
    """
    scenario = small_world(
        webhook={"timeout_s": 1.0, "retry": retry(1.0, attempts=2)},
        receiver={"service": one_of(3.0, 4.0, 5.0)},
    )
    seed = draws_service(scenario, {(0, 0): 3.0, (0, 1): 5.0, (1, 0): 4.0, (1, 1): 4.0})
    run = push(scenario, engine, [0.0, 2.5], seed)
    assert visible(run) == [3.0, 12.0]
    assert copies(run) == [2, 2]
    assert counted(run, "timeouts", "receiver_busy_s") == [4, 16.0]


def test_an_event_is_visible_with_its_first_finished_copy(engine: Engine) -> None:
    """Two workers: the first copy takes 10 s from 0, the second 1.5 s from 2."""
    scenario = small_world(
        webhook={"timeout_s": 1.0, "retry": retry(1.0, attempts=2)},
        receiver={"workers": 2, "service": one_of(1.5, 10.0)},
    )
    seed = draws_service(scenario, {(0, 0): 10.0, (0, 1): 1.5})
    run = push(scenario, engine, [0.0], seed)
    assert visible(run) == [3.5]
    assert copies(run) == [2]
    assert run.counters.receiver_busy_s == 11.5


def test_a_lost_answer_makes_a_duplicate(engine: Engine) -> None:
    """Every answer is lost: served at 1, given up at 3, tried again at 4, given up at 6."""
    scenario = small_world(
        network={"response_loss": 1.0}, webhook={"timeout_s": 2.0, "retry": retry(1.0, attempts=2)}
    )
    run = push(scenario, engine, [1.0])
    assert visible(run) == [1.0]
    assert (attempts(run), copies(run)) == ([2], [2])
    assert counted(run, "timeouts", "response_bytes") == [2, 600]  # an answer lost on its way has left


@pytest.mark.parametrize(("acknowledge", "tries"), [("on_receipt", 1), ("after_processing", 2)])
def test_when_the_answer_leaves(acknowledge: str, tries: int, engine: Engine) -> None:
    """A service of 5 s meets a timeout of 1 s only if the answer waits for it."""
    scenario = small_world(
        webhook={"timeout_s": 1.0, "retry": retry(1.0, attempts=2)},
        receiver={"service": constant(5.0), "acknowledge": acknowledge},
    )
    run = push(scenario, engine, [1.0])
    assert visible(run) == [6.0]
    assert copies(run) == [tries]
    assert run.counters.timeouts == 2 * (tries - 1)


# Lost or pending.


@pytest.mark.parametrize(
    ("tables", "status"),
    [
        ({"receiver": FOR_EVER}, "lost"),
        ({"receiver": outage(0.0, 9.0, "black_hole")}, "lost"),
        ({"network": {"request_loss": 1.0}}, "lost"),
        # Under way as the world ends: it may arrive yet. (The transit is 10 s, the world 5 s long.)
        ({"network": {"one_way": constant(10.0)}}, "pending"),
        # Accepted and not served as the world ends.
        ({"receiver": {"service": constant(10.0)}}, "pending"),
        # A back-off as the world ends: the sender has not given up.
        ({"receiver": FOR_EVER, "webhook": {"timeout_s": 1.0, "retry": retry(10.0)}}, "pending"),
    ],
)
def test_lost_is_what_the_sender_gave_up_with_no_copy_alive(
    tables: dict[str, Any], status: str, engine: Engine
) -> None:
    tables = {"webhook": {"timeout_s": 1.0}, "run": {"duration_s": 5.0}} | tables
    run = push(small_world(**tables), engine, [0.0])
    assert visible(run) == [status]
    assert attempts(run) == [1]


def test_an_earlier_copy_under_way_keeps_an_event_from_being_lost(engine: Engine) -> None:
    """Attempts at 0 and 2 need 10 s to arrive; the sender gave up at 3; both arrive at a world of 20 s."""
    tables: dict[str, Any] = {
        "network": {"one_way": constant(10.0)},
        "webhook": {"timeout_s": 1.0, "retry": retry(1.0, attempts=2)},
    }
    for duration_s, outcome, accepted in ((5.0, "pending", 0), (20.0, 10.0, 2)):
        run = push(small_world(run={"duration_s": duration_s}, **tables), engine, [0.0])
        assert visible(run) == [outcome]
        assert copies(run) == [accepted]


def test_an_event_that_waits_for_a_slot_as_the_world_ends_is_pending_and_untried(engine: Engine) -> None:
    scenario = small_world(
        webhook={"max_in_flight": 1}, receiver={"service": constant(10.0)}, run={"duration_s": 5.0}
    )
    run = push(scenario, engine, [0.0, 1.0])
    assert visible(run) == ["pending", "pending"]
    assert attempts(run) == [1, 0]
    assert str(first_attempts(run)[1]) == "nan"


# The slots of max_in_flight.


def test_a_slot_is_held_from_send_to_timeout_and_not_during_the_back_off(engine: Engine) -> None:
    """One slot, timeout 2, back-off 1, silence until 1.5.

    Event 0, sent at 1, holds the slot until 3; then events 1 and 2 go, at once after each other; event 0
    comes again at 4.
    """
    scenario = small_world(
        webhook={"timeout_s": 2.0, "max_in_flight": 1, "retry": retry(1.0)},
        receiver=outage(0.0, 1.5, "black_hole"),
    )
    run = push(scenario, engine, [1.0, 1.125, 1.25])
    assert first_attempts(run) == [1.0, 3.0, 3.0]
    assert visible(run) == [4.0, 3.0, 3.0]


def test_a_slot_is_held_until_the_answer_arrives(engine: Engine) -> None:
    """Two slots, half a second each way, 1 s of service, three workers: 2 s a request."""
    scenario = small_world(
        network={"one_way": constant(0.5)},
        webhook={"max_in_flight": 2},
        receiver={"workers": 3, "service": constant(1.0)},
    )
    run = push(scenario, engine, [1.0, 1.25, 1.5])
    assert first_attempts(run) == [1.0, 1.25, 3.0]
    assert visible(run) == [2.5, 2.75, 4.5]
    assert run.counters.connections_peak == 2


def test_ready_attempts_wait_for_a_slot_first_come_first_served(engine: Engine) -> None:
    """One slot, 2 s of service. Event 0, refused at 1, is ready again at 4.

    Event 1 has the slot over [3, 5); event 2 is ready at 3.5, event 0 at 4, event 3 at 4.5: so they go at
    5, 7 and 9.
    """
    scenario = small_world(
        webhook={"max_in_flight": 1, "retry": retry(3.0)},
        receiver=outage(0.0, 1.5) | {"service": constant(2.0)},
    )
    run = push(scenario, engine, [1.0, 3.0, 3.5, 4.5])
    assert visible(run) == [9.0, 5.0, 7.0, 11.0]


def test_attempts_ready_at_one_instant_go_in_the_order_of_events(engine: Engine) -> None:
    """As above, but event 2 is created at 4, just as event 0 is ready again: event 0 goes first."""
    scenario = small_world(
        webhook={"max_in_flight": 1, "retry": retry(3.0)},
        receiver=outage(0.0, 1.5) | {"service": constant(2.0)},
    )
    assert visible(push(scenario, engine, [1.0, 3.0, 4.0])) == [7.0, 5.0, 9.0]


def test_requests_that_arrive_at_one_instant_queue_in_the_order_of_events(engine: Engine) -> None:
    """One worker, 2 s each. Event 0, refused at 1, comes again at 4, just as events 1 and 2 come."""
    scenario = small_world(
        webhook={"retry": retry(3.0)}, receiver=outage(0.0, 1.5) | {"service": constant(2.0)}
    )
    assert visible(push(scenario, engine, [1.0, 4.0, 4.0])) == [6.0, 8.0, 10.0]


# Outages.


@pytest.mark.parametrize(
    ("kind", "visible_s", "errors", "timeouts", "opened", "response_bytes"),
    [
        ("refuse", 5.5, 1, 0, 2, 300),  # no answer in bytes, and the connection is gone
        ("error", 5.5, 1, 0, 1, 600),
        ("black_hole", 8.5, 0, 1, 2, 300),
    ],
)
def test_what_an_outage_does_to_a_request(
    kind: str,
    visible_s: float,
    errors: int,
    timeouts: int,
    opened: int,
    response_bytes: int,
    engine: Engine,
) -> None:
    """Half a second each way; outage [0, 2), timeout 4, back-off 3, service 0.

    Sent at 1, answered at 1.5 without work, known at 2, sent again at 5. In silence: given up at 5, sent
    again at 8.
    """
    scenario = small_world(
        network={"one_way": constant(0.5)},
        webhook={"timeout_s": 4.0, "retry": retry(3.0)},
        receiver=outage(0.0, 2.0, kind),
    )
    run = push(scenario, engine, [1.0])
    assert visible(run) == [visible_s]
    assert (attempts(run), copies(run)) == ([2], [1])
    assert counted(run, "errors", "timeouts", "rejected") == [errors, timeouts, 0]
    assert counted(run, "connections_opened", "response_bytes") == [opened, response_bytes]


def test_an_outage_includes_its_start_and_excludes_its_end(engine: Engine) -> None:
    run = push(small_world(receiver=outage(2.0, 4.0)), engine, [1.75, 2.0, 3.75, 4.0])
    assert visible(run) == [1.75, "lost", "lost", 4.0]
    assert run.counters.errors == 2


def test_the_door_counts_when_the_request_arrives(engine: Engine) -> None:
    """One way 1, outage [2, 4): sent at 0.75, 1, 2.5 and 3."""
    scenario = small_world(network={"one_way": constant(1.0)}, receiver=outage(2.0, 4.0))
    assert visible(push(scenario, engine, [0.75, 1.0, 2.5, 3.0])) == [1.75, "lost", "lost", 4.0]


def test_work_accepted_before_an_outage_goes_on_and_is_answered(engine: Engine) -> None:
    """Event 1 is served over [1, 6), event 1.5 over [6, 11), through the outage [2, 20)."""
    scenario = small_world(
        webhook={"retry": retry(1.0)}, receiver=outage(2.0, 20.0) | {"service": constant(5.0)}
    )
    run = push(scenario, engine, [1.0, 1.5])
    assert visible(run) == [6.0, 11.0]
    assert attempts(run) == [1, 1]
    assert counted(run, "response_bytes", "errors") == [600, 0]


# Connections and bytes.


def test_a_connection_is_opened_when_none_is_idle_and_kept(engine: Engine) -> None:
    """Events 0 and 0.5 overlap, so two; event 2 comes as event 0's answer does and takes its connection."""
    scenario = small_world(receiver={"workers": 3, "service": constant(2.0)})
    run = push(scenario, engine, [0.0, 0.5, 2.0, 50.0])
    assert counted(run, "connections_opened", "connections_peak") == [2, 2]


def test_a_timeout_closes_its_connection(engine: Engine) -> None:
    """Silence until 1, timeout 2: event 0's connection closes at 2, just before event 1 opens one."""
    scenario = small_world(webhook={"timeout_s": 2.0}, receiver=outage(0.0, 1.0, "black_hole"))
    run = push(scenario, engine, [0.0, 2.0])
    assert counted(run, "connections_opened", "connections_peak") == [2, 1]
    run = push(scenario, engine, [0.0, 0.5, 5.0, 6.0])
    assert counted(run, "connections_opened", "connections_peak") == [3, 2]


def test_bytes_each_way(engine: Engine) -> None:
    """Two POSTs of 50 bytes of headers and 7 of payload; two answers of 20 bytes."""
    scenario = small_world(
        workload={"payload_bytes": 7}, network={"request_header_bytes": 50, "response_header_bytes": 20}
    )
    run = push(scenario, engine, [1.0, 2.0])
    assert counted(run, "requests", "request_bytes", "response_bytes") == [2, 114, 40]


def test_a_request_lost_on_its_way_was_sent(engine: Engine) -> None:
    run = push(small_world(network={"request_loss": 1.0}, webhook={"timeout_s": 1.0}), engine, [1.0])
    assert counted(run, "requests", "request_bytes", "response_bytes", "timeouts") == [1, 1600, 0, 1]
    assert (first_attempts(run), copies(run)) == ([1.0], [0])
