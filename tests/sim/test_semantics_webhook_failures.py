"""Protects how webhooks fail and are put right, in both engines, by worlds small enough to work out by hand.

A receiver that fails of itself or mistrusts a signature; an endpoint that its provider switches off; dead
letters tried again by hand; a receiver that drops what it serves for what is newer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sim.engine import ENGINES, Engine
from sim.randomness import Stream, delivery_entity, uniform
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
    push,
    retry,
    seed_where,
    small_world,
    visible,
)

pytestmark = pytest.mark.parametrize("engine", ENGINES)

NO_RETRY = {"kind": "none"}
FOR_EVER = outage(0.0, 1000.0)


def outages(*spans_s: tuple[float, float], kind: str = "refuse") -> dict[str, Any]:
    return {"outages": [outage(start_s, end_s, kind)["outages"][0] for start_s, end_s in spans_s]}


def error_draws(wanted: dict[tuple[int, int], bool], probability: float = 0.5) -> int:
    """A seed under which the receiver fails, or does not, on (event, attempt), at subscriber 0."""
    return seed_where(
        lambda seed: all(
            (uniform(seed, Stream.RECEIVER_ERROR, delivery_entity(0, event), attempt) < probability) == fails
            for (event, attempt), fails in wanted.items()
        )
    )


# A receiver that fails for a reason of its own.


def test_a_failing_receiver_answers_at_once_without_having_taken_the_event_in(engine: Engine) -> None:
    """Sent at 1, 3 and 5, each heard to fail 1 s later: a transit of 0.5 each way and no service of 50."""
    scenario = small_world(
        network={"one_way": constant(0.5)},
        webhook={"retry": retry(1.0, attempts=3)},
        receiver={"error_probability": 1.0, "service": constant(50.0)},
    )
    run = push(scenario, engine, [1.0])
    assert visible(run) == ["lost"]
    assert (attempts(run), copies(run)) == ([3], [0])
    assert counted(run, "errors", "rejected", "timeouts", "dead_letters") == [3, 0, 0, 1]
    assert counted(run, "response_bytes", "receiver_busy_s", "connection_s") == [900, 0.0, 3.0]


def test_each_attempt_fails_by_a_draw_of_its_own(engine: Engine) -> None:
    scenario = small_world(webhook={"retry": retry(2.0)}, receiver={"error_probability": 0.5})
    seed = error_draws({(0, 1): True, (0, 2): True, (0, 3): False, (1, 1): False})
    run = push(scenario, engine, [1.0, 2.0], seed)
    assert visible(run) == [5.0, 2.0]
    assert run.counters.errors == 2


def test_a_failure_comes_after_the_door_and_before_the_queue(engine: Engine) -> None:
    """Event 0 is refused at the door, so nothing is sent back. Event 1 fails, and never meets the queue."""
    receiver = outage(0.0, 2.0) | {"error_probability": 0.5, "queue_limit": 0, "service": constant(9.0)}
    seed = error_draws({(0, 1): True, (1, 1): False, (2, 1): True, (3, 1): False})
    run = push(small_world(receiver=receiver), engine, [1.0, 3.0, 4.0, 5.0], seed)
    assert visible(run) == ["lost", 12.0, "lost", "lost"]
    assert counted(run, "errors", "rejected", "response_bytes") == [2, 1, 900]


# Signatures.


@pytest.mark.parametrize(
    ("clock_offset_s", "accepted"), [(0.0, False), (-0.75, False), (-1.0, True), (-3.0, True), (-3.25, False)]
)
def test_a_signature_may_be_off_by_the_tolerance_either_way(
    clock_offset_s: float, accepted: bool, engine: Engine
) -> None:
    """It arrives 2 s after it was signed; the receiver's clock makes of that 2, 1.25, 1, −1 or −1.25."""
    scenario = small_world(
        network={"one_way": constant(2.0)},
        receiver={"signature_tolerance_s": 1.0, "clock_offset_s": clock_offset_s},
    )
    run = push(scenario, engine, [1.0])
    assert visible(run) == [3.0 if accepted else "lost"]
    assert counted(run, "errors", "response_bytes") == [0 if accepted else 1, 300]


