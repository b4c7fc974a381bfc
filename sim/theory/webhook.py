"""The closed forms of webhooks as statements about scenarios."""

from __future__ import annotations

from sim.distribution_specs import Exponential
from sim.scenario import Scenario
from sim.theory.conditions import (
    CONSTANT_TRANSIT,
    NEGLIGIBLE,
    NO_LOSS,
    NO_OUTAGES,
    POISSON,
    QUANTILES,
    Condition,
    Formula,
    constant_s,
    poisson_exceeds,
    rate_per_s,
)
from sim.theory.queues import MMc
from sim.theory.retries import AtLeastOnce, outage_latency_mean_s, outage_lost_ratio, retry_offsets_s


def _transit_s(scenario: Scenario) -> float:
    return constant_s(scenario.network.one_way)


def _service_s(scenario: Scenario) -> float:
    return constant_s(scenario.receiver.service)


def _exponential_s(scenario: Scenario) -> float:
    service = scenario.receiver.service
    assert isinstance(service, Exponential)
    return service.mean_s


def _utilisation(scenario: Scenario) -> float:
    return rate_per_s(scenario) * _exponential_s(scenario) / scenario.receiver.workers


def _mmc(scenario: Scenario) -> MMc:
    return MMc(scenario.receiver.workers, rate_per_s(scenario), 1 / _exponential_s(scenario))


def _webhook_hold_s(scenario: Scenario) -> float:
    """How long an attempt that is answered on receipt holds its slot."""
    return 2 * _transit_s(scenario)


def _failure_known_s(scenario: Scenario) -> float:
    """From an attempt in the outage until its failure is known: the timeout, or a refusal's round trip."""
    black_hole = scenario.receiver.outages[0].kind == "black_hole"
    return scenario.webhook.timeout_s if black_hole else _webhook_hold_s(scenario)


def _outage_offsets_s(scenario: Scenario) -> list[float]:
    return retry_offsets_s(scenario.webhook.retry, _failure_known_s(scenario))


def _outage_in_flight(scenario: Scenario) -> float:
    """An upper bound of the mean number in flight: every attempt of every event fails."""
    return rate_per_s(scenario) * len(_outage_offsets_s(scenario)) * _failure_known_s(scenario)


def _lossy_in_flight(scenario: Scenario) -> float:
    webhook = scenario.webhook
    return rate_per_s(scenario) * webhook.retry.attempts_allowed * webhook.timeout_s


def _longest_retry_s(scenario: Scenario) -> float:
    """From an event to its last attempt's timeout, at most (full jitter only shortens it)."""
    timeout_s = scenario.webhook.timeout_s
    return retry_offsets_s(scenario.webhook.retry, timeout_s)[-1] + timeout_s


EXPONENTIAL_SERVICE = Condition(
    "receiver.service is exponential",
    lambda s: isinstance(s.receiver.service, Exponential),
    lambda s: s.receiver.service.kind,
)
STABLE = Condition(
    "the receiver's utilisation is below 1",
    lambda s: _utilisation(s) < 1,
    lambda s: f"{_utilisation(s):g}",
)
ON_RECEIPT = Condition(
    "receiver.acknowledge is on_receipt",
    lambda s: s.receiver.acknowledge == "on_receipt",
    lambda s: s.receiver.acknowledge,
)
ANSWERED_IN_TIME = Condition(
    "a webhook's round trip is below webhook.timeout_s",
    lambda s: _webhook_hold_s(s) < s.webhook.timeout_s,
    lambda s: f"{_webhook_hold_s(s):g} s",
)
SLOT_ALWAYS_FREE = Condition(
    f"webhook.max_in_flight is reached with probability below {NEGLIGIBLE:g}",
    lambda s: poisson_exceeds(rate_per_s(s) * _webhook_hold_s(s), s.webhook.max_in_flight - 1) < NEGLIGIBLE,
    lambda s: f"max_in_flight {s.webhook.max_in_flight}",
)
QUEUE_NEVER_FULL = Condition(
    f"receiver.queue_limit is reached with probability below {NEGLIGIBLE:g}",
    lambda s: _mmc(s).queue_reaches(s.receiver.queue_limit) < NEGLIGIBLE,
    lambda s: f"{_mmc(s).queue_reaches(s.receiver.queue_limit):.3g} at {s.receiver.queue_limit}",
)
STEADY = Condition(
    "run.warmup_s and drain_s cover ten relaxation times of the queue",
    lambda s: min(s.run.warmup_s, s.run.drain_s) >= 10 * _mmc(s).relaxation_s,
    lambda s: f"{s.run.warmup_s:g} s and {s.run.drain_s:g} s for {_mmc(s).relaxation_s:g} s",
)
ONE_OUTAGE = Condition(
    "receiver.outages has one entry",
    lambda s: len(s.receiver.outages) == 1,
    lambda s: f"{len(s.receiver.outages)} of them",
)
OUTAGE_INSIDE = Condition(
    "the outage lies within [warmup_s, duration_s], and a transit apart from its ends",
    lambda s: (
        s.run.warmup_s + _transit_s(s) <= s.receiver.outages[0].start_s
        and s.receiver.outages[0].start_s + s.receiver.outages[0].duration_s <= s.run.duration_s
    ),
    lambda s: f"from {s.receiver.outages[0].start_s:g} s for {s.receiver.outages[0].duration_s:g} s",
)
OUTAGE_DRAINED = Condition(
    "run.drain_s covers the last attempt",
    lambda s: s.run.drain_s > _outage_offsets_s(s)[-1] + _webhook_hold_s(s),
    lambda s: f"{s.run.drain_s:g} s for {_outage_offsets_s(s)[-1]:g} s",
)
RETRIES = Condition(
    "webhook.retry allows two attempts or more, at gaps above 0 and without jitter",
    lambda s: retry_offsets_s(s.webhook.retry)[-1] > 0 and s.webhook.retry.jitter == "none",
    lambda s: (
        f"{s.webhook.retry.kind}, {s.webhook.retry.attempts_allowed} attempts, {s.webhook.retry.jitter}"
    ),
)
SLOT_FREE_DESPITE_LOSS = Condition(
    f"webhook.max_in_flight is reached, were every attempt lost, with probability below {NEGLIGIBLE:g}",
    lambda s: poisson_exceeds(_lossy_in_flight(s), s.webhook.max_in_flight - 1) < NEGLIGIBLE,
    lambda s: f"{_lossy_in_flight(s):.3g} in flight at most, max_in_flight {s.webhook.max_in_flight}",
)
SLOT_FREE_IN_OUTAGE = Condition(
    f"webhook.max_in_flight is reached, even in the outage, with probability below {NEGLIGIBLE:g}",
    lambda s: poisson_exceeds(_outage_in_flight(s), s.webhook.max_in_flight - 1) < NEGLIGIBLE,
    lambda s: f"{_outage_in_flight(s):.3g} in flight at most, max_in_flight {s.webhook.max_in_flight}",
)
NO_SERVICE = Condition(
    "receiver.service is constant 0, so that nothing queues",
    lambda s: _service_s(s) == 0,
    lambda s: s.receiver.service.kind,
)
LOSSES = Condition(
    "network.request_loss or response_loss is above 0, and neither is 1",
    lambda s: (
        s.network.request_loss + s.network.response_loss > 0
        and max(s.network.request_loss, s.network.response_loss) < 1
    ),
    lambda s: f"{s.network.request_loss} and {s.network.response_loss}",
)
NO_DEADLINE = Condition(
    "webhook.retry.max_duration_s is absent",
    lambda s: s.webhook.retry.max_duration_s is None,
    lambda s: s.webhook.retry.max_duration_s,
)
NOT_DECORRELATED = Condition(
    "webhook.retry.jitter is not decorrelated, so that the last attempt's time is bounded",
    lambda s: s.webhook.retry.jitter != "decorrelated",
    lambda s: s.webhook.retry.jitter,
)
LOSSES_DRAINED = Condition(
    "run.drain_s covers the last attempt's timeout",
    lambda s: s.run.drain_s > _longest_retry_s(s),
    lambda s: f"{s.run.drain_s:g} s for {_longest_retry_s(s):g} s",
)


