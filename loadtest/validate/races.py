"""The parts that are raced end to end: polling, long polling, and recovery from an outage.

Here the model is `sim.simulate`, as everybody uses it, on the events of the race: only what the way through
loopback and the servers takes is calibrated, from a light race at another interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loadtest.runner import Progress, race
from loadtest.runner.faults import OUTAGES, faults_of
from loadtest.schedule import DEFAULT_POOL_SIZE, FloatArray
from loadtest.validate.measuring import steadily
from loadtest.validate.part import Builder, Metrics, Part, Replicate
from loadtest.validate.receiver_parts import Plan
from sim.engine import Outcome, simulate
from sim.metrics import summarise

if TYPE_CHECKING:
    from loadtest.runner import ArmRun, LoadResult
    from sim.scenario import Scenario

EVENTS_PER_INTERVAL = 1.0
"""λT, so that both empty and full polls are frequent."""

POLLING = {"latency_mean_s": 0.03, "latency_p50_s": 0.03, "latency_p95_s": 0.03, "empty_ratio": 0.03}
POLLING_OTHERS = ("latency_p99_s", "requests_per_event", "batch_mean")
LIGHT_INTERVAL_S = 0.25
INTERVALS_S = (0.5, 1.0)
INTERVALS = 30
"""How many a race lasts at least."""


LONG_POLLING = {"requests_per_event": 0.03}
LONG_POLLING_OTHERS = ("latency_mean_s", "latency_p50_s", "latency_p95_s", "latency_p99_s", "empty_ratio")
LIGHT_RATE_PER_S = 5.0
RATES_PER_S = (20.0, 50.0)

RECOVERY = {"recovery_time_s": 0.15}
RECOVERY_OTHERS = (
    "latency_p50_s",
    "latency_p95_s",
    "attempts_per_event",
    "duplicates_per_event",
    "lost_ratio",
)
OUTAGE_START_S, OUTAGE_S = 4.0, 3.0
RECOVERY_UTILISATION = 0.6


@dataclass
class Track:
    """Races of one scenario, each its own run folder within the validation's."""

    out: Path
    pool_size: int = DEFAULT_POOL_SIZE
    progress: Progress | None = None
    folders: list[str] = field(default_factory=list)

    def run(self, scenario: Scenario, arm: str, seed: int, faults: Sequence[str] = ()) -> LoadResult:
        """Race one arm once."""
        result, _attempts = steadily(
            lambda: race(
                scenario,
                (arm,),
                seed=seed,
                duration_s=scenario.run.duration_s,
                pool_size=self.pool_size,
                out=self.out,
                command=f"hookbench validate, race {len(self.folders) + 1}",
                figures=False,
                disturbance=faults_of(faults, scenario),
                progress=self.progress,
            )
        )
        self.folders.append(result.path.name)
        return result


def polling(track: Track, scenario: Scenario, plan: Plan) -> Part:
    """P1 to P4 by measurement: latency over the interval, empty polls, batches."""

    def at(interval_s: float) -> Scenario:
        return _quiet(scenario, max(plan.duration_s, INTERVALS * interval_s)).with_values(
            **{
                "workload": _poisson(scenario, EVENTS_PER_INTERVAL / interval_s),
                "polling.interval_s": interval_s,
                "polling.jitter_s": 0.0,
                "polling.schedule": "fixed_rate",
            }
        )

    way, light = _way(track, at(LIGHT_INTERVAL_S), "polling", plan.seed_of(400))
    builder = Builder("polling", "polling at intervals that were not calibrated at", "latency")
    builder.notes |= {"way": asdict(way), "light": light}
    for place, interval_s in enumerate(INTERVALS_S):

        def replicate(number: int, interval_s: float = interval_s, place: int = place) -> Replicate:
            return _raced(track, at(interval_s), "polling", plan.seed_of(401 + place, number), way)

        builder.load(f"every {interval_s:g} s", plan.runs, replicate, POLLING, POLLING_OTHERS)
    return builder.part()


