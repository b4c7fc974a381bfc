"""The two servers of a scenario: each subscriber's receiver, and the provider's API; and how they fail."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from sim.distribution_specs import Constant, DistributionSpec, LogNormal
from sim.spec import Count, NonNegative, Positive, Probability, Spec

OutageKind = Literal["refuse", "black_hole", "error", "slow"]
Workers = Annotated[int, Field(ge=1, le=10_000)]
Slowdown = Annotated[float, Field(ge=1, le=1e6, allow_inf_nan=False)]


class Outage(Spec):
    """A span in which a server fails.

    Its door is shut (connections refused, swallowed or answered 5xx), or it is merely "slow": what starts
    service meanwhile takes `slowdown` times as long.
    """

    start_s: NonNegative
    duration_s: Positive
    kind: OutageKind = "refuse"
    slowdown: Slowdown = 10.0


class RandomOutages(Spec):
    """A server that fails of itself: up for a random time, down for a random time, and so on from 0."""

    up: DistributionSpec
    down: DistributionSpec
    kind: OutageKind = "refuse"
    slowdown: Slowdown = 10.0

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        for name, spec in (("up", self.up), ("down", self.down)):
            if spec.mean_s <= 0:
                raise ValueError(f"{name} must have a mean above 0")
        return self


class Fallible(Spec):
    """What both servers have in common: workers before one queue, and outages, scheduled or random."""

    outages: Annotated[tuple[Outage, ...], Field(strict=False)] = ()
    random_outages: RandomOutages | None = None

    @field_validator("outages")
    @classmethod
    def _apart(cls, outages: tuple[Outage, ...]) -> tuple[Outage, ...]:
        ordered = tuple(sorted(outages, key=lambda outage: outage.start_s))
        for earlier, later in pairwise(ordered):
            if later.start_s < earlier.start_s + earlier.duration_s:
                raise ValueError(
                    f"the outage from {later.start_s} s starts before the one from "
                    f"{earlier.start_s} s ends at {earlier.start_s + earlier.duration_s} s"
                )
        return ordered

    @model_validator(mode="after")
    def _scheduled_or_random(self) -> Self:
        if self.outages and self.random_outages is not None:
            raise ValueError("state either outages or random_outages, not both")
        return self


class Receiver(Fallible):
    """Each subscriber's own server: `workers` taking jobs from one queue, first come first served.

    `error_probability` is the chance that the receiver answers a webhook 500, or fails on a message of a
    broker, for a reason of its own. A webhook whose signed time is more than `signature_tolerance_s` off the
    receiver's clock, which runs `clock_offset_s` ahead of the provider's, is answered 400.
    `discipline = "preempt"` lets a newly accepted event push the one in service out, which is dropped: what a
    monitor that only wants the newest does (one worker, acknowledged on receipt).
    """

    workers: Workers = 4
    service: DistributionSpec = LogNormal(kind="lognormal", mean_s=0.02, cv=1.0)
    queue_limit: Annotated[int, Field(ge=0, le=10**9)] = 1000
    retry_after_s: NonNegative = 0.0
    acknowledge: Literal["after_processing", "on_receipt"] = "after_processing"
    discipline: Literal["fcfs", "preempt"] = "fcfs"
    error_probability: Probability = 0.0
    clock_offset_s: Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)] = 0.0
    signature_tolerance_s: Positive | None = None

    @model_validator(mode="after")
    def _one_to_preempt(self) -> Self:
        if self.discipline == "preempt" and (self.workers != 1 or self.acknowledge != "on_receipt"):
            raise ValueError(
                'discipline = "preempt" needs workers = 1 and acknowledge = "on_receipt", '
                f'got {self.workers} and "{self.acknowledge}"'
            )
        return self


class RateLimit(Spec):
    """At most `requests` a subscriber in each fixed window of `per_s` seconds, aligned at 0.

    With `not_modified_free` a conditional request that finds nothing new when it arrives neither needs nor
    uses any of them (GitHub REST API, "Best practices": conditional requests).
    """

    requests: Count
    per_s: Positive
    not_modified_free: bool = False


class Retention(Spec):
    """What the events API still shows: the newest `events`, or those of the last `seconds`."""

    events: Count | None = None
    seconds: Positive | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.events is None) == (self.seconds is None):
            raise ValueError("state either events or seconds")
        return self


class ProviderApi(Fallible):
    """The provider's events API: `workers` shared by every poller, and what the feed shows."""

    workers: Workers = 8
    service: DistributionSpec = Constant(kind="constant", mean_s=0.002)
    rate_limit: RateLimit | None = None
    feed_lag_s: NonNegative = 0.0
    retention: Retention | None = None