def test_every_attempt_is_signed_when_it_is_sent(engine: Engine) -> None:
    """5 s on its way, the first is refused; the second is signed at 11, though its event is as old as 10."""
    scenario = small_world(
        network={"one_way": one_of(0.25, 5.0)},
        webhook={"retry": retry(0.75)},
        receiver={"signature_tolerance_s": 1.0},
    )
    seed = seed_where(
        lambda seed: (
            uniform(seed, Stream.REQUEST_TRANSIT, 0, 1) > 0.5
            and uniform(seed, Stream.RESPONSE_TRANSIT, 0, 1) < 0.5
            and uniform(seed, Stream.REQUEST_TRANSIT, 0, 2) < 0.5
        )
    )
    run = push(scenario, engine, [5.0], seed)
    assert visible(run) == [11.25]
    assert attempts(run) == [2]


def test_without_a_tolerance_any_signature_will_do(engine: Engine) -> None:
    run = push(small_world(receiver={"clock_offset_s": 1e9}), engine, [1.0])
    assert visible(run) == [1.0]


# Endpoints switched off.


def test_failures_in_a_row_switch_an_endpoint_off_for_good(engine: Engine) -> None:
    """Refused at 0 and 1, off from then: the attempt due at 2 and the event of 5 are not sent."""
    scenario = small_world(
        webhook={"retry": retry(1.0), "disabling": {"consecutive_failures": 2}}, receiver=FOR_EVER
    )
    run = push(scenario, engine, [0.0, 5.0])
    assert visible(run) == ["lost", "lost"]
    assert attempts(run) == [2, 0]
    assert np.isnan(first_attempts(run)[1])
    assert counted(run, "requests", "errors", "unsent", "dead_letters") == [2, 2, 2, 2]


def flaky(**disabling: Any) -> Scenario:
    """Refuses over [0, 0.5), [2, 2.5), [3, 3.5) and [9, 9.5)."""
    return small_world(
        webhook={"disabling": disabling}, receiver=outages((0.0, 0.5), (2.0, 2.5), (3.0, 3.5), (9.0, 9.5))
    )


def test_an_acknowledged_attempt_ends_a_row(engine: Engine) -> None:
    run = push(flaky(consecutive_failures=2), engine, [0.0, 1.0, 2.0, 3.0, 4.0])
    assert visible(run) == ["lost", 1.0, "lost", "lost", "lost"]
    assert run.counters.unsent == 1


def test_an_endpoint_switched_on_again_starts_afresh(engine: Engine) -> None:
    """Off over [3, 8): excluding its end, when nothing is held against it, so one failure at 9 is one."""
    scenario = flaky(consecutive_failures=2, re_enable_after_s=5.0)
    run = push(scenario, engine, [0.0, 1.0, 2.0, 3.0, 7.75, 8.0, 9.0, 10.0])
    assert visible(run) == ["lost", 1.0, "lost", "lost", "lost", 8.0, "lost", 10.0]
    assert run.counters.unsent == 1


def test_nothing_but_failures_for_so_long_switches_an_endpoint_off(engine: Engine) -> None:
    """Failures at 0, 2 and 4, which is 4 s after the first; the one due at 6 is not sent."""
    scenario = small_world(
        webhook={"retry": retry(2.0), "disabling": {"failing_for_s": 4.0}}, receiver=FOR_EVER
    )
    run = push(scenario, engine, [0.0])
    assert attempts(run) == [3]
    assert counted(run, "unsent", "dead_letters") == [1, 1]


