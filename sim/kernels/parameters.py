"""A scenario as the kernels read it: numbers and arrays, no Python objects."""

from __future__ import annotations

from typing import NamedTuple

from sim.compiled import jit
from sim.distributions import Distribution, compile_distribution, is_constant
from sim.kernels.feed import Feed
from sim.policies import (
    NEVER,
    NO_HOLDING,
    AdaptiveRule,
    DisablingRule,
    HoldingRule,
    Outages,
    PollSchedule,
    RedeliveryRule,
    RetryPolicy,
    api_outages,
    compile_adaptive,
    compile_disabling,
    compile_holding,
    compile_rate_limit,
    compile_redelivery,
    compile_retention,
    compile_retry,
    compile_schedule,
    receiver_outages,
    setup_s,
    sleeping_schedule,
)
from sim.randomness import uniform
from sim.records import series_bin_s
from sim.scenario import Polling, Scenario


class World(NamedTuple):
    """What every mechanism needs: the clock, the way between, and the receiver."""

    seed: int
    window_start_s: float
    window_end_s: float
    world_end_s: float
    one_way: Distribution
    request_loss: float
    response_loss: float
    request_header_bytes: int
    response_header_bytes: int
    payload_bytes: int
    keep_alive: bool
    setup_round_trips: int
    setup_bytes: int
    receiver_workers: int
    receiver_service: Distribution
    preempt: bool
    outages: Outages
    series_bin_s: float


@jit
def in_window(world: World, time_s: float) -> bool:
    """Whether counters count what happens at `time_s`."""
    return world.window_start_s <= time_s < world.window_end_s


@jit
def is_lost(probability: float, seed: int, stream: int, entity: int, index: int) -> bool:
    """Whether a request or an answer gets lost; where none ever is, nothing needs to be drawn."""
    return probability > 0.0 and uniform(seed, stream, entity, index) < probability


@jit
def setup_delay(world: World, stream: int, entity: int, index: int) -> float:
    """The time a new connection takes before its first request leaves."""
    return setup_s(world.one_way, world.setup_round_trips, world.seed, stream, entity, index)


class Push(NamedTuple):
    """What pushing needs besides: the sender's policy and the receiver's door."""

    timeout_s: float
    max_in_flight: int
    retry: RetryPolicy
    on_receipt: bool
    queue_limit: int
    retry_after_s: float
    error_probability: float
    clock_offset_s: float
    signature_tolerance_s: float
    disabling: DisablingRule
    redelivery: RedeliveryRule


class Fetching(NamedTuple):
    """What fetching by id needs besides: the client's patience."""

    timeout_s: float
    retry_s: float
    max_attempts: int


AT_INTERVALS, ADAPTIVE, LONG = range(3)


class Pull(NamedTuple):
    """What pulling needs besides: how the poller asks, and the API.

    `way` says when it asks again: by its schedule (`AT_INTERVALS`), by what it found (`ADAPTIVE`), or soon,
    because its requests are held (`LONG`); of the last two the schedule only gives the first wake.
    """

    way: int
    schedule: PollSchedule
    adaptive: AdaptiveRule
    holding: HoldingRule
    conditional: bool
    not_modified_bytes: int
    not_modified_free: bool
    timeout_s: float
    page_size: int
    api_workers: int
    api_service: Distribution
    api_outages: Outages
    rate_limit: int
    rate_limit_per_s: float
    feed: Feed


def compile_world(scenario: Scenario, seed: int) -> World:
    """The shared part of a scenario, for one replication."""
    network, receiver = scenario.network, scenario.receiver
    return World(
        seed=seed,
        window_start_s=scenario.run.warmup_s,
        window_end_s=scenario.run.duration_s,
        world_end_s=scenario.world_end_s,
        one_way=compile_distribution(network.one_way),
        request_loss=network.request_loss,
        response_loss=network.response_loss,
        request_header_bytes=network.request_header_bytes,
        response_header_bytes=network.response_header_bytes,
        payload_bytes=scenario.workload.payload_bytes,
        keep_alive=network.keep_alive,
        setup_round_trips=network.setup_round_trips,
        setup_bytes=network.setup_bytes,
        receiver_workers=receiver.workers,
        receiver_service=compile_distribution(receiver.service),
        preempt=receiver.discipline == "preempt",
        outages=receiver_outages(scenario, seed),
        series_bin_s=series_bin_s(scenario),
    )