def _mmc_values(scenario: Scenario) -> dict[str, float]:
    queue, transit_s = _mmc(scenario), _transit_s(scenario)
    predicted = {
        "latency_mean_s": transit_s + queue.sojourn_mean_s,
        "receiver_utilisation": queue.utilisation,
        "receiver_queue_mean": queue.queue_mean,
    }
    for metric, p in QUANTILES.items():
        predicted[metric] = transit_s + queue.sojourn_quantile_s(p)
    return predicted


def _outage_values(scenario: Scenario) -> dict[str, float]:
    """Over the whole window: a share D/window of the (Poisson) events falls into the outage."""
    offsets, outage_s = _outage_offsets_s(scenario), scenario.receiver.outages[0].duration_s
    hit = outage_s / (scenario.run.duration_s - scenario.run.warmup_s)
    lost = hit * outage_lost_ratio(offsets, outage_s)
    late = (hit - lost) * outage_latency_mean_s(offsets, outage_s)
    return {"lost_ratio": lost, "latency_mean_s": _transit_s(scenario) + late / (1 - lost)}


def _at_least_once_values(scenario: Scenario) -> dict[str, float]:
    network = scenario.network
    sender = AtLeastOnce(network.request_loss, network.response_loss, scenario.webhook.retry.attempts_allowed)
    return {
        "attempts_per_event": sender.attempts_mean,
        "duplicates_per_event": sender.duplicates_mean,
        "lost_ratio": sender.never_received,
    }


M_M_C = Formula(
    "M/M/c latency of a queueing receiver",
    "webhook",
    (
        (POISSON, EXPONENTIAL_SERVICE, CONSTANT_TRANSIT, ON_RECEIPT),
        (STABLE, NO_LOSS, NO_OUTAGES, ANSWERED_IN_TIME, SLOT_ALWAYS_FREE),
        (QUEUE_NEVER_FULL, STEADY),
    ),
    _mmc_values,
)
OUTAGE = Formula(
    "retry schedule through an outage",
    "webhook",
    (
        (POISSON, ONE_OUTAGE, CONSTANT_TRANSIT, RETRIES),
        (NO_LOSS, NO_SERVICE, ANSWERED_IN_TIME, SLOT_FREE_IN_OUTAGE, OUTAGE_INSIDE, OUTAGE_DRAINED),
    ),
    _outage_values,
)
AT_LEAST_ONCE = Formula(
    "attempts and duplicates over a lossy way",
    "webhook",
    (
        (POISSON, LOSSES, CONSTANT_TRANSIT, NO_SERVICE, NO_DEADLINE, NOT_DECORRELATED),
        (NO_OUTAGES, ANSWERED_IN_TIME, SLOT_FREE_DESPITE_LOSS, LOSSES_DRAINED),
    ),
    _at_least_once_values,
)
