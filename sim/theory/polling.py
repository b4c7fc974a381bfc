"""The closed forms of polling as statements about scenarios: latency, empty polls, batches."""

from __future__ import annotations

import math
from fractions import Fraction

from sim.distribution_specs import Constant
from sim.scenario import PeriodicWorkload, PoissonWorkload, Scenario
from sim.theory.conditions import (
    CONSTANT_TRANSIT,
    NEGLIGIBLE,
    ONE_WORKER,
    POISSON,
    POISSON_OR_PERIODIC,
    QUANTILES,
    Condition,
    Formula,
    constant_s,
    poisson_exceeds,
    rate_per_s,
)
from sim.theory.cycles import (
    Cycle,
    constant_cycle,
    delayed_cycle,
    empty_ratio_periodic,
    exponential_cycle,
    fixed_rate_latency_mean_s,
    fixed_rate_latency_quantile_s,
    jittered_cycle,
    served_batch_latency_mean_s,
)
from sim.theory.features import ASKING, nothing_of


def round_trip_s(scenario: Scenario) -> float:
    """From a poll's being sent to its answer's arrival; NaN unless constant."""
    return 2 * constant_s(scenario.network.one_way) + constant_s(scenario.provider_api.service)


def return_s(scenario: Scenario) -> float:
    """From the look at the feed to the events' arrival at the receiver; NaN unless constant."""
    return constant_s(scenario.provider_api.service) + constant_s(scenario.network.one_way)


def cycle_of(scenario: Scenario) -> Cycle:
    """The time between two looks at the feed, for a constant round trip."""
    interval_s, jitter_s = scenario.polling.interval_s, scenario.polling.jitter_s
    match scenario.polling.schedule:
        case "fixed_rate":
            return jittered_cycle(interval_s, jitter_s) if jitter_s else constant_cycle(interval_s)
        case "fixed_delay":
            delay_s = interval_s + round_trip_s(scenario)
            return delayed_cycle(delay_s, jitter_s) if jitter_s else constant_cycle(delay_s)
        case "exponential":
            return exponential_cycle(interval_s, round_trip_s(scenario))


def is_constant_cycle(scenario: Scenario) -> bool:
    """Whether looks come at equal distances."""
    return scenario.polling.schedule != "exponential" and scenario.polling.jitter_s == 0


def _service_s(scenario: Scenario) -> float:
    return constant_s(scenario.receiver.service)


def _longest_cycle_s(scenario: Scenario) -> float:
    """An upper bound of the cycle, for one that is bounded."""
    return scenario.polling.interval_s + scenario.polling.jitter_s + round_trip_s(scenario)


def _batch_exceeds(scenario: Scenario, n: float) -> float:
    """The probability that one look finds more than n events, or an upper bound."""
    rate = rate_per_s(scenario)
    if isinstance(scenario.workload, PeriodicWorkload):
        return 0.0 if math.floor(_longest_cycle_s(scenario) * rate) + 1 <= n else 1.0
    if scenario.polling.schedule == "exponential":
        # Geometric: what comes next is an event or a look. The round trip makes it an upper bound.
        mean = rate * (scenario.polling.interval_s + round_trip_s(scenario))
        return float((mean / (1 + mean)) ** (math.floor(n) + 1))
    if is_constant_cycle(scenario):
        return poisson_exceeds(rate * cycle_of(scenario).mean_s, n)
    return poisson_exceeds(rate * _longest_cycle_s(scenario), n)


def _locked(scenario: Scenario) -> bool:
    """Whether periodic events meet fixed-rate polls at fewer than a thousand distinct phases."""
    if not isinstance(scenario.workload, PeriodicWorkload):
        return False
    periods_per_cycle = cycle_of(scenario).mean_s * scenario.workload.rate_per_s
    ratio = Fraction(periods_per_cycle).limit_denominator(1000)
    return math.isclose(periods_per_cycle, float(ratio), rel_tol=1e-9) and ratio.numerator < 1000


