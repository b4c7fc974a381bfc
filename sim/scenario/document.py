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
from pathlib import Path
from typing import Annotated, Any, Self

import tomli_w
from pydantic import Field, ValidationError, model_validator

from sim.distribution_specs import DistributionSpec, LogNormal
from sim.errors import ScenarioError
from sim.scenario.presets import (
    ABOUT,
    PARTS,
    PRESET_DIR,
    is_distribution,
    leaves,
    part_names,
    preset_names,
    with_presets,
    without_none,
)
from sim.scenario.servers import ProviderApi, Receiver
from sim.scenario.ways import (
    AdaptivePolling,
    BrokerPull,
    BrokerPush,
    ConditionalPolling,
    LongPolling,
    Polling,
    Reconciliation,
    Streaming,
    ThinWebhook,
    Webhook,
)
from sim.scenario.workloads import Subscribers, WorkloadSpec
from sim.spec import Bytes, NonNegative, Positive, Probability, Spec, describe_errors


class Network(Spec):
    """The way between provider and subscriber, the same in both directions.

    A request on a new connection is preceded by its set-up: `setup_round_trips` (TCP 1, with TLS 1.3 2, with
    TLS 1.2 3), for which one transit is drawn, and `setup_bytes`. Without `keep_alive` every request opens a
    connection and closes it. Losses strike single requests and answers; a lasting connection (`streaming`,
    `broker_push`) loses nothing but by ending.
    """

    one_way: DistributionSpec = LogNormal(kind="lognormal", mean_s=0.02, cv=0.5)
    request_loss: Probability = 0.0
    response_loss: Probability = 0.0
    request_header_bytes: Bytes = 600
    response_header_bytes: Bytes = 300
    keep_alive: bool = True
    setup_round_trips: Annotated[int, Field(ge=0, le=10)] = 0
    setup_bytes: Bytes = 0


class Cost(Spec):
    """Prices the user fills in, in one currency; a cost is reported only when one is stated.

    A gigabyte is 10^9 bytes, both ways. Server hours are those a worker is busy, at either side; connection
    hours those a connection is in use (a request is out, a stream is open). An event is late from its
    creation until it is visible, or until the world ends; one that is lost costs `per_lost_event` besides.
    """

    per_million_requests: NonNegative | None = None
    per_gigabyte: NonNegative | None = None
    per_server_hour: NonNegative | None = None
    per_connection_hour: NonNegative | None = None
    per_late_event_second: NonNegative | None = None
    per_lost_event: NonNegative | None = None


class Run(Spec):
    """The world's clock: events are created in [0, duration_s); the world ends `drain_s` later.

    Records cover events created at or after `warmup_s`; counters cover [warmup_s, duration_s).
    `on_time_s` is the latency bound of `on_time_ratio`; without it that metric is not reported.
    `series_bin_s` is the width of the bins of time series; left out, a 240th of the world.
    """

    duration_s: Positive
    warmup_s: NonNegative = 0.0
    drain_s: NonNegative = 0.0
    on_time_s: Positive | None = None
    series_bin_s: Positive | None = None

    @model_validator(mode="after")
    def _window_is_not_empty(self) -> Self:
        if self.warmup_s >= self.duration_s:
            raise ValueError(f"warmup_s must be below duration_s = {self.duration_s}, got {self.warmup_s}")
        return self

    @model_validator(mode="after")
    def _series_is_bounded(self) -> Self:
        if self.series_bin_s is not None and (self.duration_s + self.drain_s) / self.series_bin_s > 1e6:
            raise ValueError(f"series_bin_s must leave at most a million bins, got {self.series_bin_s}")
        return self


class Source(Spec):
    """Where a value comes from: `source` in words, and whether it is `assumed` rather than published."""

    source: str
    assumed: bool = False


