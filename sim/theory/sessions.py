"""The closed forms of long polling, reconciled webhooks and a pulled log as statements about scenarios."""

from __future__ import annotations

import math

from sim.scenario import Scenario
from sim.theory.conditions import (
    CONSTANT_TRANSIT,
    NEGLIGIBLE,
    NO_SERVICE,
    NO_TRANSIT,
    ONE_WORKER,
    POISSON,
    Condition,
    Formula,
    constant_s,
    poisson_exceeds,
    rate_per_s,
    second_moment_s2,
)
from sim.theory.features import ASKING, ERRORS, INTEREST, LOSS, PUSHING, RECEIVER, SETUP, nothing_of
from sim.theory.long_polling import LongPoll
from sim.theory.polling import UNCONTENDED_API
from sim.theory.receiver_queue import NO_RETRY
from sim.theory.reconciliation import Reconciled
from sim.theory.single_server import MG1
from sim.theory.webhook import ANSWERED_IN_TIME, SLOT_FREE_DESPITE_LOSS, transit_s


def _long_poll(scenario: Scenario) -> LongPoll:
    table = scenario.long_polling
    return LongPoll(rate_per_s(scenario), transit_s(scenario), table.hold_s, table.gap_s)


def _held_page_exceeds(scenario: Scenario) -> float:
    """The probability that a page is full; only what came in the gap fills one."""
    mean = rate_per_s(scenario) * _long_poll(scenario).gap_s
    return poisson_exceeds(mean, scenario.polling.page_size - 1) if mean else 0.0


def _reconciling_page_exceeds(scenario: Scenario) -> float:
    """The probability that a page is full: it shows all events since the last, lost or not."""
    mean = rate_per_s(scenario) * scenario.reconciliation.interval_s
    return poisson_exceeds(mean, scenario.reconciliation.page_size - 1)


def _return_s(scenario: Scenario) -> float:
    return constant_s(scenario.provider_api.service) + transit_s(scenario)


def _log_consumer(scenario: Scenario) -> MG1:
    service = scenario.receiver.service
    return MG1(rate_per_s(scenario), service.mean_s, second_moment_s2(service))


INSTANT_API = Condition(
    "provider_api.service is constant 0",
    lambda s: constant_s(s.provider_api.service) == 0,
    lambda s: f"{s.provider_api.service.kind}, mean {s.provider_api.service.mean_s:g} s",
)
HELD_TO_THE_END = Condition(
    "long_polling.hold_s and a round trip end before timeout_s and intermediary_timeout_s",
    lambda s: (
        s.long_polling.hold_s + 2 * transit_s(s)
        < min(s.long_polling.timeout_s, s.long_polling.intermediary_timeout_s or math.inf)
    ),
    lambda s: f"{s.long_polling.hold_s + 2 * transit_s(s):g} s",
)
CYCLES_BOUNDED = Condition(
    "long_polling.hold_s, gap_s or the transit is above 0",
    lambda s: s.long_polling.hold_s + s.long_polling.gap_s + transit_s(s) > 0,
    lambda s: f"{s.long_polling.hold_s:g}, {s.long_polling.gap_s:g} and {transit_s(s):g} s",
)
HELD_PAGE_NEVER_FULL = Condition(
    f"a page is full with probability below {NEGLIGIBLE:g}",
    lambda s: s.polling.page_size >= 2 and _held_page_exceeds(s) < NEGLIGIBLE,
    lambda s: f"{_held_page_exceeds(s):.3g} at page_size = {s.polling.page_size}",
)
LONG_POLL_WARM = Condition(
    "run.warmup_s covers polling.interval_s, at which the first request falls, and a cycle; drain_s another",
    lambda s: (
        min(s.run.warmup_s - s.polling.interval_s, s.run.drain_s)
        >= s.long_polling.hold_s + _long_poll(s).latency_max_s
    ),
    lambda s: f"{s.run.warmup_s:g} s and {s.run.drain_s:g} s",
)
SOME_ERRORS = Condition(
    "receiver.error_probability is above 0 and below 1",
    lambda s: 0 < s.receiver.error_probability < 1,
    lambda s: s.receiver.error_probability,
)
RANDOM_RECONCILIATION = Condition(
    "reconciliation.phase is random",
    lambda s: s.reconciliation.phase == "random",
    lambda s: s.reconciliation.phase,
)
RECONCILED_IN_TIME = Condition(
    "a poll's round trip is below reconciliation.timeout_s and interval_s",
    lambda s: _return_s(s) + transit_s(s) < min(s.reconciliation.timeout_s, s.reconciliation.interval_s),
    lambda s: f"{_return_s(s) + transit_s(s):g} s",
)
RECONCILING_PAGE_NEVER_FULL = Condition(
    f"a page of a reconciliation is full with probability below {NEGLIGIBLE:g}",
    lambda s: _reconciling_page_exceeds(s) < NEGLIGIBLE,
    lambda s: f"{_reconciling_page_exceeds(s):.3g} at page_size = {s.reconciliation.page_size}",
)
RECONCILIATIONS_DRAINED = Condition(
    "run.drain_s covers two reconciliations",
    lambda s: s.run.drain_s >= 2 * s.reconciliation.interval_s + transit_s(s) + _return_s(s),
    lambda s: f"{s.run.drain_s:g} s",
)
ONE_PARTITION = Condition(
    "broker_pull.partitions is 1", lambda s: s.broker_pull.partitions == 1, lambda s: s.broker_pull.partitions
)
SLEEPS_WHEN_EMPTY = Condition(
    "broker_pull.fetch_max_wait_s is 0 and fetch_min 1, so that an empty fetch is answered at once",
    lambda s: s.broker_pull.fetch_max_wait_s == 0 and s.broker_pull.fetch_min == 1,
    lambda s: f"{s.broker_pull.fetch_max_wait_s:g} s and {s.broker_pull.fetch_min}",
)
INSTANT_BROKER = Condition(
    "broker_pull.persist is constant 0",
    lambda s: constant_s(s.broker_pull.persist) == 0,
    lambda s: f"{s.broker_pull.persist.kind}, mean {s.broker_pull.persist.mean_s:g} s",
)
NO_REBALANCE = Condition(
    "broker_pull.rebalance_every is absent",
    lambda s: s.broker_pull.rebalance_every is None,
    lambda s: "present",
)
CONSUMER_STABLE = Condition(
    "the consumer's utilisation is above 0 and below 1",
    lambda s: 0 < rate_per_s(s) * s.receiver.service.mean_s < 1,
    lambda s: f"{rate_per_s(s) * s.receiver.service.mean_s:g}",
)
CONSUMER_STEADY = Condition(
    "run.warmup_s and drain_s cover ten relaxation times of the queue and ten of idle_s",
    lambda s: (
        min(s.run.warmup_s, s.run.drain_s) >= 10 * (_log_consumer(s).relaxation_s + s.broker_pull.idle_s)
    ),
    lambda s: f"{s.run.warmup_s:g} s and {s.run.drain_s:g} s",
)
UNDISTURBED_HOLDS = nothing_of(ASKING)
UNDISTURBED_BUT_ERRING = nothing_of(
    {f.key: f for f in (*PUSHING, *ASKING)}.values(), but=["receiver.error_probability"]
)
UNDISTURBED_LOG = nothing_of((*LOSS, *SETUP, *INTEREST, *RECEIVER, *ERRORS))


