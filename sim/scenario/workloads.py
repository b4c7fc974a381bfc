"""What happens at the provider, and who wants to know: arrival processes and subscribers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from sim.errors import InputError
from sim.shape import parse_shape
from sim.spec import Bytes, Positive, Probability, Spec


class Workload(Spec):
    """What every workload has.

    `content` says what an event is: "events" are each wanted for themselves; "last_value" are updates of one
    value, of which a feed shows only the newest, so that one nobody fetched in time is missed.
    """

    payload_bytes: Bytes = 1000
    content: Literal["events", "last_value"] = "events"


class PoissonWorkload(Workload):
    """Events at independent exponential gaps, `rate_per_s` on average."""

    kind: Literal["poisson"]
    rate_per_s: Positive


class PeriodicWorkload(Workload):
    """An event every 1 / `rate_per_s` seconds.

    The first falls at a uniformly random phase within one period, or at 0 when `phase` is
    "synchronised" (then periodic polls may lock to the events; see `sim.theory`).
    """

    kind: Literal["periodic"]
    rate_per_s: Positive
    phase: Literal["random", "synchronised"] = "random"


class BurstyWorkload(Workload):
    """Poisson events in exponential "on" spells, none in the "off" spells between: on-off Markov-modulated.

    `rate_per_s` is the mean over both, `on_share` the share of time that is on. `dispersion` is the index of
    dispersion for counts over long spans (variance / mean of the number of events; 1 for Poisson), which
    fixes how long the spells are: with p the share, λ the rate and I the index, they alternate at the total
    rate σ = 2λ(1 − p)/(p(I − 1)), so that a spell on lasts 1/((1 − p)σ) and one off 1/(pσ) on average
    (Fischer & Meier-Hellstern, "The Markov-modulated Poisson process (MMPP) cookbook", Performance
    Evaluation 18, 1993, for two states of which one is silent).
    """

    kind: Literal["bursty"]
    rate_per_s: Positive
    dispersion: Annotated[float, Field(gt=1, le=1e6, allow_inf_nan=False)]
    on_share: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = 0.1

    @property
    def on_mean_s(self) -> float:
        """The mean length of an "on" spell, seconds."""
        return 1.0 / ((1.0 - self.on_share) * self._switches_per_s)

    @property
    def off_mean_s(self) -> float:
        """The mean length of an "off" spell, seconds."""
        return 1.0 / (self.on_share * self._switches_per_s)

    @property
    def _switches_per_s(self) -> float:
        p = self.on_share
        return 2.0 * self.rate_per_s * (1.0 - p) / (p * (self.dispersion - 1.0))


class DiurnalWorkload(Workload):
    """Day and night: Poisson events whose rate swings about its mean.

    λ(t) = `rate_per_s` · (1 + `amplitude` · cos(2π (t − `peak_s`) / `period_s`)). Drawn by
    thinning a Poisson process of the peak rate (Lewis & Shedler, "Simulation of nonhomogeneous Poisson
    processes by thinning", Naval Research Logistics 26, 1979).
    """

    kind: Literal["diurnal"]
    rate_per_s: Positive
    amplitude: Probability = 0.8
    period_s: Positive = 86_400.0
    peak_s: Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)] = 43_200.0


class BatchWorkload(Workload):
    """Events in batches at one instant: batches are Poisson, `rate_per_s` counts events.

    A batch has `batch_mean` events, always ("constant", a whole number) or on average ("geometric", from 1).
    """

    kind: Literal["batch"]
    rate_per_s: Positive
    batch_mean: Annotated[float, Field(ge=1, le=1e6, allow_inf_nan=False)]
    batch_size: Literal["constant", "geometric"] = "geometric"

    @model_validator(mode="after")
    def _whole_batches(self) -> Self:
        if self.batch_size == "constant" and self.batch_mean != math.floor(self.batch_mean):
            raise ValueError(
                f'batch_mean must be a whole number with batch_size = "constant", got {self.batch_mean}'
            )
        return self


class TraceWorkload(Workload):
    """The recorded times in one column of a CSV or JSON-lines file, replayed `speedup` times faster.

    The first row happens at 0. `order` and `duplicates` say what to do with rows that go back in
    time or repeat one: by default both are errors that name the line. `unit` is that of epoch numbers;
    left out, it follows from their magnitude.
    """

    kind: Literal["trace"]
    path: str
    column: str = "created"
    speedup: Positive = 1.0
    order: Literal["strict", "sort"] = "strict"
    duplicates: Literal["error", "keep"] = "error"
    unit: Literal["s", "ms", "us", "ns"] | None = None

    @field_validator("path")
    @classmethod
    def _beside_the_scenario(cls, path: str, info: ValidationInfo) -> str:
        base = (info.context or {}).get("base_dir")
        return str(Path(base) / path) if base is not None else path


class ShapedWorkload(Workload):
    """A load shape over the run, such as ``shape = "ramp:from=10,to=300"``; see `sim.shape`."""

    kind: Literal["shaped"]
    shape: str

    @field_validator("shape")
    @classmethod
    def _readable(cls, shape: str) -> str:
        try:
            return parse_shape(shape).text
        except InputError as error:
            raise ValueError(str(error)) from None

    def expected_events(self, duration_s: float) -> float:
        """How many events a run of `duration_s` has on average."""
        return parse_shape(self.shape).expected(duration_s)


WorkloadSpec = Annotated[
    PoissonWorkload
    | PeriodicWorkload
    | BurstyWorkload
    | DiurnalWorkload
    | BatchWorkload
    | ShapedWorkload
    | TraceWorkload,
    Field(discriminator="kind"),
]


class Subscribers(Spec):
    """How many subscribers there are; each has its own endpoint, receiver and poller.

    Each wants each event with probability `interest`, independently; its feed shows only what it wants.
    """

    count: Annotated[int, Field(ge=1, le=2**23)] = 1
    interest: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1.0