def long_polling(track: Track, scenario: Scenario, plan: Plan) -> Part:
    """L1 by measurement: requests an event, and a latency of about one transit."""

    def at(rate_per_s: float) -> Scenario:
        return _quiet(scenario, plan.duration_s).with_values(**{"workload": _poisson(scenario, rate_per_s)})

    way, light = _way(track, at(LIGHT_RATE_PER_S), "long_polling", plan.seed_of(500))
    builder = Builder("long_polling", "long polling at rates that were not calibrated at", "latency")
    builder.notes |= {"way": asdict(way), "light": light}
    for place, rate_per_s in enumerate(RATES_PER_S):

        def replicate(number: int, rate_per_s: float = rate_per_s, place: int = place) -> Replicate:
            return _raced(track, at(rate_per_s), "long_polling", plan.seed_of(501 + place, number), way)

        builder.load(f"{rate_per_s:g}/s", plan.runs, replicate, LONG_POLLING, LONG_POLLING_OTHERS)
    return builder.part()


def recovery(track: Track, scenario: Scenario, plan: Plan) -> Part:
    """How long the backlog of an outage lasts: a receiver that is restarted, pushed to and polling."""
    workers, service_s = scenario.receiver.workers, scenario.receiver.service.mean_s
    rate_per_s = min(100.0, RECOVERY_UTILISATION * workers / service_s) if service_s else 100.0
    slowed = 1.0 if not service_s else RECOVERY_UTILISATION * workers / (rate_per_s * service_s)
    outage = {"start_s": OUTAGE_START_S, "duration_s": OUTAGE_S, "kind": "refuse"}
    service = scenario.receiver.service.model_dump(mode="python")
    if "mean_s" in service:
        service["mean_s"] *= slowed
    disturbed = scenario.with_values(
        **{
            "workload": _poisson(scenario, rate_per_s),
            "subscribers.count": 1,
            "receiver.outages": [outage],
            "receiver.random_outages": None,
            "receiver.service": service,
            "receiver.queue_limit": 1_000_000,
            "receiver.acknowledge": "on_receipt",
            "polling.interval_s": 0.5,
            "polling.page_size": 1000,
            "run.warmup_s": 1.0,
            "run.duration_s": max(20.0, plan.duration_s),
            "run.drain_s": 10.0,
        }
    )
    builder = Builder("recovery", "an outage of the receiver, and the backlog after it", "latency")
    for place, arm in enumerate(("webhook", "polling")):

        def replicate(number: int, arm: str = arm, place: int = place) -> Replicate:
            seed = plan.seed_of(600 + place, number)
            return _raced(track, disturbed, arm, seed, Way(0.0, scenario.network.one_way.mean_s), (OUTAGES,))

        builder.load(arm, plan.runs, replicate, RECOVERY, RECOVERY_OTHERS)
    return builder.part()


def _poisson(scenario: Scenario, rate_per_s: float) -> dict[str, Any]:
    payload_bytes = scenario.workload.payload_bytes
    return {"kind": "poisson", "rate_per_s": rate_per_s, "payload_bytes": payload_bytes}


def _quiet(scenario: Scenario, duration_s: float) -> Scenario:
    """Nothing breaks, one subscriber, and no service to wait for."""
    return scenario.with_values(
        **{
            "subscribers.count": 1,
            "receiver.outages": [],
            "receiver.random_outages": None,
            "receiver.service": {"kind": "constant", "mean_s": 0.0},
            "provider_api.outages": [],
            "provider_api.random_outages": None,
            "run.warmup_s": 1.0,
            "run.duration_s": 1.0 + duration_s,
            "run.drain_s": 0.0,
        }
    )


