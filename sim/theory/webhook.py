"""The closed forms of webhooks as statements about scenarios: what goes wrong on the way, and freshness."""

from __future__ import annotations

from sim.scenario import PeriodicWorkload, Scenario
from sim.theory.age import delayed_aoi_mean_s, in_order_peak_aoi_mean_s
from sim.theory.conditions import (
    CONSTANT_TRANSIT,
    NEGLIGIBLE,
    NO_SERVICE,
    POISSON,
    POISSON_OR_PERIODIC,
    Condition,
    Formula,
    constant_s,
    poisson_exceeds,
    rate_per_s,
)
from sim.theory.features import PUSHING, nothing_of
from sim.theory.freshness import pushed_age_mean_s, pushed_freshness
from sim.theory.retries import AtLeastOnce, outage_latency_mean_s, outage_lost_ratio, retry_offsets_s


def transit_s(scenario: Scenario) -> float:
    """A webhook's way to the receiver; NaN unless constant."""
    return constant_s(scenario.network.one_way)


def _webhook_hold_s(scenario: Scenario) -> float:
    """How long an attempt that is answered on receipt holds its slot."""
    return 2 * transit_s(scenario)


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
    """From an event to its last attempt's timeout, at most (full and equal jitter only shorten it)."""
    timeout_s = scenario.webhook.timeout_s
    return retry_offsets_s(scenario.webhook.retry, timeout_s)[-1] + timeout_s


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
ONE_OUTAGE = Condition(
    "receiver.outages has one entry, not a slow one",
    lambda s: len(s.receiver.outages) == 1 and s.receiver.outages[0].kind != "slow",
    lambda s: ", ".join(outage.kind for outage in s.receiver.outages) or "none",
)
OUTAGE_INSIDE = Condition(
    "the outage lies within [warmup_s, duration_s], and a transit apart from its ends",
    lambda s: (
        s.run.warmup_s + transit_s(s) <= s.receiver.outages[0].start_s
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
FAILURES = Condition(
    "network.request_loss, response_loss or receiver.error_probability is above 0, and none is 1",
    lambda s: 0 < max(_failure_chances(s)) < 1,
    lambda s: ", ".join(f"{chance:g}" for chance in _failure_chances(s)),
)
NO_DEADLINE = Condition(
    "webhook.retry.max_duration_s is absent",
    lambda s: s.webhook.retry.max_duration_s is None,
    lambda s: s.webhook.retry.max_duration_s,
)
BOUNDED_JITTER = Condition(
    "webhook.retry.jitter is none, full or equal, which only shorten a delay",
    lambda s: s.webhook.retry.jitter in {"none", "full", "equal"},
    lambda s: s.webhook.retry.jitter,
)
LOSSES_DRAINED = Condition(
    "run.drain_s covers the last attempt's timeout",
    lambda s: s.run.drain_s > _longest_retry_s(s),
    lambda s: f"{s.run.drain_s:g} s for {_longest_retry_s(s):g} s",
)
SHOWN_BEFORE_THE_NEXT = Condition(
    "with periodic events a webhook takes at most a period",
    lambda s: not isinstance(s.workload, PeriodicWorkload) or transit_s(s) * rate_per_s(s) <= 1,
    lambda s: f"{transit_s(s):g} s",
)
STATE_FORGOTTEN = Condition(
    "run.warmup_s covers 21 events and a transit, so that the state at 0 is forgotten",
    lambda s: s.run.warmup_s >= 21 / rate_per_s(s) + transit_s(s),
    lambda s: f"{s.run.warmup_s:g} s",
)
STATE_DRAINED = Condition(
    "run.drain_s covers a webhook's transit",
    lambda s: s.run.drain_s > transit_s(s),
    lambda s: f"{s.run.drain_s:g} s",
)
UNDISTURBED = nothing_of(PUSHING)
UNDISTURBED_BUT_DOWN = nothing_of(PUSHING, but=["receiver.outages"])
UNDISTURBED_BUT_FAILING = nothing_of(
    PUSHING, but=["network.request_loss", "network.response_loss", "receiver.error_probability"]
)


def _failure_chances(scenario: Scenario) -> tuple[float, float, float]:
    network = scenario.network
    return network.request_loss, network.response_loss, scenario.receiver.error_probability


def _outage_values(scenario: Scenario) -> dict[str, float]:
    """Over the whole window: a share D/window of the (Poisson) events falls into the outage."""
    offsets, outage_s = _outage_offsets_s(scenario), scenario.receiver.outages[0].duration_s
    hit = outage_s / (scenario.run.duration_s - scenario.run.warmup_s)
    lost = hit * outage_lost_ratio(offsets, outage_s)
    late = (hit - lost) * outage_latency_mean_s(offsets, outage_s)
    return {"lost_ratio": lost, "latency_mean_s": transit_s(scenario) + late / (1 - lost)}


def _at_least_once_values(scenario: Scenario) -> dict[str, float]:
    """A receiver that errs keeps no copy, so to the sender it is one more way for a request to fail."""
    request_loss, response_loss, error = _failure_chances(scenario)
    failing = 1 - (1 - request_loss) * (1 - error)
    sender = AtLeastOnce(failing, response_loss, scenario.webhook.retry.attempts_allowed)
    return {
        "attempts_per_event": sender.attempts_mean,
        "duplicates_per_event": sender.duplicates_mean,
        "lost_ratio": sender.never_received,
    }


def _pushed_values(scenario: Scenario) -> dict[str, float]:
    """Of periodic events every d of P is spent not fresh, at an age that rises from 0 to d."""
    rate, delay_s = rate_per_s(scenario), transit_s(scenario)
    gap_s = 1 / rate
    if isinstance(scenario.workload, PeriodicWorkload):
        fresh, age_s, second_moment_s2 = 1 - delay_s * rate, delay_s**2 * rate / 2, gap_s**2
    else:
        fresh, age_s = pushed_freshness(rate, delay_s), pushed_age_mean_s(rate, delay_s)
        second_moment_s2 = 2 * gap_s**2
    return {
        "latency_mean_s": delay_s,
        "freshness": fresh,
        "age_mean_s": age_s,
        "aoi_mean_s": delayed_aoi_mean_s(gap_s, second_moment_s2, delay_s),
        "peak_aoi_mean_s": in_order_peak_aoi_mean_s(gap_s, delay_s),
    }


OUTAGE = Formula(
    "retry schedule through an outage",
    "webhook",
    (
        (POISSON, ONE_OUTAGE, CONSTANT_TRANSIT, RETRIES),
        (
            UNDISTURBED_BUT_DOWN,
            NO_SERVICE,
            ANSWERED_IN_TIME,
            SLOT_FREE_IN_OUTAGE,
            OUTAGE_INSIDE,
            OUTAGE_DRAINED,
        ),
    ),
    _outage_values,
)
AT_LEAST_ONCE = Formula(
    "attempts and duplicates over a lossy way",
    "webhook",
    (
        (POISSON, FAILURES, CONSTANT_TRANSIT, NO_SERVICE, NO_DEADLINE, BOUNDED_JITTER),
        (UNDISTURBED_BUT_FAILING, ANSWERED_IN_TIME, SLOT_FREE_DESPITE_LOSS, LOSSES_DRAINED),
    ),
    _at_least_once_values,
)
PUSHED = Formula(
    "freshness and ages of what webhooks bring",
    "webhook",
    (
        (POISSON_OR_PERIODIC, CONSTANT_TRANSIT, NO_SERVICE),
        (
            UNDISTURBED,
            ANSWERED_IN_TIME,
            SLOT_ALWAYS_FREE,
            SHOWN_BEFORE_THE_NEXT,
            STATE_FORGOTTEN,
            STATE_DRAINED,
        ),
    ),
    _pushed_values,
)
