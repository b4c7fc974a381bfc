"""A lasting connection, of a stream or to a broker: when it ends, who notices when, and the way back."""

from __future__ import annotations

import math
from typing import NamedTuple

from sim.compiled import jit
from sim.distributions import Distribution, compile_distribution, sample
from sim.policies.outages import Outages, next_down, up_from
from sim.policies.retries import RetryPolicy, compile_reconnect, retry_delay
from sim.policies.times import NEVER
from sim.randomness import Stream, uniform
from sim.scenario import Network
from sim.scenario.ways import Session


class Link(NamedTuple):
    """How a consumer's connections live, as numbers."""

    is_mortal: bool
    lifetime: Distribution
    silent: bool
    heartbeat_s: float
    heartbeat_timeout_s: float
    reconnect: RetryPolicy
    one_way: Distribution


def compile_link(session: Session, network: Network) -> Link:
    """The numbers the functions below need."""
    one_way = compile_distribution(network.one_way)
    return Link(
        is_mortal=session.lifetime is not None,
        lifetime=one_way if session.lifetime is None else compile_distribution(session.lifetime),
        silent=session.silent,
        heartbeat_s=session.heartbeat_s,
        heartbeat_timeout_s=session.heartbeat_timeout_s,
        reconnect=compile_reconnect(session.reconnect),
        one_way=one_way,
    )


@jit
def connects_at(
    link: Link, outages: Outages, seed: int, subscriber: int, session: int, failures: int, noticed_s: float
) -> float:
    """When a consumer begins to set up its connection number `session` (from 0).

    Args:
        link: how its connections live.
        outages: of the receivers; one that is down waits for its end.
        seed: the replication's seed.
        subscriber: whose consumer.
        session: which connection.
        failures: connections lost, or not come about, since one was last up; 0 for the first of all.
        noticed_s: when it noticed the last of these.
    """
    if failures == 0:
        return up_from(outages, subscriber, noticed_s)
    u = uniform(seed, Stream.RECONNECT_JITTER, subscriber, session)
    delay_s = retry_delay(link.reconnect, failures, link.reconnect.base_s, u)
    return up_from(outages, subscriber, noticed_s + delay_s)


@jit
def connection_ends(
    link: Link, outages: Outages, seed: int, subscriber: int, session: int, up_s: float
) -> float:
    """When a connection that is up from `up_s` ends: with its life, or as its receiver goes down."""
    ends_s = NEVER
    if link.is_mortal:
        ends_s = up_s + sample(link.lifetime, seed, Stream.SESSION_LIFETIME, subscriber, session)
    return min(ends_s, next_down(outages, subscriber, up_s))


@jit
def heartbeats_before(link: Link, up_s: float, time_s: float) -> int:
    """How many heartbeats each side sent before a time, the k-th at `up_s` + k · `heartbeat_s` (from 1)."""
    count = max(math.floor((time_s - up_s) / link.heartbeat_s), 0)
    while count > 0 and up_s + count * link.heartbeat_s >= time_s:
        count -= 1
    while up_s + (count + 1) * link.heartbeat_s < time_s:  # the quotient may round to either side
        count += 1
    return count


@jit
def heartbeats_within(link: Link, up_s: float, ended_s: float, low_s: float, high_s: float) -> int:
    """How many heartbeats each side of a connection sends in [`low_s`, `high_s`)."""
    until = heartbeats_before(link, up_s, min(ended_s, high_s))
    return max(until - heartbeats_before(link, up_s, max(up_s, low_s)), 0)


@jit
def broker_notices(link: Link, up_s: float, ended_s: float) -> float:
    """When the broker knows that a connection has ended: at once, or when a silent one's heartbeats fail.

    Of a silent connection either side last hears a heartbeat (or its being set up), and gives the other up
    `heartbeat_timeout_s` later, though not before the end; heartbeats take no time.
    """
    if not link.silent:
        return ended_s
    last_heard_s = up_s + heartbeats_before(link, up_s, ended_s) * link.heartbeat_s
    return max(last_heard_s + link.heartbeat_timeout_s, ended_s)


@jit
def client_notices(
    link: Link, seed: int, subscriber: int, session: int, up_s: float, ended_s: float
) -> float:
    """When the consumer knows: as the broker does if silent, else when the news has crossed the network."""
    if link.silent:
        return broker_notices(link, up_s, ended_s)
    return ended_s + sample(link.one_way, seed, Stream.POLL_RESPONSE_TRANSIT, subscriber, session)