def _long_poll_values(scenario: Scenario) -> dict[str, float]:
    poll = _long_poll(scenario)
    return {
        "latency_mean_s": poll.latency_mean_s,
        "empty_ratio": poll.empty_ratio,
        "requests_per_event": poll.requests_per_s / poll.rate_per_s,
    }


def _reconciled_values(scenario: Scenario) -> dict[str, float]:
    reconciled = Reconciled(
        scenario.receiver.error_probability,
        scenario.reconciliation.interval_s,
        transit_s(scenario),
        _return_s(scenario),
    )
    predicted = {"latency_mean_s": reconciled.latency_mean_s, "lost_ratio": 0.0}
    if scenario.run.on_time_s is not None:
        predicted["on_time_ratio"] = 1 - reconciled.latency_exceeds(scenario.run.on_time_s)
    return predicted


def _log_values(scenario: Scenario) -> dict[str, float]:
    queue, idle_s = _log_consumer(scenario), scenario.broker_pull.idle_s
    wait_s = queue.wait_with_vacations_mean_s(idle_s, idle_s**2)
    return {
        "latency_mean_s": wait_s + queue.service_mean_s,
        "receiver_utilisation": queue.utilisation,
    }


L1 = Formula(
    "L1 latency and requests of long polling",
    "long_polling",
    (
        (POISSON, CONSTANT_TRANSIT, NO_SERVICE, INSTANT_API),
        (
            CYCLES_BOUNDED,
            UNCONTENDED_API,
            UNDISTURBED_HOLDS,
            HELD_TO_THE_END,
            HELD_PAGE_NEVER_FULL,
            LONG_POLL_WARM,
        ),
    ),
    _long_poll_values,
)
H1 = Formula(
    "H1 latency of reconciled webhooks",
    "webhook_reconciled",
    (
        (POISSON, CONSTANT_TRANSIT, NO_SERVICE, SOME_ERRORS, NO_RETRY),
        (
            UNDISTURBED_BUT_ERRING,
            UNCONTENDED_API,
            RANDOM_RECONCILIATION,
            ANSWERED_IN_TIME,
            SLOT_FREE_DESPITE_LOSS,
            RECONCILED_IN_TIME,
            RECONCILING_PAGE_NEVER_FULL,
            RECONCILIATIONS_DRAINED,
        ),
    ),
    _reconciled_values,
)
P6 = Formula(
    "P6 latency of a log that is slept on when empty",
    "broker_pull",
    (
        (POISSON, NO_TRANSIT, ONE_WORKER, ONE_PARTITION, SLEEPS_WHEN_EMPTY, INSTANT_BROKER, NO_REBALANCE),
        (UNDISTURBED_LOG, CONSUMER_STABLE),
        (CONSUMER_STEADY,),
    ),
    _log_values,
)
