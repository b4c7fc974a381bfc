"""Storms: what load tests add to a scenario's events, as pure functions from the seed.

Each is written as `sim.notation` says::

    duplicates:share=0.3,times=3,within=1   a share of the events is sent three times in all, by the same id
    forgeries:share=0.5                     half of all requests bear a wrong signature
    retries:within=10                       what failed is sent again as the scenario's policy says
    herd:within=0.1                         all pollers ask at the same instants, or so many seconds apart

Copies and forgeries are requests of their own, beside those of the events, so that the events' own traffic
stays what it was. Nothing in this module reads a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from loadtest.schedule import FloatArray, IntArray, require_schedulable
from sim.errors import InputError
from sim.notation import Form, read_number, read_parameters

if TYPE_CHECKING:
    from sim.scenario import Scenario

GENUINE, COPY, FORGED = range(3)
"""What a request is: an event's first, a further one with the same id, or one that nobody should believe."""

STORMS = {
    "duplicates": Form({"share": None, "times": "2", "within": "0"}, "duplicates:share=0.3,times=3"),
    "forgeries": Form({"share": None}, "forgeries:share=0.5"),
    "retries": Form({"within": "10"}, "retries:within=10"),
    "herd": Form({"within": "0"}, "herd:within=0.1"),
}

SENDER_STORMS = ("duplicates", "forgeries", "retries")
CROWD_STORMS = ("herd",)

_MOST_TIMES = 1000


@dataclass(frozen=True)
class Storm:
    """One storm, as it was written and as numbers."""

    text: str
    kind: str
    values: dict[str, float] = field(default_factory=dict)


def parse_storm(text: str) -> Storm:
    """Read a storm.

    Raises:
        InputError: an unknown kind or parameter, one that is missing, or a value out of its range.
    """
    kind, words = read_parameters(text, "storm", STORMS)
    values = {name: read_number(text, "storm", name, word) for name, word in words.items()}
    share, times = values.get("share", 0.0), values.get("times", 2.0)
    least_excluded = 1.0 if kind == "forgeries" else 1.0 + 1e-12
    if share >= least_excluded:
        wanted = "from 0 to below 1" if kind == "forgeries" else "from 0 to 1"
        raise InputError(f"storm {text!r}: share must be {wanted}, got {words['share']!r}")
    if times != int(times) or not 2 <= times <= _MOST_TIMES:
        raise InputError(
            f"storm {text!r}: times must be a whole number from 2 to {_MOST_TIMES}, got {words['times']!r}"
        )
    return Storm(text.strip(), kind, values)


def parse_storms(texts: Sequence[str], known: Sequence[str], arm: str) -> dict[str, Storm]:
    """Storms by kind.

    Args:
        texts: as written.
        known: the kinds that the arm can have.
        arm: for the errors.

    Raises:
        InputError: see `parse_storm`; or a kind given twice, or one that does not befall the arm.
    """
    storms: dict[str, Storm] = {}
    for storm in map(parse_storm, texts):
        if storm.kind in storms:
            raise InputError(f"storm {storm.kind} is given twice: {storm.text!r}")
        if storm.kind not in known:
            raise InputError(
                f"storm {storm.text!r} does not befall {arm}; storms there: {', '.join(known) or 'none'}"
            )
        storms[storm.kind] = storm
    return storms


@dataclass(frozen=True)
class Traffic:
    """The requests of senders, sorted by time; all arrays have one length.

    Attributes:
        offsets_us: intended times since the origin.
        event: which event a request brings, by its number in the event list; a forged one has a number of
            its own behind them.
        kind: GENUINE, COPY or FORGED.
    """

    offsets_us: IntArray
    event: IntArray
    kind: IntArray


def traffic(events_us: IntArray, storms: dict[str, Storm], seed: int) -> Traffic:
    """The requests that bring events, and those that storms add.

    Args:
        events_us: when each event is sent, µs since the origin, sorted.
        storms: by kind; see `parse_storms`.
        seed: of the draws.

    Raises:
        InputError: there would be too many.
    """
    times, events, kinds = [events_us], [np.arange(events_us.size)], [np.zeros(events_us.size, np.int64)]
    if (storm := storms.get("duplicates")) is not None:
        which, when_us = _copies(events_us, storm, seed)
        times.append(when_us)
        events.append(which)
        kinds.append(np.full(which.size, COPY))
    if (storm := storms.get("forgeries")) is not None:
        genuine = sum(part.size for part in times)
        when_us = _forgeries(events_us, storm.values["share"], genuine, seed)
        times.append(when_us)
        events.append(events_us.size + np.arange(when_us.size))
        kinds.append(np.full(when_us.size, FORGED))
    offsets_us = np.concatenate(times)
    order = np.argsort(offsets_us, kind="stable")
    return Traffic(offsets_us[order], np.concatenate(events)[order], np.concatenate(kinds)[order])