RANDOM_PHASE = Condition(
    "polling.phase is random, so that events are independent of it",
    lambda s: s.polling.phase == "random",
    lambda s: s.polling.phase,
)
NOT_LOCKED = Condition(
    "events do not lock to the polls: interval_s × rate_per_s is no ratio of integers below 1000",
    lambda s: not _locked(s),
    lambda s: f"{s.polling.interval_s * rate_per_s(s):.9g}",
)
FIXED_RATE = Condition(
    "polling.schedule is fixed_rate",
    lambda s: s.polling.schedule == "fixed_rate",
    lambda s: s.polling.schedule,
)
RANDOM_CYCLE = Condition(
    "polling.schedule is fixed_delay or exponential, or jitter_s is above 0",
    lambda s: s.polling.schedule != "fixed_rate" or s.polling.jitter_s > 0,
    lambda s: s.polling.schedule,
)
FIXED_RATE_IF_PERIODIC = Condition(
    "with periodic events polling.schedule is fixed_rate without jitter",
    lambda s: (
        isinstance(s.workload, PoissonWorkload)
        or (s.polling.schedule == "fixed_rate" and not s.polling.jitter_s)
    ),
    lambda s: f"{s.polling.schedule}, jitter_s {s.polling.jitter_s:g}",
)
NO_JITTER = Condition(
    "polling.jitter_s is 0", lambda s: s.polling.jitter_s == 0, lambda s: s.polling.jitter_s
)
NO_TICK_SKIPPED = Condition(
    "with jitter at a fixed rate a poll's round trip is 0, so that no tick falls into it",
    lambda s: s.polling.schedule != "fixed_rate" or s.polling.jitter_s == 0 or round_trip_s(s) == 0,
    lambda s: f"{round_trip_s(s):g} s",
)
CONSTANT_API = Condition(
    "provider_api.service is constant",
    lambda s: isinstance(s.provider_api.service, Constant),
    lambda s: s.provider_api.service.kind,
)
UNCONTENDED_API = Condition(
    "provider_api.workers is at least subscribers.count, so that no poll queues",
    lambda s: s.provider_api.workers >= s.subscribers.count,
    lambda s: f"{s.provider_api.workers} for {s.subscribers.count}",
)
POLL_IN_TIME = Condition(
    "a poll's round trip is below polling.timeout_s, and below interval_s at a fixed rate",
    lambda s: (
        round_trip_s(s) < s.polling.timeout_s
        and (s.polling.schedule != "fixed_rate" or round_trip_s(s) < s.polling.interval_s)
    ),
    lambda s: f"{round_trip_s(s):g} s",
)
PAGE_NEVER_FULL = Condition(
    f"a page is full with probability below {NEGLIGIBLE:g}",
    lambda s: _batch_exceeds(s, s.polling.page_size - 1) < NEGLIGIBLE,
    lambda s: f"{_batch_exceeds(s, s.polling.page_size - 1):.3g} at page_size = {s.polling.page_size}",
)
NO_RECEIVER_QUEUE = Condition(
    "receiver.service is constant, and 0 or with a worker for each event of a page, done before the next",
    lambda s: (
        _service_s(s) == 0
        or (
            s.receiver.workers >= s.polling.page_size
            and _service_s(s) <= s.polling.interval_s
            and is_constant_cycle(s)
        )
    ),
    lambda s: f"{s.receiver.service.kind}, {s.receiver.workers} workers, page_size {s.polling.page_size}",
)
CONSTANT_SERVICE = Condition(
    "receiver.service is constant and above 0", lambda s: _service_s(s) > 0, lambda s: s.receiver.service.kind
)
BATCH_DONE_IN_TIME = Condition(
    f"a batch outlasts the poll interval with probability below {NEGLIGIBLE:g}",
    lambda s: _batch_exceeds(s, s.polling.interval_s / _service_s(s)) < NEGLIGIBLE,
    lambda s: f"{_batch_exceeds(s, s.polling.interval_s / _service_s(s)):.3g}",
)
WARM_POLLS = Condition(
    "run.warmup_s covers the first poll",
    lambda s: s.run.warmup_s >= _longest_cycle_s(s),
    lambda s: f"{s.run.warmup_s:g} s",
)
MANY_CYCLES = Condition(
    "the window holds a thousand cycles, so that those cut at its edges weigh nothing",
    lambda s: s.run.duration_s - s.run.warmup_s >= 1000 * cycle_of(s).mean_s,
    lambda s: f"{(s.run.duration_s - s.run.warmup_s) / cycle_of(s).mean_s:.0f}",
)
# An exponential gap exceeds 21 times its mean with probability exp(-21) < NEGLIGIBLE.
POLLS_DRAINED = Condition(
    "run.drain_s covers the last events' poll and an interval to serve them",
    lambda s: (
        s.run.drain_s
        >= s.polling.interval_s * (22 if s.polling.schedule == "exponential" else 2)
        + s.polling.jitter_s
        + round_trip_s(s)
        + return_s(s)
    ),
    lambda s: f"{s.run.drain_s:g} s",
)
UNDISTURBED = nothing_of(ASKING)
UNDISTURBED_BUT_LATE = nothing_of(ASKING, but=["provider_api.feed_lag_s"])


