"""The push family's kernels, run over a scenario."""

from __future__ import annotations

import numpy as np

from sim.distribution_specs import Constant
from sim.distributions import compile_distribution
from sim.kernels import parameters, pull, push, thin
from sim.kernels.book import Share
from sim.kernels.each import push_to_each, reconcile_each
from sim.kernels.polled import Polled, nothing_polled
from sim.kernels.turns import LetIn
from sim.launch.counting import combined, counters, no_integrals
from sim.launch.ledger import Ledger
from sim.launch.pull import polled
from sim.records import Counters, Deliveries, Status, Via
from sim.scenario import Scenario


def webhook(scenario: Scenario, ledger: Ledger, seed: int) -> Counters:
    """Push every event to every subscriber that wants it."""
    world, sender = parameters.compile_world(scenario, seed), parameters.compile_push(scenario)
    return _push_to_each(world, sender, ledger, _nobody_asks())


def webhook_reconciled(scenario: Scenario, ledger: Ledger, seed: int) -> Counters:
    """Poll for every subscriber; then push, every page arriving when it does."""
    world, sender = parameters.compile_world(scenario, seed), parameters.compile_push(scenario)
    poller = parameters.compile_pull(scenario, seed, scenario.reconciliation.polling)
    width, may_wait = ledger.width, ledger.subscribers == 1

    def pushed(asks: parameters.Pull, together: Polled | None) -> Counters | None:
        def work(share: Share) -> Counters | None:
            counts, poll_counts = _no_counts(push.COUNTER_NAMES), _no_counts(pull.COUNTER_NAMES)
            at_receivers, at_api = no_integrals(), no_integrals()
            stands = reconcile_each(
                world, sender, asks, ledger.rows, share, together or nothing_polled(1, width),
                together is None, may_wait, counts, at_receivers, poll_counts, at_api,
            )  # fmt: skip
            if not stands:
                return None
            asked = counters(pull.COUNTER_NAMES, poll_counts, no_integrals(), at_api)
            return combined(counters(push.COUNTER_NAMES, counts, at_receivers), asked)

        return ledger.share_out_if(work)

    return polled(world, poller, ledger, pushed)


def thin_webhook(scenario: Scenario, ledger: Ledger, seed: int) -> Counters:
    """Tell every subscriber; then fetch what they were told of; then let each receiver take it in."""
    world, sender = parameters.compile_world(scenario, seed), parameters.compile_push(scenario)
    api, fetching = parameters.compile_pull(scenario, seed), parameters.compile_fetching(scenario)
    ledger.refuse_beyond_memory("fetches meet at the provider's API")
    shape = (ledger.subscribers, ledger.width)

    at_once = compile_distribution(Constant(kind="constant", mean_s=0.0))
    telling = world._replace(
        receiver_service=at_once, preempt=False, payload_bytes=scenario.thin_webhook.notification_bytes
    )
    told = Ledger(scenario, ledger.audience, Via.WEBHOOK, keep=True)
    let_in = LetIn(*(np.full(shape, -1, dtype=np.int64) for _ in range(2)))
    notified = _push_to_each(telling, sender._replace(on_receipt=True), told, let_in)
    ledger.series += told.series
    d = told.deliveries
    assert d is not None, "it keeps them"
    d.status[...] = np.where(d.status == Status.DELIVERED, Status.PENDING, d.status)

    counts, at_api = _no_counts(thin.COUNTER_NAMES), no_integrals()
    fetched = np.full(shape, np.nan)
    order = np.full(shape, -1, dtype=np.int64)
    thin.fetch_by_id(
        world, api, fetching, _in_order(d, let_in), fetched, order, d.attempts, d.status, counts, at_api,
        ledger.series,
    )  # fmt: skip

    def work(share: Share) -> Counters:
        taken, at_receivers = _no_counts(thin.COUNTER_NAMES), no_integrals()
        thin.take_in_each(
            world, ledger.rows, share, fetched, order, d.first_attempt, d.attempts, d.status, taken,
            at_receivers,
        )  # fmt: skip
        return counters(thin.COUNTER_NAMES, taken, at_receivers)

    brought = combined(ledger.share_out(work), counters(thin.COUNTER_NAMES, counts, no_integrals(), at_api))
    return combined(notified, brought)


def _in_order(told: Deliveries, let_in: LetIn) -> thin.Notifications:
    """All subscribers' notifications by time, then subscriber, then as they were let in."""
    who, place = np.nonzero(let_in.event >= 0)
    event, turn = let_in.event[who, place], let_in.turn[who, place]
    time_s = told.visible[who, event]
    by_time = np.argsort(time_s, kind="stable")
    return thin.Notifications(time_s[by_time], who[by_time], event[by_time], turn[by_time])


def _push_to_each(
    world: parameters.World, sender: parameters.Push, ledger: Ledger, let_in: LetIn
) -> Counters:
    """Push to one subscriber after another; returns what was counted."""

    def work(share: Share) -> Counters:
        counts, at_receivers = _no_counts(push.COUNTER_NAMES), no_integrals()
        push_to_each(world, sender, ledger.rows, share, let_in, counts, at_receivers)
        return counters(push.COUNTER_NAMES, counts, at_receivers)

    return ledger.share_out(work)


def _nobody_asks() -> LetIn:
    """Nothing to be filled in: nobody wants to know in which order events were let in."""
    return LetIn(np.empty((1, 0), dtype=np.int64), np.empty((1, 0), dtype=np.int64))


def _no_counts(names: tuple[str, ...]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.zeros(len(names), dtype=np.int64)