def test_the_span_of_failures_starts_after_the_last_success(engine: Engine) -> None:
    """Failures at 0, then at 2 and 3: 3 s from the first, 1 s since the success at 1. Then 9: 7 s."""
    run = push(flaky(failing_for_s=3.0), engine, [0.0, 1.0, 2.0, 3.0, 9.0, 9.75])
    assert visible(run) == ["lost", 1.0, "lost", "lost", "lost", "lost"]
    assert counted(run, "requests", "unsent") == [5, 1]
    run = push(flaky(failing_for_s=3.0), engine, [0.0, 1.0, 2.0, 3.0, 4.0, 9.0, 9.75])
    assert visible(run) == ["lost", 1.0, "lost", "lost", 4.0, "lost", 9.75]


def test_what_was_under_way_when_the_endpoint_went_off_arrives(engine: Engine) -> None:
    """Event 0 is known to have failed at 2. Event 1, sent at 1.5, arrives at 2.5; event 2 is not sent.

    Its success does not switch the endpoint on.
    """
    scenario = small_world(
        network={"one_way": constant(1.0)},
        webhook={"disabling": {"consecutive_failures": 1}},
        receiver=outage(0.0, 1.5),
    )
    run = push(scenario, engine, [0.0, 1.5, 3.0, 4.0])
    assert visible(run) == ["lost", 2.5, "lost", "lost"]
    assert counted(run, "requests", "unsent") == [2, 2]


def test_a_failure_known_while_off_is_not_held_against_the_endpoint(engine: Engine) -> None:
    """Event 1's failure is known at 3, within [2, 6): it neither counts nor prolongs that."""
    scenario = small_world(
        network={"one_way": constant(1.0)},
        webhook={"disabling": {"consecutive_failures": 1, "re_enable_after_s": 4.0}},
        receiver=outage(0.0, 2.5),
    )
    run = push(scenario, engine, [0.0, 1.0, 5.0, 6.0])
    assert visible(run) == ["lost", "lost", "lost", 7.0]
    assert run.counters.unsent == 1


def test_an_attempt_that_waits_for_its_slot_meets_an_endpoint_that_is_off(engine: Engine) -> None:
    """One slot, silence until the timeout at 4, which switches the endpoint off: events 1 and 2 get their
    slot at 4 and are not sent, nor hold it."""
    scenario = small_world(
        webhook={"timeout_s": 4.0, "max_in_flight": 1, "disabling": {"consecutive_failures": 1}},
        receiver=outage(0.0, 1000.0, "black_hole"),
    )
    run = push(scenario, engine, [0.0, 1.0, 2.0])
    assert attempts(run) == [1, 0, 0]
    assert visible(run) == ["lost"] * 3
    assert counted(run, "timeouts", "unsent") == [1, 2]


def test_each_endpoint_stands_for_itself(engine: Engine) -> None:
    """Only subscriber 0's answers to events 0 and 1 fail."""
    scenario = small_world(
        subscribers={"count": 2},
        webhook={"disabling": {"consecutive_failures": 2}},
        receiver={"error_probability": 0.5},
    )

    def fails(seed: int, subscriber: int, event: int) -> bool:
        return uniform(seed, Stream.RECEIVER_ERROR, delivery_entity(subscriber, event), 1) < 0.5

    seed = seed_where(
        lambda seed: (
            [fails(seed, 0, e) for e in range(3)] == [True, True, False]
            and not any(fails(seed, 1, e) for e in range(3))
        )
    )
    run = push(scenario, engine, [1.0, 2.0, 3.0], seed)
    assert visible(run, 0) == ["lost", "lost", "lost"]
    assert visible(run, 1) == [1.0, 2.0, 3.0]
    assert run.counters.unsent == 1


# Dead letters.


def by_hand(every_s: float, receiver: dict[str, Any], retries: Any = NO_RETRY, **more: Any) -> Scenario:
    return small_world(
        webhook={"retry": retries, "redelivery": {"every_s": every_s, **more}}, receiver=receiver
    )


def test_a_dead_letter_is_tried_again_at_the_next_look(engine: Engine) -> None:
    run = push(by_hand(10.0, outage(0.0, 5.0)), engine, [1.0, 7.0])
    assert visible(run) == [10.0, 7.0]
    assert attempts(run) == [2, 1]
    assert counted(run, "requests", "dead_letters", "redeliveries") == [3, 1, 1]


