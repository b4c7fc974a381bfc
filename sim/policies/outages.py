"""When a server is down or slow, and what its door does meanwhile: functions of the time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit
from sim.distributions import compile_distribution, sample
from sim.errors import ScenarioError
from sim.policies.times import NEVER
from sim.randomness import Stream
from sim.scenario import ProviderApi, Receiver, Scenario

UP, REFUSE, BLACK_HOLE, ERROR, SLOW = range(5)

MAX_OUTAGES = 1_000_000
"""How many random outages all servers of one kind may have together, on average."""

_KINDS = {"refuse": REFUSE, "black_hole": BLACK_HOLE, "error": ERROR, "slow": SLOW}


class Outages(NamedTuple):
    """The outages of one or many servers: edges in seconds, each server's ascending and apart.

    Those of server s are the places `first[s]` to `first[s + 1]`; when all servers share theirs, `first` has
    two places and is read at 0.
    """

    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    kind: NDArray[np.int64]
    slowdown: NDArray[np.float64]
    first: NDArray[np.int64]
    shared: bool


def receiver_outages(scenario: Scenario, seed: int) -> Outages:
    """The outages of every subscriber's receiver in one replication.

    Raises:
        ScenarioError: random ones would be more than `MAX_OUTAGES`.
    """
    count = scenario.subscribers.count
    return _compile(scenario.receiver, scenario, seed, count, Stream.RECEIVER_UP, Stream.RECEIVER_DOWN)


def api_outages(scenario: Scenario, seed: int) -> Outages:
    """The outages of the provider's API in one replication.

    Raises:
        ScenarioError: random ones would be more than `MAX_OUTAGES`.
    """
    return _compile(scenario.provider_api, scenario, seed, 1, Stream.API_UP, Stream.API_DOWN)


def _compile(
    server: Receiver | ProviderApi,
    scenario: Scenario,
    seed: int,
    count: int,
    up_stream: Stream,
    down_stream: Stream,
) -> Outages:
    rows: list[tuple[float, float, int, float]] = []
    random = server.random_outages
    if random is None:
        for outage in server.outages:
            end_s = outage.start_s + outage.duration_s
            rows.append((outage.start_s, end_s, _KINDS[outage.kind], outage.slowdown))
        return _outages(rows, [0, len(rows)], shared=True)
    expected = count * scenario.world_end_s / (random.up.mean_s + random.down.mean_s)
    if expected > MAX_OUTAGES:
        raise ScenarioError(
            f"random_outages make {expected:.3g} outages in this world; at most {MAX_OUTAGES:,} are drawn"
        )
    up, down = compile_distribution(random.up), compile_distribution(random.down)
    first = [0]
    for s in range(count):
        end_s, number = 0.0, 0
        while True:
            start_s = end_s + sample(up, seed, int(up_stream), s, number)
            if start_s >= scenario.world_end_s:
                break
            end_s = start_s + sample(down, seed, int(down_stream), s, number)
            number += 1
            if end_s > start_s:
                rows.append((start_s, end_s, _KINDS[random.kind], random.slowdown))
        first.append(len(rows))
    return _outages(rows, first, shared=False)


def _outages(rows: list[tuple[float, float, int, float]], first: list[int], *, shared: bool) -> Outages:
    start_s, end_s, kind, slowdown = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Outages(
        np.array(start_s, dtype=np.float64),
        np.array(end_s, dtype=np.float64),
        np.array(kind, dtype=np.int64),
        np.array(slowdown, dtype=np.float64),
        np.array(first, dtype=np.int64),
        shared,
    )


@jit
def _place(outages: Outages, server: int, time_s: float) -> int:
    """The place of the last outage that has started by a time; one before the server's first if none has."""
    row = 0 if outages.shared else server
    low, high = outages.first[row], outages.first[row + 1]
    before = low - 1
    while low < high:
        middle = (low + high) >> 1
        if outages.start_s[middle] <= time_s:
            low = middle + 1
        else:
            high = middle
    return int(max(low - 1, before))


@jit
def _current(outages: Outages, server: int, time_s: float) -> int:
    """The place of the outage that is on at a time; -1 if none is. Outages are [start, end)."""
    place = _place(outages, server, time_s)
    row = 0 if outages.shared else server
    if place >= outages.first[row] and time_s < outages.end_s[place]:
        return place
    return -1


@jit
def outage_at(outages: Outages, server: int, time_s: float) -> int:
    """What the server's door does at a time: UP, REFUSE, BLACK_HOLE or ERROR; a SLOW server's is open."""
    place = _current(outages, server, time_s)
    if place < 0 or outages.kind[place] == SLOW:
        return UP
    return int(outages.kind[place])


@jit
def slowdown_at(outages: Outages, server: int, time_s: float) -> float:
    """How many times as long as usual a service takes that starts at a time."""
    place = _current(outages, server, time_s)
    if place < 0 or outages.kind[place] != SLOW:
        return 1.0
    return float(outages.slowdown[place])


@jit
def up_from(outages: Outages, server: int, time_s: float) -> float:
    """The earliest time, not before `time_s`, at which the server is up (or merely slow)."""
    while outage_at(outages, server, time_s) != UP:
        time_s = float(outages.end_s[_current(outages, server, time_s)])
    return time_s


@jit
def next_down(outages: Outages, server: int, time_s: float) -> float:
    """The earliest time, not before `time_s`, at which the server is down; NEVER if it stays up."""
    if outage_at(outages, server, time_s) != UP:
        return time_s
    row = 0 if outages.shared else server
    for place in range(_place(outages, server, time_s) + 1, outages.first[row + 1]):
        if outages.kind[place] != SLOW:
            return float(outages.start_s[place])
    return NEVER
