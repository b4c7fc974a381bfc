"""Intended send times, decided before the first request leaves: the open loop.

A closed-loop client waits for a slow answer before it sends again, and so under-samples exactly
the slow periods ("coordinated omission": G. Tene, "How NOT to Measure Latency", 2013). Here every
request has an *intended* time computed from the scenario's event list alone; latency runs from it
(the idea of wrk2, https://github.com/giltene/wrk2). Times are int64 µs since the run's origin,
sorted. Nothing in this module reads a clock.

A `Plan` is what the Locust process is told to do: `plan.json` and arrays in a folder whose path
stands in the environment variable `HOOKBENCH_PLAN`.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sim.errors import InputError
from sim.shape import parse_shape

if TYPE_CHECKING:
    from sim.scenario import Scenario

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

PLAN_VARIABLE = "HOOKBENCH_PLAN"
PLAN_SCHEMA = 2
DEFAULT_POOL_SIZE = 100
DEFAULT_DURATION_S = 30.0
MAX_REQUESTS = 5_000_000
"""How many requests one run may schedule: each takes some 100 bytes in the harness and in Locust.

Every request is kept raw to the end, for ledger, records and exact quantiles need it: there is no mode that
keeps histograms only.
"""

_A_CENTURY_S = 3.2e9


def require_seed(seed: int) -> None:
    """Check that a seed is one that `hookbench simulate` takes too.

    Raises:
        InputError: it is outside [0, 2^63).
    """
    if not 0 <= seed < 2**63:
        raise InputError(f"--seed must be in [0, 2^63), got {seed}")


def require_schedulable(expected: float, what: str) -> None:
    """Check, before it is drawn, that a schedule is not too long.

    Raises:
        InputError: about `expected` requests are more than `MAX_REQUESTS`.
    """
    if expected > MAX_REQUESTS:
        raise InputError(
            f"{what} asks for {expected:.3g} requests; at most {MAX_REQUESTS:,} are scheduled in a run"
        )


def intended_us(times_s: FloatArray) -> IntArray:
    """Times in seconds as int64 µs, rounded to the nearest; must be sorted, finite and not negative.

    Raises:
        InputError: names the first time that is out of order, negative or not finite.
    """
    times_s = np.asarray(times_s, dtype=np.float64)
    if times_s.size == 0:
        return np.empty(0, dtype=np.int64)
    bad = ~np.isfinite(times_s) | (times_s < 0)
    bad[1:] |= np.diff(times_s) < 0
    if bad.any():
        first = int(np.argmax(bad))
        raise InputError(
            f"send time {first} is {times_s[first]} s; times must be finite, >= 0 and in ascending order"
        )
    rounded: IntArray = np.rint(times_s * 1e6).astype(np.int64)
    return rounded


def scheduled_scenario(
    scenario: Scenario, rate_per_s: float | None = None, duration_s: float | None = None
) -> Scenario:
    """The scenario as it will be run in real time.

    `rate_per_s` replaces the workload by a Poisson process at that rate (same payload);
    `duration_s` replaces the run's length. A simulated day is not loaded for a day: without
    `duration_s` at most `DEFAULT_DURATION_S` seconds are run, or what the workload's shape itself lasts.

    Raises:
        InputError: a rate or duration that is not above 0, or more than `MAX_REQUESTS` events.
    """
    for name, value in (("rate", rate_per_s), ("duration", duration_s)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise InputError(f"--{name} must be a number above 0, got {value}")
    seconds = _usual_duration_s(scenario) if duration_s is None else float(duration_s)
    changes: dict[str, Any] = {"run.duration_s": seconds}
    if scenario.run.warmup_s >= seconds:
        changes["run.warmup_s"] = 0.0
    if rate_per_s is not None:
        changes["workload"] = {
            "kind": "poisson",
            "rate_per_s": float(rate_per_s),
            "payload_bytes": scenario.workload.payload_bytes,
        }
    scheduled = scenario.with_values(**changes)
    match scheduled.workload.kind:
        case "trace":
            pass  # its events are counted once they are read
        case "shaped":
            require_schedulable(scheduled.workload.expected_events(seconds), scheduled.workload.shape)
        case _:
            require_schedulable(scheduled.workload.rate_per_s * seconds, "rate × duration")
    return scheduled


def _usual_duration_s(scenario: Scenario) -> float:
    own_s = parse_shape(scenario.workload.shape).duration_s if scenario.workload.kind == "shaped" else None
    return min(scenario.run.duration_s, DEFAULT_DURATION_S) if own_s is None else own_s


def with_shape(scenario: Scenario, shape: str | None, rate_per_s: float | None = None) -> Scenario:
    """The scenario with a load shape in place of its workload (same payload); itself without one.

    Raises:
        InputError: it is no shape, see `sim.shape`; or a rate was given as well.
    """
    if shape is None:
        return scenario
    if rate_per_s is not None:
        raise InputError(f"--rate and --shape exclude each other; a shape has its own rate: {shape!r}")
    workload = scenario.workload
    shaped = {"kind": "shaped", "shape": parse_shape(shape).text}
    return scenario.with_values(
        workload={**shaped, "payload_bytes": workload.payload_bytes, "content": workload.content}
    )


def shape_of(scenario: Scenario) -> str:
    """How the scenario's events come, in a few words for people."""
    workload = scenario.workload
    match workload.kind:
        case "shaped":
            return workload.shape
        case "trace":
            return f"trace {Path(workload.path).name}"
        case _:
            return f"{workload.kind} {workload.rate_per_s:g}/s"


