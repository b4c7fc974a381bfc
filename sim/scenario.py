"""What is studied: a scenario, validated, frozen, and the same for simulation and measurement.

A scenario is read from TOML (`load_scenario`) or built in Python (`Scenario.model_validate`).
Every duration is in seconds and every size in bytes, as the key says. Unknown keys are errors
that name the nearest known key: a misspelt `intervall_s` must not silently mean 30 seconds.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from sim.distribution_specs import Constant, DistributionSpec, LogNormal
from sim.errors import ScenarioError
from sim.spec import Bytes, Count, NonNegative, Positive, Probability, Spec, describe_errors

PRESET_DIR = Path(__file__).parent / "presets"


class PoissonWorkload(Spec):
    """Events at independent exponential gaps, `rate_per_s` on average."""

    kind: Literal["poisson"]
    rate_per_s: Positive
    payload_bytes: Bytes = 1000


class PeriodicWorkload(Spec):
    """An event every 1 / `rate_per_s` seconds.

    The first falls at a uniformly random phase within one period, or at 0 when `phase` is
    "synchronised" (then periodic polls may lock to the events; see `sim.theory`).
    """

    kind: Literal["periodic"]
    rate_per_s: Positive
    phase: Literal["random", "synchronised"] = "random"
    payload_bytes: Bytes = 1000


class TraceWorkload(Spec):
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
    payload_bytes: Bytes = 1000

    @field_validator("path")
    @classmethod
    def _beside_the_scenario(cls, path: str, info: ValidationInfo) -> str:
        base = (info.context or {}).get("base_dir")
        return str(Path(base) / path) if base is not None else path


WorkloadSpec = Annotated[PoissonWorkload | PeriodicWorkload | TraceWorkload, Field(discriminator="kind")]


class Subscribers(Spec):
    """How many subscribers want every event; each has its own endpoint, receiver and poller."""

    count: Annotated[int, Field(ge=1, le=2**23)] = 1


class Network(Spec):
    """The way between provider and subscriber, the same in both directions."""

    one_way: DistributionSpec = LogNormal(kind="lognormal", mean_s=0.02, cv=0.5)
    request_loss: Probability = 0.0
    response_loss: Probability = 0.0
    request_header_bytes: Bytes = 600
    response_header_bytes: Bytes = 300


class Retry(Spec):
    """When a failed webhook is tried again.

    The nominal delay before attempt k+1, counted from when the failure is known:
    fixed `base_s`; linear `base_s`·k; exponential `base_s`·`factor`^(k-1), each at most `cap_s`;
    schedule the k-th of `gaps_s`. `max_attempts` includes the first; `max_duration_s` after the
    event no further attempt becomes ready. Jitter: full U(0, d); equal d/2 + U(0, d/2);
    decorrelated min(cap, U(base, 3·previous)) (Brooker, "Exponential Backoff And Jitter", AWS
    Architecture Blog, 2015).
    """

    kind: Literal["none", "fixed", "linear", "exponential", "schedule"]
    base_s: NonNegative = 10.0
    factor: Annotated[float, Field(ge=1, le=1e6, allow_inf_nan=False)] = 2.0
    cap_s: Positive = 3600.0
    gaps_s: Annotated[tuple[NonNegative, ...], Field(strict=False)] = ()
    max_attempts: Annotated[int, Field(ge=1, le=1000)] | None = None
    max_duration_s: Positive | None = None
    jitter: Literal["none", "full", "equal", "decorrelated"] = "none"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind == "schedule" and not self.gaps_s:
            raise ValueError("a schedule needs gaps_s, the gaps in seconds between attempts")
        if self.kind != "schedule" and self.gaps_s:
            raise ValueError(f'gaps_s belongs to kind = "schedule", not {self.kind!r}')
        if self.jitter == "decorrelated" and self.kind != "exponential":
            raise ValueError(f'jitter = "decorrelated" needs kind = "exponential", not {self.kind!r}')
        if self.kind in {"fixed", "linear", "exponential"} and self.max_attempts is None:
            raise ValueError(f'kind = "{self.kind}" needs max_attempts (1 to 1000)')
        return self

    @property
    def attempts_allowed(self) -> int:
        """The most attempts one event may take, the first included."""
        if self.kind == "none":
            return 1
        if self.kind == "schedule":
            listed = len(self.gaps_s) + 1
            return listed if self.max_attempts is None else min(listed, self.max_attempts)
        assert self.max_attempts is not None
        return self.max_attempts


class Webhook(Spec):
    """How the provider pushes: one POST an event and endpoint, retried until acknowledged."""

    timeout_s: Positive = 10.0
    retry: Retry = Retry(
        kind="exponential", base_s=10.0, factor=2.0, cap_s=3600.0, max_attempts=6, jitter="full"
    )
    max_in_flight: Count = 100


class Polling(Spec):
    """How a subscriber asks: every `interval_s`, from a random or shared phase, page by page."""

    interval_s: Positive = 30.0
    schedule: Literal["fixed_rate", "fixed_delay", "exponential"] = "fixed_rate"
    timeout_s: Positive = 30.0
    jitter_s: NonNegative = 0.0
    phase: Literal["random", "synchronised"] = "random"
    page_size: Count = 100

    @model_validator(mode="after")
    def _jitter_keeps_ticks_in_order(self) -> Self:
        if self.jitter_s > self.interval_s:
            raise ValueError(f"jitter_s must be at most interval_s = {self.interval_s}, got {self.jitter_s}")
        if self.jitter_s > 0 and self.schedule == "exponential":
            raise ValueError('jitter_s must be 0 with schedule = "exponential", which is random already')
        return self


class Outage(Spec):
    """A span in which the receiver's door is shut: connections refused, swallowed or answered 5xx."""

    start_s: NonNegative
    duration_s: Positive
    kind: Literal["refuse", "black_hole", "error"] = "refuse"


