"""The kernels of a broker's queues and logs, run over a scenario."""

from __future__ import annotations

import numpy as np

from sim.distributions import compile_distribution
from sim.kernels import log, parameters, queue
from sim.kernels.book import Share
from sim.launch.counting import counters, no_integrals
from sim.launch.ledger import Ledger
from sim.policies import compile_link, compile_rebalances
from sim.records import Counters
from sim.scenario import Scenario


def broker_push(scenario: Scenario, ledger: Ledger, seed: int) -> Counters:
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

    def work(share: Share) -> Counters:
        counts, integrals = np.zeros(len(queue.COUNTER_NAMES), dtype=np.int64), no_integrals()
        queue.consume_each(world, persist, link, broker, ledger.rows, share, counts, integrals)
        return counters(queue.COUNTER_NAMES, counts, integrals)

    return ledger.share_out(work)


def broker_pull(scenario: Scenario, ledger: Ledger, seed: int) -> Counters:
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

    def work(share: Share) -> Counters:
        counts, integrals = np.zeros(len(log.COUNTER_NAMES), dtype=np.int64), no_integrals()
        log.consume_each(world, persist, group, rebalances, ledger.rows, share, counts, integrals)
        return counters(log.COUNTER_NAMES, counts, integrals)

    return ledger.share_out(work)
