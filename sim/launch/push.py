"""The push family's kernels, run over a scenario."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.audience import Audience
from sim.distribution_specs import Constant
from sim.distributions import compile_distribution
from sim.kernels import parameters, pull, push, thin
from sim.kernels.feed import compile_rows
from sim.kernels.turns import NO_PAGES, NOBODY_ASKS, LetIn, Pages
from sim.launch.counting import combined, counters, no_integrals
from sim.records import Counters, Deliveries, Replication, Status, Via, empty_series
from sim.scenario import Scenario


def webhook(scenario: Scenario, audience: Audience, seed: int) -> Replication:
    """Push every event to every subscriber that wants it."""
    world, sender = parameters.compile_world(scenario, seed), parameters.compile_push(scenario)
    d, series = Deliveries.empty(audience, Via.WEBHOOK), empty_series(scenario)
    counted = _push_to_each(world, sender, d, series)
    return Replication(d, counted, series)


def webhook_reconciled(scenario: Scenario, audience: Audience, seed: int) -> Replication:
    """Poll for every subscriber; then push, every page arriving when it does."""
    world, sender = parameters.compile_world(scenario, seed), parameters.compile_push(scenario)
    poller = parameters.compile_pull(scenario, seed, scenario.reconciliation.polling)
    d, series = Deliveries.empty(audience, Via.WEBHOOK), empty_series(scenario)
    counts, at_api = np.zeros(len(pull.COUNTER_NAMES), dtype=np.int64), no_integrals()
    fetched = np.full(d.visible.shape, np.nan)
    opens_page = np.zeros(d.visible.shape, dtype=np.bool_)
    turns = np.zeros(d.visible.shape, dtype=np.int64)
    first_polled, polls = np.full_like(d.first_attempt, np.nan), np.zeros_like(d.attempts)
    pull.fetch(
        world, poller, compile_rows(audience), fetched, opens_page, turns, first_polled, polls,
        d.status, counts, at_api, series,
    )  # fmt: skip
    pages = Pages(fetched, opens_page, turns)
    pushed = _push_to_each(world, sender, d, series, pages=pages)
    np.fmin(d.first_attempt, first_polled, out=d.first_attempt)
    d.attempts[...] += polls
    polled = counters(pull.COUNTER_NAMES, counts, no_integrals(), at_api)
    return Replication(d, combined(pushed, polled), series)


def thin_webhook(scenario: Scenario, audience: Audience, seed: int) -> Replication:
    """Tell every subscriber; then fetch what they were told of; then let each receiver take it in."""
    world, sender = parameters.compile_world(scenario, seed), parameters.compile_push(scenario)
    api, fetching = parameters.compile_pull(scenario, seed), parameters.compile_fetching(scenario)
    d, series = Deliveries.empty(audience, Via.WEBHOOK), empty_series(scenario)

    at_once = compile_distribution(Constant(kind="constant", mean_s=0.0))
    telling = world._replace(
        receiver_service=at_once, preempt=False, payload_bytes=scenario.thin_webhook.notification_bytes
    )
    told = Deliveries.empty(audience, Via.WEBHOOK)
    let_in = LetIn(*(np.full(told.visible.shape, -1, dtype=np.int64) for _ in range(2)))
    notified = _push_to_each(telling, sender._replace(on_receipt=True), told, series, let_in=let_in)
    d.first_attempt[...], d.attempts[...] = told.first_attempt, told.attempts
    d.status[...] = np.where(told.status == Status.DELIVERED, Status.PENDING, told.status)

    counts, at_api, at_receivers = np.zeros(len(thin.COUNTER_NAMES), np.int64), no_integrals(), no_integrals()
    fetched = np.full(d.visible.shape, np.nan)
    order = np.full(d.visible.shape, -1, dtype=np.int64)
    thin.fetch_by_id(
        world, api, fetching, _in_order(told, let_in), fetched, order, d.attempts, d.status,
        counts, at_api, series,
    )  # fmt: skip
    for s, n in enumerate(audience.count):
        thin.take_in(
            world, s, fetched[s, :n], order[s, :n], d.visible[s, :n], d.copies[s, :n], d.via[s, :n],
            d.status[s, :n], counts, at_receivers,
        )  # fmt: skip
    brought = counters(thin.COUNTER_NAMES, counts, at_receivers, at_api)
    return Replication(d, combined(notified, brought), series)


def _in_order(told: Deliveries, let_in: LetIn) -> thin.Notifications:
    """All subscribers' notifications by time, then subscriber, then as they were let in."""
    who, place = np.nonzero(let_in.event >= 0)
    event, turn = let_in.event[who, place], let_in.turn[who, place]
    time_s = told.visible[who, event]
    by_time = np.argsort(time_s, kind="stable")
    return thin.Notifications(time_s[by_time], who[by_time], event[by_time], turn[by_time])


def _push_to_each(
    world: parameters.World,
    sender: parameters.Push,
    d: Deliveries,
    series: NDArray[np.int64],
    pages: Pages | None = None,
    let_in: LetIn | None = None,
) -> Counters:
    """Push to one subscriber after another, into records and series; returns what was counted."""
    total = np.zeros(len(push.COUNTER_NAMES), dtype=np.int64)
    integrals = no_integrals()
    for s, n in enumerate(d.audience.count):
        counts, of_this = np.zeros_like(total), no_integrals()
        push.push_to_subscriber(
            world, sender, d.audience.created_of(s), s,
            pages.of(s, n) if pages else NO_PAGES, let_in.of(s, n) if let_in else NOBODY_ASKS,
            d.first_attempt[s, :n], d.visible[s, :n], d.attempts[s, :n], d.copies[s, :n], d.via[s, :n],
            d.status[s, :n], counts, of_this, series,
        )  # fmt: skip
        longest = max(total[push.QUEUE_MAX], counts[push.QUEUE_MAX])
        total += counts
        total[push.QUEUE_MAX] = longest
        integrals += of_this
    return counters(push.COUNTER_NAMES, total, integrals)