class Receiver(Spec):
    """Each subscriber's own server: `workers` taking jobs from one queue, first come first served."""

    workers: Annotated[int, Field(ge=1, le=10_000)] = 4
    service: DistributionSpec = LogNormal(kind="lognormal", mean_s=0.02, cv=1.0)
    queue_limit: Annotated[int, Field(ge=0, le=10**9)] = 1000
    retry_after_s: NonNegative = 0.0
    acknowledge: Literal["after_processing", "on_receipt"] = "after_processing"
    outages: Annotated[tuple[Outage, ...], Field(strict=False)] = ()

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


class RateLimit(Spec):
    """At most `requests` a subscriber in each fixed window of `per_s` seconds, aligned at 0."""

    requests: Count
    per_s: Positive


class Retention(Spec):
    """What the events API still shows: the newest `events`, or those of the last `seconds`."""

    events: Count | None = None
    seconds: Positive | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.events is None) == (self.seconds is None):
            raise ValueError("state either events or seconds")
        return self


class ProviderApi(Spec):
    """The provider's events API: `workers` shared by every poller, and what the feed shows."""

    workers: Annotated[int, Field(ge=1, le=10_000)] = 8
    service: DistributionSpec = Constant(kind="constant", mean_s=0.002)
    rate_limit: RateLimit | None = None
    feed_lag_s: NonNegative = 0.0
    retention: Retention | None = None


class Cost(Spec):
    """Prices the user fills in; a cost is reported only when one is stated."""

    per_million_requests: NonNegative | None = None