def _copies(events_us: IntArray, storm: Storm, seed: int) -> tuple[IntArray, IntArray]:
    from sim.randomness import Stream, uniforms  # noqa: PLC0415 - compiled code

    further = int(storm.values["times"]) - 1
    require_schedulable(events_us.size * (1 + storm.values["share"] * further), storm.text)
    chosen = np.flatnonzero(uniforms(seed, Stream.DUPLICATE, 0, events_us.size) < storm.values["share"])
    which = np.repeat(chosen, further)
    later_us = 1e6 * storm.values["within"] * uniforms(seed, Stream.DUPLICATE, 1, which.size)
    return which, events_us[which] + np.rint(later_us).astype(np.int64)


def _forgeries(events_us: IntArray, share: float, others: int, seed: int) -> IntArray:
    """Times of forgeries: each in the gap behind a random event, so as dense as the events are."""
    from sim.randomness import Stream, uniforms  # noqa: PLC0415 - compiled code

    count = round(others * share / (1.0 - share))
    require_schedulable(others + count, "forgeries")
    gap = (uniforms(seed, Stream.FORGERY, 0, count) * events_us.size).astype(np.int64)
    ends_us = np.append(events_us, events_us[-1])
    when_us: FloatArray = uniforms(seed, Stream.FORGERY, 1, count) * (ends_us[gap + 1] - events_us[gap])
    return events_us[gap] + when_us.astype(np.int64)


def payload_sizes(mean_bytes: int, cv: float, count: int, seed: int) -> IntArray:
    """A payload size for each event, lognormal with a mean and a coefficient of variation, whole bytes.

    Empty for a `cv` of 0: every payload has the mean size.
    """
    from sim.distribution_specs import LogNormal  # noqa: PLC0415
    from sim.distributions import compile_distribution, quantile  # noqa: PLC0415 - compiled code
    from sim.randomness import Stream, uniforms  # noqa: PLC0415

    if cv == 0 or mean_bytes == 0:
        return np.empty(0, dtype=np.int64)
    sizes = compile_distribution(LogNormal(kind="lognormal", mean_s=float(mean_bytes), cv=cv))
    draws = uniforms(seed, Stream.PAYLOAD_BYTES, 0, count)
    return np.array([round(quantile(sizes, float(u))) for u in draws], dtype=np.int64)


def retry_delays_us(scenario: Scenario, storm: Storm | None, seed: int, count: int) -> IntArray:
    """How long after its failure each attempt of each event is repeated, shape (count, attempts - 1), µs.

    The model's own policy and draws. Delays longer than the storm's `within` are left out, since nothing is
    sent so late: a row ends with -1 where its event is given up. Empty without a storm.
    """
    from sim.policies import compile_retry, retry_delay  # noqa: PLC0415 - compiled code
    from sim.randomness import Stream, delivery_entity, uniform  # noqa: PLC0415

    retry = scenario.webhook.retry
    if storm is None or retry.attempts_allowed <= 1:
        return np.empty((count, 0), dtype=np.int64)
    policy = compile_retry(retry)
    within_s = min(storm.values["within"], policy.max_duration_s)
    require_schedulable(count * float(min(retry.attempts_allowed, 1000)), "retries")
    delays = np.full((count, min(retry.attempts_allowed, 1000) - 1), -1, dtype=np.int64)
    for event in range(count):
        previous_s, waited_s = policy.base_s, 0.0
        for failed in range(1, delays.shape[1] + 1):
            u = uniform(seed, Stream.RETRY_JITTER, delivery_entity(0, event), failed)
            previous_s = float(retry_delay(policy, failed, previous_s, u))
            waited_s += previous_s
            if waited_s > within_s:
                break
            delays[event, failed - 1] = round(1e6 * previous_s)
    return delays
