"""From a scenario and an arm to the plan of a load, for `hookbench load` and plain Locust alike."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from loadtest.crowd import adaptive_schedule, crowd_schedule, phases_s, shaped_schedule
from loadtest.schedule import (
    DEFAULT_POOL_SIZE,
    Plan,
    event_schedule,
    event_times_s,
    require_schedulable,
    scheduled_scenario,
    with_shape,
)
from loadtest.senders import PUBLIC_URL, URL_SIGNED, path_of, require_source, source_of
from loadtest.traffic import (
    CROWD_STORMS,
    SENDER_STORMS,
    parse_storms,
    payload_sizes,
    retry_delays_us,
    traffic,
)
from sim.errors import InputError

if TYPE_CHECKING:
    from sim.scenario import Scenario

SENDERS = ("webhook", "thin_webhook")
CROWDS = ("polling", "conditional_polling", "adaptive_polling")
LISTENERS = ("long_polling", "streaming")
LOAD_ARMS = (*SENDERS, *CROWDS, *LISTENERS)

MOST_IN_PAGE = 1000
"""The reference provider's own limit."""

MOST_CLIENTS = 100_000
LISTENER_POOL_SIZE = 20
"""Greenlets that publish what the held connections wait for."""


@dataclass(frozen=True)
class Wishes:
    """What a load is besides its scenario.

    Attributes:
        rate_per_s: instead of the workload, a Poisson process at this rate; of polls, for a crowd.
        shape: instead of the workload, a load shape (see `sim.shape`); of polls, for a crowd.
        duration_s: seconds of load; see `scheduled_scenario`.
        storms: see `loadtest.traffic`.
        source: whose webhooks the senders send; by default those of the scenario's provider.
        payload_cv: coefficient of variation of the payloads' sizes, lognormal; 0: all alike.
        clients: how many pollers or held connections; by default the scenario's subscribers.
        public_url: of a receiver that is not ours, for providers that sign it; by default its host.
        path: the request path at a server that is not ours; by default that of the reference servers.
    """

    rate_per_s: float | None = None
    shape: str | None = None
    duration_s: float | None = None
    storms: tuple[str, ...] = ()
    source: str | None = None
    payload_cv: float = 0.0
    clients: int | None = None
    public_url: str | None = None
    path: str | None = None


def require_sensible(arm: str, wishes: Wishes) -> None:
    """Refuse what cannot be wished of an arm.

    Raises:
        InputError: naming the option and what would be accepted.
    """
    storms = SENDER_STORMS if arm == "webhook" else CROWD_STORMS if arm in CROWDS else ()
    parse_storms(wishes.storms, storms, arm)
    if wishes.source is not None:
        require_source(wishes.source)
        if arm != "webhook":
            raise InputError(f"--source says whose webhooks are sent; {arm} has none")
    if not (math.isfinite(wishes.payload_cv) and 0 <= wishes.payload_cv <= 100):
        raise InputError(f"--payload-cv must be a number from 0 to 100, got {wishes.payload_cv}")
    if wishes.payload_cv and arm != "webhook":
        raise InputError(f"--payload-cv varies the bodies that are sent; {arm} sends none")
    if wishes.clients is not None:
        if arm in SENDERS:
            raise InputError(f"--clients is for pollers and held connections; {arm} has senders (--pool)")
        if not 1 <= wishes.clients <= MOST_CLIENTS:
            raise InputError(f"--clients must be from 1 to {MOST_CLIENTS:,}, got {wishes.clients}")
        if arm in CROWDS and wishes.rate_per_s is not None:
            raise InputError("--clients and --rate both say how many pollers there are: give one of them")
    if wishes.path is not None:
        if arm in LISTENERS:
            raise InputError(f"--path names one path; {arm} publishes at one and listens at another")
        if not wishes.path.startswith("/"):
            raise InputError(f"--path {wishes.path!r}: expected a path such as /hooks/orders")
    if arm in CROWDS and wishes.shape is not None and wishes.storms:
        raise InputError("a herd and a shape both say when pollers ask: give one of them")
    if arm == "adaptive_polling" and (wishes.rate_per_s is not None or wishes.shape is not None):
        raise InputError("adaptive pollers choose their own pace: give --clients, not --rate or --shape")


def scenario_for(arm: str, scenario: Scenario, wishes: Wishes) -> Scenario:
    """The scenario as it will be run: the wished workload, in real time.

    Raises:
        InputError: see `require_sensible` and `scheduled_scenario`.
    """
    require_sensible(arm, wishes)
    shaped = with_shape(scenario, wishes.shape, wishes.rate_per_s)
    if arm in CROWDS:
        # For a crowd of pollers rate and shape are of polls: the events stay as they are.
        duration_s = scheduled_scenario(shaped, None, wishes.duration_s).run.duration_s
        return scheduled_scenario(scenario, None, duration_s)
    return scheduled_scenario(shaped, wishes.rate_per_s, wishes.duration_s)


