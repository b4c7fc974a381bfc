"""The kernels of a broker's queues and logs, run over a scenario."""

from __future__ import annotations

import numpy as np

from sim.audience import Audience
from sim.distributions import compile_distribution
from sim.kernels import log, parameters, queue
from sim.launch.counting import counters, no_integrals
from sim.policies import compile_link, compile_rebalances
from sim.records import Deliveries, Replication, Via, empty_series
from sim.scenario import Scenario


def broker_push(scenario: Scenario, audience: Audience, seed: int) -> Replication:
    """Push every message to the consumer of each subscriber's queue."""
    spec, world = scenario.broker_push, parameters.compile_world(scenario, seed)
    link, persist = compile_link(spec, scenario.network), compile_distribution(spec.persist)
    broker = queue.Broker(
        prefetch=spec.prefetch,
        automatic=scenario.receiver.acknowledge == "on_receipt",
        max_deliveries=spec.max_deliveries,
        error_probability=scenario.receiver.error_probability,
        frame_bytes=spec.frame_bytes,
        heartbeat_bytes=spec.heartbeat_bytes,
    )
    d, series = Deliveries.empty(audience, Via.QUEUE), empty_series(scenario)
    total, integrals, published = np.zeros(len(queue.COUNTER_NAMES), dtype=np.int64), no_integrals(), 0
    for s, n in enumerate(audience.count):
        stored_s = np.empty(n)
        published += queue.publish(world, persist, audience.created_of(s), s, stored_s, series)
        counts, of_this = np.zeros_like(total), no_integrals()
        queue.consume_queue(
            world, link, broker, s, stored_s, np.argsort(stored_s, kind="stable"),
            d.first_attempt[s, :n], d.visible[s, :n], d.attempts[s, :n], d.copies[s, :n], d.status[s, :n],
            counts, of_this,
        )  # fmt: skip
        longest = max(total[queue.QUEUE_MAX], counts[queue.QUEUE_MAX])
        total += counts
        total[queue.QUEUE_MAX] = longest
        integrals += of_this
    total[queue.REQUESTS] = published
    total[queue.REQUEST_BYTES] += published * (world.request_header_bytes + world.payload_bytes)
    return Replication(d, counters(queue.COUNTER_NAMES, total, integrals), series)


def broker_pull(scenario: Scenario, audience: Audience, seed: int) -> Replication:
    """Let every consumer of each subscriber's group work its log off."""
    spec, world = scenario.broker_pull, parameters.compile_world(scenario, seed)
    persist, rebalances = compile_distribution(spec.persist), compile_rebalances(scenario, seed)
    group = log.Group(
        partitions=spec.partitions,
        consumers=min(scenario.receiver.workers, spec.partitions),
        fetch_min=spec.fetch_min,
        fetch_max_wait_s=spec.fetch_max_wait_s,
        max_records=spec.max_records,
        idle_s=spec.idle_s,
        commit_interval_s=spec.commit_interval_s,
        max_deliveries=spec.max_deliveries,
        error_probability=scenario.receiver.error_probability,
        record_bytes=spec.record_bytes,
    )
    d, series = Deliveries.empty(audience, Via.LOG), empty_series(scenario)
    counts, integrals, published = np.zeros(len(log.COUNTER_NAMES), dtype=np.int64), no_integrals(), 0
    first = np.empty(group.consumers + 1, dtype=np.int64)
    for s, n in enumerate(audience.count):
        stored_s = np.empty(n)
        published += queue.publish(world, persist, audience.created_of(s), s, stored_s, series)
        events, gave_up, of_this = np.empty(n, dtype=np.int64), np.zeros(n, dtype=np.bool_), no_integrals()
        log.write_logs(world, group, s, np.argsort(stored_s, kind="stable"), events, first)
        for consumer in range(group.consumers):
            own = events[first[consumer] : first[consumer + 1]]
            log.consume_log(
                world, group, rebalances, s, consumer, own, stored_s[own],
                d.first_attempt[s, :n], d.visible[s, :n], d.attempts[s, :n], d.copies[s, :n],
                d.status[s, :n], gave_up, counts, of_this, series,
            )  # fmt: skip
        integrals += of_this
    counts[log.REQUESTS] += published
    counts[log.REQUEST_BYTES] += published * (world.request_header_bytes + world.payload_bytes)
    return Replication(d, counters(log.COUNTER_NAMES, counts, integrals), series)