def test_a_look_at_the_instant_of_the_failure_is_too_early(engine: Engine) -> None:
    assert visible(push(by_hand(10.0, outage(9.5, 10.5)), engine, [10.0])) == [20.0]


@pytest.mark.parametrize(("rounds", "becomes", "tries"), [(1, "lost", 2), (2, 20.0, 3), (5, 20.0, 3)])
def test_a_failed_redelivery_waits_for_the_next_look_while_there_are_rounds(
    rounds: int, becomes: float | str, tries: int, engine: Engine
) -> None:
    run = push(by_hand(10.0, outage(0.0, 15.0), rounds=rounds), engine, [1.0])
    assert visible(run) == [becomes]
    assert attempts(run) == [tries]
    assert counted(run, "dead_letters", "redeliveries") == [1, tries - 1]


@pytest.mark.parametrize(("within_s", "becomes"), [(9.0, 10.0), (8.75, "lost")])
def test_only_dead_letters_young_enough_are_tried(
    within_s: float, becomes: float | str, engine: Engine
) -> None:
    """Given up at 3, its second attempt; the look at 10 finds an event 9 s old."""
    run = push(by_hand(10.0, outage(0.0, 5.0), retry(2.0, attempts=2), within_s=within_s), engine, [1.0])
    assert visible(run) == [becomes]
    assert counted(run, "dead_letters", "redeliveries") == [1, int(becomes == 10.0)]


def test_a_redelivery_has_no_retries_of_its_own(engine: Engine) -> None:
    """Refused at 1 and 2, then at the look at 10; a retry at 11.5 would have got through."""
    run = push(by_hand(10.0, outage(0.0, 11.25), retry(1.5, attempts=2)), engine, [1.0])
    assert visible(run) == ["lost"]
    assert attempts(run) == [3]


def test_what_was_not_sent_is_a_dead_letter_and_tried_again(engine: Engine) -> None:
    """Event 0 is refused at 1, so the endpoint is off over [1, 6) and event 1 is not sent at 2."""
    scenario = small_world(
        webhook={
            "retry": retry(20.0, attempts=1),
            "disabling": {"consecutive_failures": 1, "re_enable_after_s": 5.0},
            "redelivery": {"every_s": 10.0},
        },
        receiver=outage(0.0, 1.5),
    )
    run = push(scenario, engine, [1.0, 2.0])
    assert visible(run) == [10.0, 10.0]
    assert attempts(run) == [2, 1]
    assert first_attempts(run) == [1.0, 10.0]
    assert counted(run, "unsent", "dead_letters", "redeliveries") == [1, 2, 2]


def test_a_look_at_an_endpoint_that_is_off_uses_up_its_round(engine: Engine) -> None:
    """Off over [1, 11): the look at 10 sends nothing. One at 20 would get through, in a second round."""
    for rounds, becomes in ((1, "lost"), (2, 20.0)):
        scenario = small_world(
            webhook={
                "disabling": {"consecutive_failures": 1, "re_enable_after_s": 10.0},
                "redelivery": {"every_s": 10.0, "rounds": rounds},
            },
            receiver=outage(0.0, 1.5),
        )
        run = push(scenario, engine, [1.0])
        assert visible(run) == [becomes]
        assert counted(run, "unsent", "dead_letters", "redeliveries") == [1, 1, rounds]


def test_a_dead_letter_that_still_waits_for_its_look_is_pending(engine: Engine) -> None:
    """The world ends at 100, which the next look is not in."""
    run = push(by_hand(50.0, outage(90.0, 99.0)), engine, [95.0])
    assert visible(run) == ["pending"]
    assert counted(run, "dead_letters", "redeliveries") == [1, 0]


# Only the newest counts.