class Run(Spec):
    """The world's clock: events are created in [0, duration_s); the world ends `drain_s` later.

    Records cover events created at or after `warmup_s`; counters cover [warmup_s, duration_s).
    `on_time_s` is the latency bound of `on_time_ratio`; without it that metric is not reported.
    """

    duration_s: Positive
    warmup_s: NonNegative = 0.0
    drain_s: NonNegative = 0.0
    on_time_s: Positive | None = None

    @model_validator(mode="after")
    def _window_is_not_empty(self) -> Self:
        if self.warmup_s >= self.duration_s:
            raise ValueError(f"warmup_s must be below duration_s = {self.duration_s}, got {self.warmup_s}")
        return self


class Scenario(Spec):
    """One question: who produces events, who wants them, and every way they might get there."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    title: str = ""
    description: str = ""
    workload: WorkloadSpec
    subscribers: Subscribers = Subscribers()
    network: Network = Network()
    webhook: Webhook = Webhook()
    polling: Polling = Polling()
    receiver: Receiver = Receiver()
    provider_api: ProviderApi = ProviderApi()
    cost: Cost = Cost()
    run: Run

    @property
    def world_end_s(self) -> float:
        """When the world ends; a happening exactly then is outside it."""
        return self.run.duration_s + self.run.drain_s

    def with_values(self, **changes: Any) -> Scenario:
        """A copy with dotted keys replaced, e.g. ``with_values(**{"polling.interval_s": 5.0})``.

        Raises:
            ScenarioError: a key does not exist or a value is out of its range.
        """
        document: dict[str, Any] = self.model_dump()
        for dotted, value in changes.items():
            *tables, key = dotted.split(".")
            table = document
            for name in tables:
                inner = table.get(name)
                if inner is None:
                    inner = table[name] = {}
                elif not isinstance(inner, dict):
                    raise ScenarioError(f"{dotted}: {name} holds a value, not a table of keys")
                table = inner
            table[key] = value
        return scenario_from(document)

    def to_toml(self) -> str:
        """This scenario as TOML, every default written out."""
        return tomli_w.dumps(self.model_dump(exclude_none=True))

    def digest(self) -> str:
        """SHA-256 (hex) over every value that decides the outcome; a trace counts by its path.

        A run folder records the hash of the trace's content beside it.
        """
        document = self.model_dump(mode="json", exclude={"name", "title", "description"})
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def scenario_from(
    document: dict[str, Any], base_dir: Path | None = None, source: str = "scenario"
) -> Scenario:
    """Validate a scenario given as nested dicts; relative trace paths start at `base_dir`.

    Raises:
        ScenarioError: with every problem on one line, each naming its key and the value given.
    """
    try:
        return Scenario.model_validate(document, context={"base_dir": base_dir})
    except ValidationError as error:
        raise ScenarioError(f"{source}: {describe_errors(error, document)}") from None


def preset_names() -> list[str]:
    """The names of the scenarios that come with hookbench, sorted."""
    return sorted(path.stem for path in PRESET_DIR.glob("*.toml"))


def load_scenario(name_or_path: str | Path) -> Scenario:
    """Read a scenario: a preset's name, or the path of a TOML file.

    Raises:
        ScenarioError: no such preset or file, not TOML, or an invalid scenario.
    """
    path = _locate(str(name_or_path))
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ScenarioError(f"{path}: not a TOML file: {error}") from None
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read: {error.strerror}") from None
    return scenario_from(document, path.parent, str(name_or_path))


def _locate(name_or_path: str) -> Path:
    if name_or_path in preset_names():
        return PRESET_DIR / f"{name_or_path}.toml"
    path = Path(name_or_path)
    try:
        if path.suffix == ".toml" or path.exists():
            if not path.exists() or path.is_dir():
                raise ScenarioError(f"{name_or_path}: no such scenario file")
            return path
    except OSError as error:
        raise ScenarioError(f"{name_or_path}: cannot be read: {error.strerror}") from None
    nearest = difflib.get_close_matches(name_or_path, preset_names(), n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise ScenarioError(
        f"no preset is called {name_or_path!r}; {hint}presets: {', '.join(preset_names())}; "
        "or give the path of a .toml file"
    )