def plan_of(arm: str, scenario: Scenario, seed: int, wishes: Wishes, run_id: str) -> Plan:
    """The plan of an arm, for a scenario that `scenario_for` made; pool and cursors are the caller's.

    Raises:
        InputError: nothing falls within the run, or too much.
    """
    make = _sender_plan if arm in SENDERS else _crowd_plan if arm in CROWDS else _listener_plan
    plan = make(arm, scenario, seed, wishes, run_id)
    if wishes.path is None:
        return plan
    if arm in SENDERS and plan.source in URL_SIGNED:
        raise InputError(f"--path: {plan.source} signs its URL, whose path is {plan.path}")
    return replace(plan, path=wishes.path)


def _sender_plan(arm: str, scenario: Scenario, seed: int, wishes: Wishes, run_id: str) -> Plan:
    events_us = event_schedule(scenario, seed)
    storms = parse_storms(wishes.storms, SENDER_STORMS, arm)
    thin = arm == "thin_webhook"
    mean_bytes = scenario.thin_webhook.notification_bytes if thin else scenario.workload.payload_bytes
    source = "standard" if thin else wishes.source or source_of(scenario)
    plan = Plan(
        run_id=run_id,
        arm=arm,
        path=path_of(source),
        offsets_us=events_us,
        payload_bytes=mean_bytes,
        timeout_s=scenario.webhook.timeout_s,
        source=source,
        public_url=PUBLIC_URL,
        sizes=payload_sizes(mean_bytes, wishes.payload_cv, events_us.size, seed),
    )
    if not storms:
        return plan
    requests = traffic(events_us, storms, seed)
    return replace(
        plan,
        offsets_us=requests.offsets_us,
        event=requests.event,
        kind=requests.kind,
        retries_us=retry_delays_us(scenario, storms.get("retries"), seed, events_us.size),
    )


def pollers_and_interval(scenario: Scenario, wishes: Wishes) -> tuple[int, float]:
    """How many pollers a crowd has, and how often each asks, seconds.

    So many polls a second are so many pollers of the scenario's interval, at least one, a little faster then.
    """
    interval_s = scenario.polling.interval_s
    if wishes.clients is not None:
        return wishes.clients, interval_s
    if wishes.rate_per_s is not None:
        pollers = max(1, round(wishes.rate_per_s * interval_s))
        return pollers, pollers / wishes.rate_per_s
    if wishes.shape is not None:
        shaped, duration_s = with_shape(scenario, wishes.shape), scenario.run.duration_s
        assert shaped.workload.kind == "shaped"
        rate_per_s = shaped.workload.expected_events(duration_s) / duration_s
        return max(1, round(rate_per_s * interval_s)), interval_s
    return scenario.subscribers.count, interval_s


def _crowd_plan(arm: str, scenario: Scenario, seed: int, wishes: Wishes, run_id: str) -> Plan:
    pollers, interval_s = pollers_and_interval(scenario, wishes)
    duration_s = scenario.run.duration_s
    page_size = min(scenario.polling.page_size, MOST_IN_PAGE)
    events_s = event_times_s(scenario, seed)
    herd = parse_storms(wishes.storms, CROWD_STORMS, arm).get("herd")
    herd_s = None if herd is None else herd.values["within"]
    if arm == "adaptive_polling":
        polls = adaptive_schedule(scenario, phases_s(scenario, seed, pollers, herd_s), events_s, page_size)
    elif wishes.shape is not None:
        asked_us = event_schedule(with_shape(scenario, wishes.shape), seed)
        polls = shaped_schedule(asked_us, pollers, events_s, page_size)
    else:
        require_schedulable(pollers * (duration_s / interval_s + 1), "pollers × duration / interval")
        asking = scenario.with_values(**{"polling.interval_s": interval_s})
        phases = phases_s(asking, seed, pollers, herd_s)
        polls = crowd_schedule(phases, interval_s, duration_s, events_s, page_size)
    if polls.offsets_us.size == 0:
        raise InputError(
            f"no poll falls within {duration_s:g} s at one poll every {interval_s:g} s "
            f"from each of {pollers} pollers; raise --rate or --duration"
        )
    return Plan(
        run_id=run_id,
        arm=arm,
        path="/events",
        offsets_us=polls.offsets_us,
        payload_bytes=scenario.workload.payload_bytes,
        timeout_s=scenario.polling.timeout_s,
        due=polls.due,
        page_size=page_size,
    )


def _listener_plan(arm: str, scenario: Scenario, seed: int, wishes: Wishes, run_id: str) -> Plan:
    clients = wishes.clients or scenario.subscribers.count
    events_us = event_schedule(scenario, seed)
    require_schedulable(float(events_us.size) * clients, "events × clients")
    held = scenario.long_polling
    return Plan(
        run_id=run_id,
        arm=arm,
        path="/events" if arm == "long_polling" else "/events/stream",
        offsets_us=events_us,
        payload_bytes=scenario.workload.payload_bytes,
        timeout_s=held.timeout_s if arm == "long_polling" else scenario.streaming.heartbeat_timeout_s,
        pool_size=min(DEFAULT_POOL_SIZE, LISTENER_POOL_SIZE),
        page_size=min(scenario.polling.page_size, MOST_IN_PAGE),
        clients=clients,
        wait_s=held.hold_s,
    )


def due_most(plan: Plan) -> int:
    """The most events that any poll of a crowd is to find."""
    return int(np.max(plan.due, initial=0))
