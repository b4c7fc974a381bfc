"""The pull family's kernels, run over a scenario."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sim.kernels import parameters, pull
from sim.kernels.book import Share
from sim.kernels.each import poll_each
from sim.kernels.polled import Polled, nothing_polled
from sim.launch.counting import combined, counters, no_integrals
from sim.launch.ledger import Ledger
from sim.records import Counters
from sim.scenario import Scenario

Apart = Callable[[parameters.Pull, Polled | None], Counters | None]


def polling(scenario: Scenario, ledger: Ledger, seed: int) -> Counters:
    """Poll at intervals."""
    return _pull(scenario, ledger, seed, parameters.compile_pull(scenario, seed))


def conditional_polling(scenario: Scenario, ledger: Ledger, seed: int) -> Counters:
    """Poll at intervals, with an ETag."""
    return _pull(scenario, ledger, seed, parameters.compile_conditional_pull(scenario, seed))


def adaptive_polling(scenario: Scenario, ledger: Ledger, seed: int) -> Counters:
    """Poll at intervals that follow what is found."""
    return _pull(scenario, ledger, seed, parameters.compile_adaptive_pull(scenario, seed))


def long_polling(scenario: Scenario, ledger: Ledger, seed: int) -> Counters:
    """Poll and be held until there is news."""
    return _pull(scenario, ledger, seed, parameters.compile_long_pull(scenario, seed))


def _pull(scenario: Scenario, ledger: Ledger, seed: int, poller: parameters.Pull) -> Counters:
    """Poll for every subscriber, and let each receiver take in what its poller fetched."""
    world, width, may_wait = parameters.compile_world(scenario, seed), ledger.width, ledger.subscribers == 1

    def taken_in(asks: parameters.Pull, together: Polled | None) -> Counters | None:
        def work(share: Share) -> Counters | None:
            counts, at_api, at_receivers = _no_counts(), no_integrals(), no_integrals()
            stands = poll_each(
                world, asks, ledger.rows, share, together or nothing_polled(1, width), together is None,
                may_wait, counts, at_api, at_receivers,
            )  # fmt: skip
            return counters(pull.COUNTER_NAMES, counts, at_receivers, at_api) if stands else None

        return ledger.share_out_if(work)

    return polled(world, poller, ledger, taken_in)


def polled(world: parameters.World, poller: parameters.Pull, ledger: Ledger, taken_in: Apart) -> Counters:
    """Run pollers one by one if they cannot meet at the API, and all together otherwise.

    Each one by itself is given its share of the API's workers. If nobody ever waits for one, nobody would
    have waited had all been there at once. A service that takes no time makes nobody wait anyway.

    Args:
        world: the world.
        poller: how they ask, and the API.
        ledger: whose records.
        taken_in: what comes of what pollers fetch: of those run together before, or (None) each run then, if
            that stands.
    """
    own = parameters.apart(poller, ledger.subscribers)
    if own is not None and (counted := taken_in(own, None)) is not None:
        return counted
    ledger.refuse_beyond_memory("polls wait for one another at the provider's API")
    counts, at_api = _no_counts(), no_integrals()
    together = nothing_polled(ledger.subscribers, ledger.width)
    pull.fetch(world, poller, ledger.rows, 0, together, counts, at_api, ledger.series)
    taken = taken_in(poller, together)
    assert taken is not None, "only pollers run one by one can be refused"
    return combined(taken, counters(pull.COUNTER_NAMES, counts, no_integrals(), at_api))


def _no_counts() -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.zeros(len(pull.COUNTER_NAMES), dtype=np.int64)
