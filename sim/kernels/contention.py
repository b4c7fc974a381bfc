"""Clients contending for one row by optimistic concurrency, compiled: `sim.studies.backoff_and_jitter`.

Only the row's happenings need an agenda: what a client does between two of them depends on nobody else.
"""

from __future__ import annotations

import numpy as np

from sim.compiled import allocating, jit
from sim.distributions import normal_quantile
from sim.happenings import Happening
from sim.kernels import agenda
from sim.kernels.agenda import pack, unpack
from sim.policies import RetryPolicy, retry_delay
from sim.randomness import Stream, uniform

_ARRIVAL = int(Happening.REQUEST_ARRIVAL)
_READ, _WRITE = range(2)


@jit
def hop_s(mean_s: float, sd_s: float, seed: int, client: int, hop: int) -> float:
    """How long a client's hop number `hop` takes: the size of a normal draw, so never below 0."""
    return abs(mean_s + sd_s * normal_quantile(uniform(seed, Stream.CONTENTION_HOP, client, hop)))


@allocating
def contend(
    clients: int, retry: RetryPolicy, hop_mean_s: float, hop_sd_s: float, seed: int
) -> tuple[int, float]:
    """All clients start at 0 and try until each has written once.

    Args:
        clients: how many contend.
        retry: how long a client whose write was refused waits; its limits on attempts are not looked at.
        hop_mean_s: the mean of a hop across the network, before its sign is dropped.
        hop_sd_s: its standard deviation.
        seed: the run's seed.

    Returns:
        How many writes were tried, and when the last client heard of its success.
    """
    times, keys = np.empty(clients, dtype=np.float64), np.empty(clients, dtype=np.int64)
    version_read = np.zeros(clients, dtype=np.int64)
    hops, attempts = np.zeros(clients, dtype=np.int64), np.ones(clients, dtype=np.int64)
    waited_s = np.full(clients, retry.base_s)
    version, calls, finished_s = 0, 0, 0.0
    size = 0
    for client in range(clients):
        first_s = hop_s(hop_mean_s, hop_sd_s, seed, client, 0)
        size = agenda.add(times, keys, size, first_s, pack(_ARRIVAL, client, 0, _READ))
    while size > 0:
        now = times[0]
        _, client, _, asked = unpack(keys[0])
        size = agenda.drop_first(times, keys, size)
        heard_s = now + hop_s(hop_mean_s, hop_sd_s, seed, client, hops[client] + 1)
        hops[client] += 2
        if asked == _READ:
            version_read[client] = version
            following = _WRITE
        else:
            calls += 1
            if version_read[client] == version:
                version += 1
                finished_s = max(finished_s, heard_s)
                continue
            u = uniform(seed, Stream.RETRY_JITTER, client, attempts[client])
            waited_s[client] = retry_delay(retry, attempts[client], waited_s[client], u)
            attempts[client] += 1
            heard_s += waited_s[client]
            following = _READ
        arrives_s = heard_s + hop_s(hop_mean_s, hop_sd_s, seed, client, hops[client])
        size = agenda.add(times, keys, size, arrives_s, pack(_ARRIVAL, client, 0, following))
    return calls, finished_s