def monitor(service_s: float, **tables: dict[str, Any]) -> Scenario:
    receiver = {"service": constant(service_s), "discipline": "preempt", "acknowledge": "on_receipt"}
    return small_world(**tables | {"receiver": receiver | tables.get("receiver", {})})


def test_a_newly_accepted_event_pushes_out_the_one_in_service(engine: Engine) -> None:
    """Event 0 is served over [0, 1), 1 over [1, 3), 2 over [4, 6). Nobody waits, so nobody is turned away."""
    run = push(monitor(2.0, receiver={"queue_limit": 0}), engine, [0.0, 1.0, 4.0])
    assert visible(run) == ["lost", 3.0, 6.0]
    assert (attempts(run), copies(run)) == ([1, 1, 1], [1, 1, 1])
    assert counted(run, "rejected", "receiver_queue_max", "receiver_queue_integral_s") == [0, 0, 0.0]
    assert run.counters.receiver_busy_s == 5.0


def test_a_service_that_ends_as_a_request_arrives_is_not_pushed_out(engine: Engine) -> None:
    run = push(monitor(2.0), engine, [0.0, 2.0, 4.0])
    assert visible(run) == [2.0, 4.0, 6.0]


def test_an_event_pushed_out_comes_again_if_its_sender_is_not_done(engine: Engine) -> None:
    """A transit of 2 each way and a timeout of 3: every attempt times out, and there are two.

    Event 0 arrives at 2 and 6, event 1 at 3 and 7; each pushes the other out, and the last is served.
    """
    scenario = monitor(
        4.0,
        network={"one_way": constant(2.0)},
        webhook={"timeout_s": 3.0, "retry": retry(1.0, attempts=2)},
    )
    run = push(scenario, engine, [0.0, 1.0])
    assert visible(run) == ["lost", 11.0]
    assert copies(run) == [2, 2]
    assert run.counters.receiver_busy_s == 9.0


def test_a_late_copy_pushes_its_own_event_out_but_not_what_is_visible(engine: Engine) -> None:
    """Attempts at 0 and 4 (timeout 3, back-off 1), both accepted; transit 2.

    With 8 s of service the copy of 2 is pushed out at 6 by its own successor, served until 14. With 1 s it
    was visible at 3, and the second is a duplicate.
    """
    for service_s, visible_s in ((8.0, 14.0), (1.0, 3.0)):
        scenario = monitor(
            service_s,
            network={"one_way": constant(2.0)},
            webhook={"timeout_s": 3.0, "retry": retry(1.0, attempts=2)},
        )
        run = push(scenario, engine, [0.0])
        assert visible(run) == [visible_s]
        assert copies(run) == [2]


def test_a_monitor_that_is_slow_serves_slowly_what_starts_then(engine: Engine) -> None:
    """Over [3, 5) service takes three times as long: 2 at 0, 6 at 4."""
    slow = {"outages": [{"start_s": 3.0, "duration_s": 2.0, "kind": "slow", "slowdown": 3.0}]}
    assert visible(push(monitor(2.0, receiver=slow), engine, [0.0, 4.0])) == [2.0, 10.0]


def test_of_a_page_the_last_event_is_served(engine: Engine) -> None:
    """Polled at 10: event 3 pushes out 1 and 2 at once, even if service takes no time. Polled at 20: 15."""
    for service_s in (0.0, 2.0):
        run = poll(monitor(service_s), engine, [1.0, 2.0, 3.0, 15.0])
        assert visible(run) == ["lost", "lost", 10.0 + service_s, 20.0 + service_s]
        assert copies(run) == [1, 1, 1, 1]
        assert counted(run, "receiver_busy_s", "receiver_queue_max") == [2 * service_s, 0]


def test_a_page_pushes_out_the_page_before_it(engine: Engine) -> None:
    """Served from 10 for 15 s, event 3 is pushed out at 20."""
    run = poll(monitor(15.0), engine, [1.0, 3.0, 15.0])
    assert visible(run) == ["lost", "lost", 35.0]
    assert run.counters.receiver_busy_s == 25.0
