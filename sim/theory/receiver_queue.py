"""The closed forms of a receiver that webhooks queue at, as statements about scenarios."""

from __future__ import annotations

import math

from sim.distribution_specs import Constant, Exponential
from sim.scenario import Scenario
from sim.theory.age import (
    blocking_aoi_mean_s,
    blocking_peak_aoi_mean_s,
    fcfs_poisson_aoi_mean_s,
    in_order_peak_aoi_mean_s,
    periodic_aoi_mean_s,
    preemptive_aoi_mean_s,
    preemptive_peak_aoi_mean_s,
)
from sim.theory.conditions import (
    CONSTANT_TRANSIT,
    NEGLIGIBLE,
    ONE_WORKER,
    PERIODIC,
    POISSON,
    QUANTILES,
    Condition,
    Formula,
    constant_s,
    rate_per_s,
    second_moment_s2,
)
from sim.theory.features import PUSHING, nothing_of
from sim.theory.finite_queues import MMcK
from sim.theory.queues import MDc, MMc
from sim.theory.single_server import DM1, MG1
from sim.theory.webhook import ANSWERED_IN_TIME, SLOT_ALWAYS_FREE, transit_s


def _service_mean_s(scenario: Scenario) -> float:
    return scenario.receiver.service.mean_s


def _utilisation(scenario: Scenario) -> float:
    return rate_per_s(scenario) * _service_mean_s(scenario) / scenario.receiver.workers


def _mmc(scenario: Scenario) -> MMc:
    return MMc(scenario.receiver.workers, rate_per_s(scenario), 1 / _service_mean_s(scenario))


def _mg1(scenario: Scenario) -> MG1:
    service = scenario.receiver.service
    return MG1(rate_per_s(scenario), service.mean_s, second_moment_s2(service))


def _mdc(scenario: Scenario) -> MDc:
    return MDc(scenario.receiver.workers, rate_per_s(scenario), _service_mean_s(scenario))


def _dm1(scenario: Scenario) -> DM1:
    return DM1(rate_per_s(scenario), 1 / _service_mean_s(scenario))


def _mmck(scenario: Scenario) -> MMcK:
    workers = scenario.receiver.workers
    places = workers + scenario.receiver.queue_limit
    return MMcK(workers, places, rate_per_s(scenario), 1 / _service_mean_s(scenario))


def _relaxation_s(scenario: Scenario) -> float:
    """The time in which an empty start is forgotten, for a stable receiver; that of M/M/1 bounds D/M/1's."""
    if isinstance(scenario.receiver.service, Exponential):
        return _mmc(scenario).relaxation_s
    return _mg1(scenario).relaxation_s if scenario.receiver.workers == 1 else _mdc(scenario).relaxation_s


def _is_full_with(scenario: Scenario) -> float:
    """The probability that an arrival finds the queue full; for service that is not exponential, roughly.

    The number waiting is then taken for geometric, as it is for exponential service and, whatever the
    service, in heavy traffic (Kingman, "The single server queue in heavy traffic", Proc. Cambridge Phil.
    Soc. 57, 1961).
    """
    limit = scenario.receiver.queue_limit
    if isinstance(scenario.receiver.service, Exponential):
        return _mmc(scenario).queue_reaches(limit)
    queue = _mg1(scenario) if scenario.receiver.workers == 1 else _mdc(scenario)
    waiting = queue.queue_mean / queue.utilisation
    return (waiting / (1 + waiting)) ** limit


