"""The closed forms of a polled state as statements about scenarios: freshness, ages, updates seen."""

from __future__ import annotations

from sim.distribution_specs import Exponential
from sim.scenario import PeriodicWorkload, Scenario
from sim.theory.age import in_order_peak_aoi_mean_s, zero_wait_aoi_mean_s
from sim.theory.conditions import (
    CONSTANT_TRANSIT,
    LAST_VALUE,
    NO_SERVICE,
    POISSON,
    POISSON_OR_PERIODIC,
    Condition,
    Formula,
    constant_s,
    rate_per_s,
    second_moment_s2,
)
from sim.theory.features import ASKING, nothing_of
from sim.theory.freshness import age_mean_s, freshness
from sim.theory.polling import (
    CONSTANT_API,
    MANY_CYCLES,
    NO_JITTER,
    NO_TICK_SKIPPED,
    PAGE_NEVER_FULL,
    POLL_IN_TIME,
    POLLS_DRAINED,
    RANDOM_PHASE,
    UNCONTENDED_API,
    UNDISTURBED,
    cycle_of,
    is_constant_cycle,
    return_s,
)

_FORGET = 21  # exp(-21) < NEGLIGIBLE


def _update_age_mean_s(scenario: Scenario) -> float:
    """How old the newest update is at a time that has nothing to do with it."""
    gap_s = 1 / rate_per_s(scenario)
    return gap_s / 2 if isinstance(scenario.workload, PeriodicWorkload) else gap_s


def _sampler_cycle_s(scenario: Scenario) -> float:
    """The mean time from one look to the next of a fixed delay, with a random service at the API."""
    transit_s = constant_s(scenario.network.one_way)
    return scenario.polling.interval_s + scenario.provider_api.service.mean_s + 2 * transit_s


EXPONENTIAL_API = Condition(
    "provider_api.service is exponential",
    lambda s: isinstance(s.provider_api.service, Exponential),
    lambda s: s.provider_api.service.kind,
)
FIXED_DELAY = Condition(
    "polling.schedule is fixed_delay",
    lambda s: s.polling.schedule == "fixed_delay",
    lambda s: s.polling.schedule,
)
ONE_UPDATE_LEAVES_ROOM = Condition(
    "polling.page_size is 2 or more, so that the newest update alone does not fill a page",
    lambda s: s.polling.page_size >= 2,
    lambda s: s.polling.page_size,
)
ANSWER_IN_TIME = Condition(
    f"polling.timeout_s covers the round trip with a service of {_FORGET} times its mean",
    lambda s: (
        s.polling.timeout_s >= 2 * constant_s(s.network.one_way) + _FORGET * s.provider_api.service.mean_s
    ),
    lambda s: f"{s.polling.timeout_s:g} s",
)
START_FORGOTTEN = Condition(
    f"run.warmup_s covers {_FORGET} updates and cycles, so that the state at 0 is forgotten",
    lambda s: s.run.warmup_s >= _FORGET * (1 / rate_per_s(s) + cycle_of(s).mean_s) + return_s(s),
    lambda s: f"{s.run.warmup_s:g} s",
)
SAMPLER_START_FORGOTTEN = Condition(
    f"run.warmup_s covers {_FORGET} updates and cycles, so that the state at 0 is forgotten",
    lambda s: s.run.warmup_s >= _FORGET * (1 / rate_per_s(s) + _sampler_cycle_s(s)),
    lambda s: f"{s.run.warmup_s:g} s",
)
UNDISTURBED_LAST_VALUE = nothing_of(ASKING, but=["workload.content"])


def _freshness_values(scenario: Scenario) -> dict[str, float]:
    cycle, rate, delay_s = cycle_of(scenario), rate_per_s(scenario), return_s(scenario)
    return {"freshness": freshness(cycle, rate, delay_s), "age_mean_s": age_mean_s(cycle, rate, delay_s)}


def _aoi_values(scenario: Scenario) -> dict[str, float]:
    """The newest event shown is older than the look that brought it by 1/λ on average.

    A peak comes at each look that finds something, at a distance of E[C]/(1 − e^(−λC)) on average; the
    event then shown before was found by the one before, at 1/λ − C/(e^(λC) − 1). For a constant C the sum
    is C + 1/λ.
    """
    cycle, delay_s = cycle_of(scenario), return_s(scenario)
    update_age_s = _update_age_mean_s(scenario)
    predicted = {"aoi_mean_s": update_age_s + cycle.wait_mean_s + delay_s}
    if is_constant_cycle(scenario):
        predicted["peak_aoi_mean_s"] = in_order_peak_aoi_mean_s(cycle.mean_s, update_age_s + delay_s)
    return predicted


def _last_value_values(scenario: Scenario) -> dict[str, float]:
    cycle, rate = cycle_of(scenario), rate_per_s(scenario)
    return {
        "lost_ratio": 1 - cycle.seen_ratio(rate),
        "empty_ratio": cycle.empty_ratio(rate),
        "requests_per_event": 1 / cycle.batch_mean(rate),
    }


def _zero_wait_values(scenario: Scenario) -> dict[str, float]:
    """With transit d a sample is shown S + d after it is taken; the next is taken d after that and a wait."""
    transit_s, service = constant_s(scenario.network.one_way), scenario.provider_api.service
    wait_s = scenario.polling.interval_s + 2 * transit_s
    update_age_s = _update_age_mean_s(scenario) + transit_s
    return {
        "aoi_mean_s": zero_wait_aoi_mean_s(service.mean_s, second_moment_s2(service), wait_s, update_age_s)
    }


_CONSTANTS = (CONSTANT_TRANSIT, CONSTANT_API)
_LOOKS_SHOW_AT_ONCE = (RANDOM_PHASE, UNCONTENDED_API, POLL_IN_TIME, NO_TICK_SKIPPED, NO_SERVICE)

FRESHNESS = Formula(
    "freshness and age of a polled state",
    "polling",
    (
        (POISSON, *_CONSTANTS),
        (*_LOOKS_SHOW_AT_ONCE, UNDISTURBED, PAGE_NEVER_FULL, START_FORGOTTEN, POLLS_DRAINED),
    ),
    _freshness_values,
)
AGE_OF_INFORMATION = Formula(
    "age of information of a polled state",
    "polling",
    (
        (POISSON, *_CONSTANTS),
        (*_LOOKS_SHOW_AT_ONCE, UNDISTURBED, PAGE_NEVER_FULL, START_FORGOTTEN, MANY_CYCLES),
    ),
    _aoi_values,
)
P7 = Formula(
    "P7 updates seen of a last value",
    "polling",
    (
        (POISSON, LAST_VALUE, *_CONSTANTS),
        (
            *_LOOKS_SHOW_AT_ONCE,
            UNDISTURBED_LAST_VALUE,
            ONE_UPDATE_LEAVES_ROOM,
            START_FORGOTTEN,
            MANY_CYCLES,
            POLLS_DRAINED,
        ),
    ),
    _last_value_values,
)
ZERO_WAIT = Formula(
    "age of information of a sampler that never waits",
    "polling",
    (
        (POISSON_OR_PERIODIC, LAST_VALUE, FIXED_DELAY, NO_JITTER, CONSTANT_TRANSIT, EXPONENTIAL_API),
        (
            UNCONTENDED_API,
            NO_SERVICE,
            UNDISTURBED_LAST_VALUE,
            ONE_UPDATE_LEAVES_ROOM,
            ANSWER_IN_TIME,
            SAMPLER_START_FORGOTTEN,
        ),
    ),
    _zero_wait_values,
)
