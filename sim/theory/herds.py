"""What comes back all at once: backlogs, herds of retries, bursts and storms, in closed form.

λ is the events' rate, D an outage's length, c workers of rate μ each.
"""

from __future__ import annotations

import math


def drain_s(arrivals_per_s: float, outage_s: float, served_per_s: float) -> float:
    """How long a backlog takes to vanish once a receiver is back: λD/(cμ − λ), `served_per_s` = cμ.

    Conditions: what came in the outage was kept and is served from its end on, new arrivals behind it;
    fluid, so λD is large. With one worker, Poisson arrivals and a Poisson backlog the mean is exact, as a
    busy period that begins with work V lasts V/(1 − ρ) on average. Sources: Newell, Applications of
    Queueing Theory, 2nd ed. 1982, ch. 2 (fluid); Kleinrock, Queueing Systems I, 1975, §5.8 (busy periods).

    Raises:
        ValueError: the backlog would never vanish.
    """
    if served_per_s <= arrivals_per_s:
        raise ValueError(f"a backlog vanishes only if more is served than comes: {served_per_s} a second")
    return arrivals_per_s * outage_s / (served_per_s - arrivals_per_s)


def fixed_gap_herd_per_s(rate_per_s: float, outage_s: float, gap_s: float) -> float:
    """Retries a second just after an outage when each failure is tried again `gap_s` later: λD/b.

    Each event of the outage has exactly one attempt in any b seconds, so all λD come within b. Conditions:
    no jitter, attempts enough to outlast the outage, failures known at once. New events' first attempts
    come on top.
    """
    return rate_per_s * outage_s / gap_s


def doubling_herd_per_s(rate_per_s: float, outage_s: float, base_s: float) -> float:
    """Retries a second just after an outage when gaps double from `base_s`: λ⌊log₂(1 + D/b)⌋.

    Retry k of an event comes b(2^k − 1) after it, so at the outage's end each k with b(2^k − 1) ≤ D brings
    the events of one instant, λ a second. It holds for b seconds, unless the next k begins within them.
    Conditions as `fixed_gap_herd_per_s`, and no cap.
    """
    return rate_per_s * math.floor(math.log2(1 + outage_s / base_s))


def burst_end_s(requests: int, workers: int, service_s: float) -> float:
    """When the last of N simultaneous requests is done, at c idle workers of constant service s: ⌈N/c⌉s.

    Conditions: nothing else arrives meanwhile. The workers go through the burst in rounds of c.
    """
    return math.ceil(requests / workers) * service_s


def retry_storm_is_possible(rate_per_s: float, retries: int, served_per_s: float) -> bool:
    """Whether retries alone can keep a server overloaded once it has fallen behind: λ(1 + m) > μ.

    When every request times out, each is sent 1 + m times and each copy costs the server as much as a useful
    one; if that is more than it can serve, the queue that makes them time out never shortens: a metastable
    failure.
    Sources: Bronson, Aghayev, Charapko & Zhu, "Metastable failures in distributed systems", HotOS 2021 (280 a
    second at a database good for 300, with one retry, stay at 560 after a 10 s outage; safe below 150).
    """
    return rate_per_s * (1 + retries) > served_per_s