def compile_push(scenario: Scenario) -> Push:
    """The push part of a scenario."""
    receiver = scenario.receiver
    return Push(
        timeout_s=scenario.webhook.timeout_s,
        max_in_flight=scenario.webhook.max_in_flight,
        retry=compile_retry(scenario.webhook.retry),
        on_receipt=receiver.acknowledge == "on_receipt",
        queue_limit=receiver.queue_limit,
        retry_after_s=receiver.retry_after_s,
        error_probability=receiver.error_probability,
        clock_offset_s=receiver.clock_offset_s,
        signature_tolerance_s=receiver.signature_tolerance_s or NEVER,
        disabling=compile_disabling(scenario.webhook.disabling),
        redelivery=compile_redelivery(scenario.webhook.redelivery),
    )


def compile_fetching(scenario: Scenario) -> Fetching:
    """The part of a scenario that says how a subscriber fetches what it was told of."""
    thin = scenario.thin_webhook
    return Fetching(timeout_s=thin.timeout_s, retry_s=thin.retry_s, max_attempts=thin.max_attempts)


def apart(pull: Pull, pollers: int) -> Pull | None:
    """The API as each of so many pollers may use it without regard for the others; None if there is none.

    Its workers shared out among them; or all of them, where there is one poller or a service takes no time.
    """
    takes_no_time = is_constant(pull.api_service) and pull.api_service.a == 0.0
    if pollers == 1 or takes_no_time:
        return pull
    return pull._replace(api_workers=pull.api_workers // pollers) if pollers <= pull.api_workers else None


def compile_pull(scenario: Scenario, seed: int, polling: Polling | None = None) -> Pull:
    """What `polling` needs of a scenario; `polling` in place of the scenario's own."""
    api, polling = scenario.provider_api, polling or scenario.polling
    rate_limit, rate_limit_per_s = compile_rate_limit(api.rate_limit)
    retained_events, retained_s = compile_retention(scenario)
    return Pull(
        way=AT_INTERVALS,
        schedule=compile_schedule(polling),
        adaptive=compile_adaptive(scenario),
        holding=NO_HOLDING,
        conditional=False,
        not_modified_bytes=scenario.conditional_polling.not_modified_bytes,
        not_modified_free=api.rate_limit is not None and api.rate_limit.not_modified_free,
        timeout_s=polling.timeout_s,
        page_size=polling.page_size,
        api_workers=api.workers,
        api_service=compile_distribution(api.service),
        api_outages=api_outages(scenario, seed),
        rate_limit=rate_limit,
        rate_limit_per_s=rate_limit_per_s,
        feed=Feed(api.feed_lag_s, retained_events, retained_s),
    )


def compile_conditional_pull(scenario: Scenario, seed: int) -> Pull:
    """What `conditional_polling` needs of a scenario."""
    return compile_pull(scenario, seed)._replace(conditional=True)


def compile_adaptive_pull(scenario: Scenario, seed: int) -> Pull:
    """What `adaptive_polling` needs of a scenario."""
    schedule = sleeping_schedule(scenario.polling)
    return compile_pull(scenario, seed)._replace(way=ADAPTIVE, schedule=schedule)


def compile_long_pull(scenario: Scenario, seed: int) -> Pull:
    """What `long_polling` needs of a scenario.

    Raises:
        ScenarioError: nothing would take any time between one request and the next.
    """
    holding = compile_holding(scenario)
    return compile_pull(scenario, seed)._replace(
        way=LONG,
        schedule=sleeping_schedule(scenario.polling),
        holding=holding,
        timeout_s=scenario.long_polling.timeout_s,
    )