def _p1(scenario: Scenario) -> dict[str, float]:
    """The mean holds over replications for any events; a quantile within each run needs events that spread.

    Periodic events fall on a lattice of phases that is coarse near every simple ratio of T to P.
    """
    interval_s, visible_s = scenario.polling.interval_s, return_s(scenario) + _service_s(scenario)
    predicted = {"latency_mean_s": fixed_rate_latency_mean_s(interval_s, visible_s)}
    for metric, p in QUANTILES.items() if isinstance(scenario.workload, PoissonWorkload) else ():
        predicted[metric] = fixed_rate_latency_quantile_s(p, interval_s, visible_s)
    return predicted


def _p2(scenario: Scenario) -> dict[str, float]:
    return {"latency_mean_s": cycle_of(scenario).wait_mean_s + return_s(scenario) + _service_s(scenario)}


def _p3_p4(scenario: Scenario) -> dict[str, float]:
    cycle, rate = cycle_of(scenario), rate_per_s(scenario)
    if isinstance(scenario.workload, PeriodicWorkload):
        empty = empty_ratio_periodic(1 / rate, cycle.mean_s)
    else:
        empty = cycle.empty_ratio(rate)
    return {"empty_ratio": empty, "requests_per_event": 1 / cycle.batch_mean(rate)}


def _p5(scenario: Scenario) -> dict[str, float]:
    mean = served_batch_latency_mean_s(
        rate_per_s(scenario), scenario.polling.interval_s, _service_s(scenario), return_s(scenario)
    )
    return {"latency_mean_s": mean}


_CONSTANTS = (CONSTANT_TRANSIT, CONSTANT_API)
_POLLS_GO_THROUGH = (UNCONTENDED_API, POLL_IN_TIME, NO_TICK_SKIPPED)
_EVENTS_COME_AT_ONCE = (*_POLLS_GO_THROUGH, UNDISTURBED, PAGE_NEVER_FULL, POLLS_DRAINED)

P1 = Formula(
    "P1 latency of fixed-rate polling",
    "polling",
    (
        (POISSON_OR_PERIODIC, FIXED_RATE, NO_JITTER, *_CONSTANTS),
        (RANDOM_PHASE, NOT_LOCKED, *_EVENTS_COME_AT_ONCE, NO_RECEIVER_QUEUE),
    ),
    _p1,
)
P2 = Formula(
    "P2 latency of polling at random cycles",
    "polling",
    (
        (POISSON, RANDOM_CYCLE, *_CONSTANTS),
        (*_EVENTS_COME_AT_ONCE, NO_RECEIVER_QUEUE, WARM_POLLS, MANY_CYCLES),
    ),
    _p2,
)
P3_P4 = Formula(
    "P3 and P4 empty polls and polls per event",
    "polling",
    (
        (POISSON_OR_PERIODIC, FIXED_RATE_IF_PERIODIC, *_CONSTANTS),
        (RANDOM_PHASE, *_POLLS_GO_THROUGH, UNDISTURBED_BUT_LATE, PAGE_NEVER_FULL, WARM_POLLS),
    ),
    _p3_p4,
)
P5 = Formula(
    "P5 latency of polled batches served one after another",
    "polling",
    (
        (POISSON, FIXED_RATE, NO_JITTER, *_CONSTANTS, ONE_WORKER, CONSTANT_SERVICE),
        (RANDOM_PHASE, *_EVENTS_COME_AT_ONCE, BATCH_DONE_IN_TIME),
    ),
    _p5,
)
