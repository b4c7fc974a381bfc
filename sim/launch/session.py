"""The kernel of lasting streams, run over a scenario."""

from __future__ import annotations

import numpy as np

from sim.audience import Audience
from sim.kernels import intake, parameters, pull, session
from sim.kernels.feed import compile_rows
from sim.launch.counting import counters, no_integrals
from sim.policies import compile_link, sleeping_schedule
from sim.records import Deliveries, Replication, Via, empty_series
from sim.scenario import Scenario


def streaming(scenario: Scenario, audience: Audience, seed: int) -> Replication:
    """Stream to every subscriber; then let each receiver take in what arrived."""
    world, spec = parameters.compile_world(scenario, seed), scenario.streaming
    api = parameters.compile_pull(scenario, seed)._replace(
        schedule=sleeping_schedule(scenario.polling), timeout_s=spec.connect_timeout_s
    )
    parts = session.Streams(
        compile_link(spec, scenario.network),
        spec.replay,
        spec.heartbeat_bytes,
        scenario.workload.payload_bytes + spec.frame_bytes,
    )
    d, series = Deliveries.empty(audience, Via.STREAM), empty_series(scenario)
    counts = np.zeros(len(pull.COUNTER_NAMES), dtype=np.int64)
    at_api, at_receivers = no_integrals(), no_integrals()
    arrived = np.full(d.visible.shape, np.nan)
    session.stream(
        world, api, parts, compile_rows(audience), arrived, d.first_attempt, d.attempts, d.status, counts,
        at_api, series,
    )  # fmt: skip
    for s, n in enumerate(audience.count):
        at_one, alone = no_integrals(), np.ones(n, dtype=np.bool_)  # each message joins the queue by itself
        intake.take_in(
            world, s, int(Via.STREAM), arrived[s, :n], alone, d.visible[s, :n], d.copies[s, :n],
            d.via[s, :n], d.status[s, :n], counts, at_one,
        )  # fmt: skip
        at_receivers += at_one
    return Replication(d, counters(pull.COUNTER_NAMES, counts, at_receivers, at_api), series)