class Scenario(Spec):
    """One question: who produces events, who wants them, and every way they might get there.

    `provider` and `poller` name presets whose values lie beneath those stated here (`sim.scenario.presets`);
    `sources` says of dotted keys where their values come from; in a file a table's key speaks of each value
    stated in it that has no source of its own.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    title: str = ""
    description: str = ""
    provider: str | None = None
    poller: str | None = None
    workload: WorkloadSpec
    subscribers: Subscribers = Subscribers()
    network: Network = Network()
    webhook: Webhook = Webhook()
    thin_webhook: ThinWebhook = ThinWebhook()
    reconciliation: Reconciliation = Reconciliation()
    polling: Polling = Polling()
    conditional_polling: ConditionalPolling = ConditionalPolling()
    adaptive_polling: AdaptivePolling = AdaptivePolling()
    long_polling: LongPolling = LongPolling()
    streaming: Streaming = Streaming()
    broker_push: BrokerPush = BrokerPush()
    broker_pull: BrokerPull = BrokerPull()
    receiver: Receiver = Receiver()
    provider_api: ProviderApi = ProviderApi()
    cost: Cost = Cost()
    run: Run
    sources: dict[str, Source] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sources_have_values(self) -> Self:
        for dotted in self.sources:
            value = self._value_at(dotted)
            if value is None:
                known = list(leaves(self.model_dump(exclude=set(ABOUT)), ""))
                nearest = difflib.get_close_matches(dotted, known, n=1, cutoff=0.5)
                hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
                raise ValueError(f"sources: {dotted!r} names no value of this scenario{hint}")
            if isinstance(value, Spec) and not is_distribution(value.model_dump()):
                raise ValueError(f"sources: {dotted!r} names a table in which no value is left to speak of")
        return self

    def _value_at(self, dotted: str) -> Any:
        value: Any = self
        for key in dotted.split("."):
            if (
                not isinstance(value, Spec)
                or key not in type(value).model_fields
                or (value is self and key in ABOUT)
            ):
                return None
            value = getattr(value, key)
        return value

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
            if dotted in PARTS:
                raise ScenarioError(
                    f"{dotted}: a preset lies beneath a scenario's own values and cannot be exchanged later; "
                    "state it where the scenario is written"
                )
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
        if "sources" not in changes:
            document["sources"] = {
                key: why
                for key, why in document["sources"].items()
                if not any(f"{key}.".startswith(f"{c}.") or c.startswith(f"{key}.") for c in changes)
            }
        return scenario_from(document)

    def to_toml(self) -> str:
        """This scenario as TOML, every default written out."""
        return tomli_w.dumps(without_none(self.model_dump()))

    def digest(self) -> str:
        """SHA-256 (hex) over every value that decides the outcome; a trace counts by its path.

        A run folder records the hash of the trace's content beside it.
        """
        document = self.model_dump(mode="json", exclude=set(ABOUT))
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def scenario_from(
    document: dict[str, Any], base_dir: Path | None = None, source: str = "scenario"
) -> Scenario:
    """Validate a scenario given as nested dicts; relative trace paths start at `base_dir`.

    Raises:
        ScenarioError: with every problem on one line, each naming its key and the value given.
    """
    try:
        document = with_presets(document)
        return Scenario.model_validate(document, context={"base_dir": base_dir})
    except ScenarioError as error:
        raise ScenarioError(f"{source}: {error}") from None
    except ValidationError as error:
        raise ScenarioError(f"{source}: {describe_errors(error, document)}") from None


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
    for kind in PARTS:
        if name_or_path in part_names(kind):
            raise ScenarioError(
                f'{name_or_path!r} is a {kind}, a part of a scenario: say {kind} = "{name_or_path}" in one; '
                f"scenarios: {', '.join(preset_names())}"
            )
    known = [*preset_names(), *part_names("provider"), *part_names("poller")]
    nearest = difflib.get_close_matches(name_or_path, known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise ScenarioError(
        f"no preset is called {name_or_path!r}; {hint}presets: {', '.join(preset_names())}; "
        "or give the path of a .toml file"
    )
