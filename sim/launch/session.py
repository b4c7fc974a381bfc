"""The kernel of lasting streams, run over a scenario."""

from __future__ import annotations

import numpy as np

from sim.kernels import parameters, pull, session
from sim.kernels.book import Share
from sim.kernels.each import poll_each
from sim.kernels.polled import nothing_polled
from sim.launch.counting import combined, counters, no_integrals
from sim.launch.ledger import Ledger
from sim.policies import compile_link, sleeping_schedule
from sim.records import Counters
from sim.scenario import Scenario


def streaming(scenario: Scenario, ledger: Ledger, seed: int) -> Counters:
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
    ledger.refuse_beyond_memory("streams connect by the provider's API")
    counts, at_api = np.zeros(len(pull.COUNTER_NAMES), dtype=np.int64), no_integrals()
    streamed = nothing_polled(ledger.subscribers, ledger.width)
    streamed.pages.opens_page[...] = True  # each message joins the queue by itself
    session.stream(
        world, api, parts, ledger.rows, streamed.pages.fetched, streamed.first_attempt, streamed.attempts,
        streamed.status, counts, at_api, ledger.series,
    )  # fmt: skip

    def work(share: Share) -> Counters:
        taken, at_receivers = np.zeros_like(counts), no_integrals()
        poll_each(world, api, ledger.rows, share, streamed, False, False, taken, no_integrals(), at_receivers)
        return counters(pull.COUNTER_NAMES, taken, at_receivers)

    return combined(ledger.share_out(work), counters(pull.COUNTER_NAMES, counts, no_integrals(), at_api))