EXPONENTIAL_SERVICE = Condition(
    "receiver.service is exponential",
    lambda s: isinstance(s.receiver.service, Exponential),
    lambda s: s.receiver.service.kind,
)
NOT_EXPONENTIAL_SERVICE = Condition(
    "receiver.service is not exponential (M/M/c says more), and above 0",
    lambda s: not isinstance(s.receiver.service, Exponential) and _service_mean_s(s) > 0,
    lambda s: f"{s.receiver.service.kind}, mean {_service_mean_s(s):g} s",
)
CONSTANT_SERVICE = Condition(
    "receiver.service is constant and above 0",
    lambda s: constant_s(s.receiver.service) > 0,
    lambda s: s.receiver.service.kind,
)
MEMORYLESS_OR_CONSTANT = Condition(
    "receiver.service is exponential, or constant and above 0",
    lambda s: isinstance(s.receiver.service, Exponential) or constant_s(s.receiver.service) > 0,
    lambda s: s.receiver.service.kind,
)
WORKERS = Condition(
    "receiver.workers is 2 or more (M/G/1 holds for 1)",
    lambda s: s.receiver.workers >= 2,
    lambda s: s.receiver.workers,
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
QUEUE_NEVER_FULL = Condition(
    f"receiver.queue_limit is reached with probability below {NEGLIGIBLE:g}",
    lambda s: _is_full_with(s) < NEGLIGIBLE,
    lambda s: f"{_is_full_with(s):.3g} at {s.receiver.queue_limit}",
)
STEADY = Condition(
    "run.warmup_s and drain_s cover ten relaxation times of the queue",
    lambda s: min(s.run.warmup_s, s.run.drain_s) >= 10 * _relaxation_s(s),
    lambda s: f"{s.run.warmup_s:g} s and {s.run.drain_s:g} s for {_relaxation_s(s):g} s",
)
STEADY_WITH_LOSS = Condition(
    STEADY.needs,
    lambda s: min(s.run.warmup_s, s.run.drain_s) >= 10 * _mmck(s).relaxation_s,
    lambda s: f"{s.run.warmup_s:g} s and {s.run.drain_s:g} s for {_mmck(s).relaxation_s:g} s",
)
NO_RETRY = Condition(
    "webhook.retry allows one attempt",
    lambda s: s.webhook.retry.attempts_allowed == 1,
    lambda s: s.webhook.retry.attempts_allowed,
)
SMALL_QUEUE = Condition(
    f"receiver.queue_limit is at most 1000, and reached with probability {NEGLIGIBLE:g} or more",
    lambda s: s.receiver.queue_limit <= 1000 and (_utilisation(s) >= 1 or _is_full_with(s) >= NEGLIGIBLE),
    lambda s: s.receiver.queue_limit,
)
PREEMPTING = Condition(
    "receiver.discipline is preempt",
    lambda s: s.receiver.discipline == "preempt",
    lambda s: s.receiver.discipline,
)
PREEMPTING_FORGETS = Condition(
    "run.warmup_s and drain_s cover 21 updates and services",
    lambda s: min(s.run.warmup_s, s.run.drain_s) >= 21 * (1 / rate_per_s(s) + _service_mean_s(s)),
    lambda s: f"{s.run.warmup_s:g} s and {s.run.drain_s:g} s",
)
UNDISTURBED = nothing_of(PUSHING)
UNDISTURBED_PREEMPTING = nothing_of(PUSHING, but=["receiver.discipline"])


def _with_quantiles(scenario: Scenario, queue: MMc | DM1) -> dict[str, float]:
    predicted = _means(scenario, queue)
    for metric, p in QUANTILES.items():
        predicted[metric] = transit_s(scenario) + queue.sojourn_quantile_s(p)
    return predicted


def _means(scenario: Scenario, queue: MMc | MG1 | MDc | DM1 | MMcK) -> dict[str, float]:
    return {
        "latency_mean_s": transit_s(scenario) + queue.sojourn_mean_s,
        "receiver_utilisation": queue.utilisation,
        "receiver_queue_mean": queue.queue_mean,
    }


def _mmc_values(scenario: Scenario) -> dict[str, float]:
    return _with_quantiles(scenario, _mmc(scenario))


def _mg1_values(scenario: Scenario) -> dict[str, float]:
    return _means(scenario, _mg1(scenario))


def _mdc_values(scenario: Scenario) -> dict[str, float]:
    return _means(scenario, _mdc(scenario))


def _aoi_values(scenario: Scenario) -> dict[str, float]:
    queue, rate = _mg1(scenario), rate_per_s(scenario)
    load = rate * queue.service_mean_s
    constant = isinstance(scenario.receiver.service, Constant)
    laplace = math.exp(-load) if constant else 1 / (1 + load)
    return {
        "aoi_mean_s": transit_s(scenario) + fcfs_poisson_aoi_mean_s(queue, laplace),
        "peak_aoi_mean_s": transit_s(scenario) + in_order_peak_aoi_mean_s(1 / rate, queue.sojourn_mean_s),
    }


def _dm1_values(scenario: Scenario) -> dict[str, float]:
    queue, period_s = _dm1(scenario), 1 / rate_per_s(scenario)
    ages = {
        "aoi_mean_s": transit_s(scenario) + periodic_aoi_mean_s(period_s, queue.sojourn_mean_s),
        "peak_aoi_mean_s": transit_s(scenario) + in_order_peak_aoi_mean_s(period_s, queue.sojourn_mean_s),
    }
    return _with_quantiles(scenario, queue) | ages


def _mmck_values(scenario: Scenario) -> dict[str, float]:
    queue = _mmck(scenario)
    predicted = _means(scenario, queue) | {
        "lost_ratio": queue.lost_ratio,
        "rejected_ratio": queue.lost_ratio,
    }
    if queue.places == 1:
        rates = queue.arrivals_per_s, queue.services_per_s
        predicted["aoi_mean_s"] = transit_s(scenario) + blocking_aoi_mean_s(*rates)
        predicted["peak_aoi_mean_s"] = transit_s(scenario) + blocking_peak_aoi_mean_s(*rates)
    return predicted


def _preemptive_values(scenario: Scenario) -> dict[str, float]:
    """What is served beats the next update, so it took 1/(λ + μ); the rest, λ/(λ + μ) of all, is dropped."""
    rates = rate_per_s(scenario), 1 / _service_mean_s(scenario)
    return {
        "latency_mean_s": transit_s(scenario) + 1 / sum(rates),
        "lost_ratio": rates[0] / sum(rates),
        "aoi_mean_s": transit_s(scenario) + preemptive_aoi_mean_s(*rates),
        "peak_aoi_mean_s": transit_s(scenario) + preemptive_peak_aoi_mean_s(*rates),
    }


_ACCEPTED = (UNDISTURBED, ANSWERED_IN_TIME, SLOT_ALWAYS_FREE)
_STEADY = (QUEUE_NEVER_FULL, STEADY)

M_M_C = Formula(
    "M/M/c latency of a queueing receiver",
    "webhook",
    ((POISSON, EXPONENTIAL_SERVICE, CONSTANT_TRANSIT, ON_RECEIPT), (STABLE, *_ACCEPTED), _STEADY),
    _mmc_values,
)
M_G_1 = Formula(
    "M/G/1 latency of a queueing receiver",
    "webhook",
    (
        (POISSON, NOT_EXPONENTIAL_SERVICE, ONE_WORKER, CONSTANT_TRANSIT, ON_RECEIPT),
        (STABLE, *_ACCEPTED),
        _STEADY,
    ),
    _mg1_values,
)
M_D_C = Formula(
    "M/D/c latency of a queueing receiver",
    "webhook",
    (
        (POISSON, CONSTANT_SERVICE, WORKERS, CONSTANT_TRANSIT, ON_RECEIPT),
        (STABLE, *_ACCEPTED),
        _STEADY,
    ),
    _mdc_values,
)
D_M_1 = Formula(
    "D/M/1 latency and age of information of a queueing receiver",
    "webhook",
    (
        (PERIODIC, EXPONENTIAL_SERVICE, ONE_WORKER, CONSTANT_TRANSIT, ON_RECEIPT),
        (STABLE, *_ACCEPTED),
        _STEADY,
    ),
    _dm1_values,
)
AGE_OF_INFORMATION = Formula(
    "age of information of a receiver with one worker",
    "webhook",
    (
        (POISSON, MEMORYLESS_OR_CONSTANT, ONE_WORKER, CONSTANT_TRANSIT, ON_RECEIPT),
        (STABLE, *_ACCEPTED),
        _STEADY,
    ),
    _aoi_values,
)
M_M_C_K = Formula(
    "M/M/c/K losses of a small queue",
    "webhook",
    (
        (POISSON, EXPONENTIAL_SERVICE, CONSTANT_TRANSIT, ON_RECEIPT, NO_RETRY),
        (SMALL_QUEUE, *_ACCEPTED, STEADY_WITH_LOSS),
    ),
    _mmck_values,
)
PREEMPTIVE = Formula(
    "age of information of a pre-empting receiver",
    "webhook",
    (
        (POISSON, PREEMPTING, EXPONENTIAL_SERVICE, CONSTANT_TRANSIT),
        (UNDISTURBED_PREEMPTING, ANSWERED_IN_TIME, SLOT_ALWAYS_FREE, PREEMPTING_FORGETS),
    ),
    _preemptive_values,
)