@dataclass(frozen=True)
class Way:
    """What loopback and the servers take.

    Attributes:
        up_s: from an event's time until the provider shows it: its publication, whole.
        down_s: from there until it is visible, beyond what the model waits.
    """

    up_s: float
    down_s: float


def _way(track: Track, scenario: Scenario, arm: str, seed: int) -> tuple[Way, str]:
    """The way, as the medians of a light race; and that race's folder."""
    result = track.run(scenario, arm, seed)
    (run,) = result.runs
    up_s = float(np.median(run.samples.corrected_us)) / 1e6
    predicted = simulate(_over(result.scenario, Way(up_s, 0.0)), (arm,), seed=seed)
    measured_s, predicted_s = _latency_s(run), _simulated_s(predicted, arm)
    both = np.isfinite(measured_s) & np.isfinite(predicted_s)
    return Way(up_s, max(0.0, float(np.median(measured_s[both] - predicted_s[both])))), result.path.name


def _over(scenario: Scenario, way: Way) -> Scenario:
    """The same over that way, with an API that takes nothing beside it."""
    return scenario.with_values(
        **{
            "network.one_way": {"kind": "constant", "mean_s": way.down_s},
            "provider_api.service": {"kind": "constant", "mean_s": 0.0},
            "provider_api.feed_lag_s": scenario.provider_api.feed_lag_s + way.up_s,
        }
    )


def _raced(
    track: Track, scenario: Scenario, arm: str, seed: int, way: Way, faults: Sequence[str] = ()
) -> Replicate:
    result = track.run(scenario, arm, seed, faults)
    (run,) = result.runs
    modelled = _over(result.scenario, way)
    if faults:
        modelled = _as_enacted(modelled, run.notes["faults"])
    predicted = simulate(modelled, (arm,), seed=seed)
    measured = run.metrics
    if faults:
        # Held against the outage as it was, on both sides.
        measured = measured | _summarised(modelled, run)
    metrics = {name: values[0] for name, values in predicted.metrics[arm].items()}
    return Replicate(
        _with_batches(metrics),
        _with_batches(measured),
        _simulated_s(predicted, arm),
        _latency_s(run),
        _created_s(run),
        run.void,
        result.path.name,
    )


def _as_enacted(scenario: Scenario, faults: Sequence[Mapping[str, Any]]) -> Scenario:
    """The scenario with its outages when they really were: a process takes its time to end and to start."""
    outages = [
        {"start_s": each["begun_s"], "duration_s": each["ended_s"] - each["begun_s"], "kind": "refuse"}
        for each in faults
    ]
    return scenario.with_values(**{"receiver.outages": outages})


def _summarised(scenario: Scenario, run: ArmRun) -> Metrics:
    from sim.records import Counters  # noqa: PLC0415 - with what else reads records

    assert run.records is not None
    return summarise(run.records, Counters.unknown(), scenario)


def _with_batches(metrics: Mapping[str, float]) -> Metrics:
    """With the events of a poll that found any: 1 / (requests an event that were not empty)."""
    found = dict(metrics)
    if {"requests_per_event", "empty_ratio"} <= found.keys():
        full = found["requests_per_event"] * (1 - found["empty_ratio"])
        found["batch_mean"] = 1 / full if full else float("nan")
    return found


def _windowed(run: ArmRun) -> Any:
    assert run.records is not None
    return run.records[run.records["created"] >= 1.0]


def _created_s(run: ArmRun) -> FloatArray:
    created: FloatArray = _windowed(run)["created"].to_numpy(dtype=np.float64)
    return created


def _latency_s(run: ArmRun) -> FloatArray:
    rows = _windowed(run)
    latency: FloatArray = (rows["visible"] - rows["created"]).to_numpy(dtype=np.float64)
    return latency


def _simulated_s(outcome: Outcome, arm: str) -> FloatArray:
    rows = outcome.records
    latency: FloatArray = (rows["visible"] - rows["created"]).to_numpy(dtype=np.float64)
    return latency
