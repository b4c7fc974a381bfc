"""What a new connection costs before its first request."""

from __future__ import annotations

from sim.compiled import jit
from sim.distributions import Distribution, sample


@jit
def setup_s(
    one_way: Distribution, round_trips: int, seed: int, stream: int, entity: int, index: int
) -> float:
    """The time a connection takes to be set up: so many round trips, each twice a transit drawn once."""
    if round_trips == 0:
        return 0.0
    return 2.0 * round_trips * sample(one_way, seed, stream, entity, index)
