"""The pull family's kernels, run over a scenario."""

from __future__ import annotations

import numpy as np

from sim.audience import Audience
from sim.kernels import intake, parameters, pull
from sim.kernels.feed import compile_rows
from sim.launch.counting import counters, no_integrals
from sim.records import Deliveries, Replication, Via, empty_series
from sim.scenario import Scenario


def polling(scenario: Scenario, audience: Audience, seed: int) -> Replication:
    """Poll at intervals."""
    return _pull(scenario, audience, seed, parameters.compile_pull(scenario, seed))


def conditional_polling(scenario: Scenario, audience: Audience, seed: int) -> Replication:
    """Poll at intervals, with an ETag."""
    return _pull(scenario, audience, seed, parameters.compile_conditional_pull(scenario, seed))


def adaptive_polling(scenario: Scenario, audience: Audience, seed: int) -> Replication:
    """Poll at intervals that follow what is found."""
    return _pull(scenario, audience, seed, parameters.compile_adaptive_pull(scenario, seed))


def long_polling(scenario: Scenario, audience: Audience, seed: int) -> Replication:
    """Poll and be held until there is news."""
    return _pull(scenario, audience, seed, parameters.compile_long_pull(scenario, seed))


def _pull(scenario: Scenario, audience: Audience, seed: int, poller: parameters.Pull) -> Replication:
    """Poll for every subscriber; then let each receiver take in what its poller fetched."""
    world = parameters.compile_world(scenario, seed)
    d, series = Deliveries.empty(audience, Via.POLL), empty_series(scenario)
    counts = np.zeros(len(pull.COUNTER_NAMES), dtype=np.int64)
    at_api, at_receivers = no_integrals(), no_integrals()
    fetched = np.full(d.visible.shape, np.nan)
    opens_page = np.zeros(d.visible.shape, dtype=np.bool_)
    turns = np.zeros(d.visible.shape, dtype=np.int64)
    pull.fetch(
        world, poller, compile_rows(audience), fetched, opens_page, turns, d.first_attempt, d.attempts,
        d.status, counts, at_api, series,
    )  # fmt: skip
    for s, n in enumerate(audience.count):
        at_one = no_integrals()
        intake.take_in(
            world, s, int(Via.POLL), fetched[s, :n], opens_page[s, :n], d.visible[s, :n], d.copies[s, :n],
            d.via[s, :n], d.status[s, :n], counts, at_one,
        )  # fmt: skip
        at_receivers += at_one
    return Replication(d, counters(pull.COUNTER_NAMES, counts, at_receivers, at_api), series)