def event_schedule(scenario: Scenario, seed: int) -> IntArray:
    """When each of the scenario's events is to be sent, in µs since the origin.

    Raises:
        InputError: no event falls within the run's duration, more than `MAX_REQUESTS` do, or the seed is
            outside its range.
    """
    require_seed(seed)
    times_s = event_times_s(scenario, seed)
    require_schedulable(times_s.size, scenario.name)
    if times_s.size == 0:
        raise InputError(
            f"{scenario.name}: no event within {scenario.run.duration_s:g} s; raise --rate or --duration"
        )
    return intended_us(times_s)


def event_times_s(scenario: Scenario, seed: int) -> FloatArray:
    """The scenario's event list, in seconds; of a trace, what falls within the run's duration."""
    from sim.workload import event_times  # noqa: PLC0415 - compiled code, only when a schedule is drawn

    if scenario.workload.kind != "trace":
        return event_times(scenario, seed)
    whole = event_times(scenario.with_values(**{"run.duration_s": _A_CENTURY_S}), seed)
    return whole[whole < scenario.run.duration_s]


def _nothing() -> IntArray:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Plan:
    """What one Locust process is to send.

    Arrays are by request, or by event where said; an empty one stands for what is usual.

    Attributes:
        run_id: distinguishes this run's event ids from any other's.
        arm: the Locust file's name, e.g. webhook or publisher.
        path: the request path at the host.
        offsets_us: intended times since the origin, one a request.
        payload_bytes: the size of a payload, where `sizes` does not say.
        timeout_s: a request without an answer for so long has failed.
        pool_size: greenlets, hence requests in flight at most; a full pool shows as lag.
        lead_in_s: quiet seconds between being ready and the origin.
        source: senders: how requests are signed and what they hold, see `loadtest.senders`.
        public_url: senders: the receiver's URL as its provider knows it, for those who sign it.
        event: which event each request brings; empty: the request's own number.
        kind: what each request is, see `loadtest.traffic`; empty: all genuine.
        sizes: each event's payload in bytes; empty: `payload_bytes`.
        retries_us: how long after each failed attempt of an event it is sent again, shape (events,
            attempts - 1), -1 for never.
        due: pollers: how many events each poll is to find.
        cursors: pollers: `cursors[k]` is the cursor after which k events follow.
        etag: pollers: the entity tag of the page with nothing on it; empty: do not ask conditionally.
        page_size: pollers.
        clients: held connections: how many there are.
        wait_s: long pollers: how long the provider may hold a request.
    """

    run_id: str
    arm: str
    path: str
    offsets_us: IntArray
    payload_bytes: int = 1000
    timeout_s: float = 10.0
    pool_size: int = DEFAULT_POOL_SIZE
    lead_in_s: float = 0.25
    source: str = "standard"
    public_url: str = ""
    event: IntArray = field(default_factory=_nothing)
    kind: IntArray = field(default_factory=_nothing)
    sizes: IntArray = field(default_factory=_nothing)
    retries_us: IntArray = field(default_factory=_nothing)
    due: IntArray = field(default_factory=_nothing)
    cursors: tuple[str, ...] = ()
    etag: str = ""
    page_size: int = 100
    clients: int = 0
    wait_s: float = 0.0

    def write(self, folder: Path) -> None:
        """Write `plan.json` and an `.npy` for each array into an existing folder."""
        document: dict[str, Any] = {"schema_version": PLAN_SCHEMA}
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, np.ndarray):
                np.save(folder / f"{each.name}.npy", value)
            else:
                document[each.name] = value
        (folder / "plan.json").write_text(json.dumps(document, indent=1), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Read what `write` wrote.

        Raises:
            InputError: the folder holds no plan, or one of another schema.
        """
        try:
            document = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
            arrays = {path.stem: np.load(path) for path in folder.glob("*.npy")}
        except (OSError, ValueError) as error:
            raise InputError(f"{PLAN_VARIABLE}={folder}: no readable plan there: {error}") from None
        schema = document.pop("schema_version", None)
        if schema != PLAN_SCHEMA:
            raise InputError(f"{folder}: plan of schema {schema}, this version reads {PLAN_SCHEMA}")
        document["cursors"] = tuple(document["cursors"])
        return cls(**document, **arrays)

    def events_us(self) -> IntArray:
        """When each event is created, µs since the origin: when its genuine request is due."""
        if self.event.size == 0:
            return self.offsets_us
        created = np.zeros(int(self.event.max(initial=-1)) + 1, dtype=np.int64)
        created[self.event] = self.offsets_us  # a forgery creates its own
        genuine = self.kind == 0
        created[self.event[genuine]] = self.offsets_us[genuine]
        return created

    def patience_s(self) -> float:
        """How long after the last dispatch an answer may come, with every retry that is to be made."""
        delays_us = np.maximum(self.retries_us, 0)
        if delays_us.size == 0:
            return self.timeout_s
        most = int((self.retries_us >= 0).sum(axis=1).max())
        return (1 + most) * self.timeout_s + float(delays_us.sum(axis=1).max()) / 1e6

    def to_bytes(self) -> bytes:
        """The files that `write` writes, in a zip archive."""
        with tempfile.TemporaryDirectory(prefix="hookbench-plan-") as name:
            self.write(Path(name))
            archive = io.BytesIO()
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as files:
                for path in sorted(Path(name).iterdir()):
                    files.write(path, path.name)
        return archive.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Plan:
        """What `to_bytes` gave.

        Raises:
            InputError: it is of another schema.
        """
        with tempfile.TemporaryDirectory(prefix="hookbench-plan-") as name:
            with zipfile.ZipFile(io.BytesIO(content)) as files:
                files.extractall(name)
            return cls.read(Path(name))

    def share(self, worker: int, workers: int) -> IntArray:
        """The request indices that worker number `worker` of `workers` sends: every workers-th one."""
        return np.arange(worker, self.offsets_us.size, workers, dtype=np.int64)
