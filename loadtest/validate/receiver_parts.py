"""The two parts about the receiver: with a stated service, and as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loadtest.validate.calibration import Calibration, calibrate, with_service
from loadtest.validate.comparison import latency_values
from loadtest.validate.measuring import Bench, Measured
from loadtest.validate.part import Builder, Metrics, Part, Replicate
from sim.errors import InputError, VoidRun
from sim.reference_receiver import Passage, Stages, pass_through

if TYPE_CHECKING:
    from loadtest.schedule import FloatArray
    from sim.scenario import Scenario

LIGHT_SHARES = (0.04, 0.08, 0.16)
"""Of the capacity: the loads from which the receiver is calibrated."""

LIGHT_UTILISATION = 0.05
"""Of the workers: the load from which it is known how late the end of a service is noticed."""

LEAST_EVENTS = 300
OFFERED_PER_S = 6000.0
"""The first burst; one that is served to nine tenths is repeated at three times the rate."""

NATURAL = {
    "latency_p50_s": 0.10,
    "latency_p95_s": 0.15,
    "latency_p99_s": 0.25,
    "receiver_cpu_s_per_1k": 0.10,
}
NATURAL_OTHERS = ("latency_mean_s", "visible_latency_p50_s", "achieved_rate_per_s", "groups_per_event")
NATURAL_LOADS = ((0.3, True), (0.5, True), (0.7, True), (0.85, False))
"""Shares of the measured capacity, and whether the prediction is judged there."""

KNOWN = {"visible_latency_p50_s": 0.05, "visible_latency_p95_s": 0.10, "visible_latency_p99_s": 0.15}
KNOWN_OTHERS = ("visible_latency_mean_s", "receiver_utilisation", "receiver_queue_mean")
KNOWN_LOADS = ((0.3, True), (0.5, True), (0.7, True), (0.85, True))


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        runs: replications of each load. duration_s: seconds of each that count.
        light_s: seconds of each load that is only calibrated from.
        seed: replication r of load l has a seed of its own, made of these.
    """

    runs: int = 3
    duration_s: float = 10.0
    light_s: float = 8.0
    seed: int = 1

    def seed_of(self, *place: int) -> int:
        """The seed of one run."""
        from sim.randomness import replication_seed  # noqa: PLC0415 - compiled code

        seed = self.seed
        for number in place:
            seed = int(replication_seed(seed, number))
        return seed


@dataclass(frozen=True)
class Calibrated:
    """The receiver, calibrated, and the loads that were used for it."""

    calibration: Calibration
    void: tuple[str, ...]
    folders: tuple[str, ...]


def calibrated(bench: Bench, plan: Plan) -> Calibrated:
    """Measure the capacity and the light loads, and fit the model to them.

    Raises:
        VoidRun: the loads do not tell enough.
    """
    offered = OFFERED_PER_S
    burst = bench.burst(offered, plan.seed_of(100))
    while burst.observed.throughput_per_s > 0.9 * offered:
        offered *= 3
        burst = bench.burst(offered, plan.seed_of(100))
    capacity = burst.observed.throughput_per_s
    if not capacity > 0:
        raise VoidRun("the burst was not answered, so the capacity is not known")
    light = [
        bench.run(
            share * capacity, max(plan.light_s, LEAST_EVENTS / (share * capacity)), plan.seed_of(101, number)
        )
        for number, share in enumerate(LIGHT_SHARES)
    ]
    used = [burst, *light]
    return Calibrated(
        calibrate([each.observed for each in light], burst.observed),
        tuple(f"calibration: {reason}" for each in used for reason in each.void),
        tuple(each.folder for each in used),
    )


def natural(bench: Bench, receiver: Calibrated, plan: Plan) -> Part:
    """The receiver as it is, at shares of its measured capacity."""
    calibration = receiver.calibration
    builder = Builder("natural", "the receiver as it is, at shares of its measured capacity", "latency")
    builder.notes["capacity_per_s"] = calibration.saturated_per_s
    for place, (share, judged) in enumerate(NATURAL_LOADS):

        def replicate(number: int, share: float = share, place: int = place) -> Replicate:
            seed = plan.seed_of(200 + place, number)
            measured = bench.run(share * calibration.saturated_per_s, plan.duration_s, seed)
            passage = pass_through(calibration.stages, measured.observed.intended_s, seed)
            return _replicate(passage, measured, "latency", calibration.stages)

        builder.load(
            f"{100 * share:.0f} %", plan.runs, replicate, NATURAL if judged else {},
            NATURAL_OTHERS if judged else (*NATURAL, *NATURAL_OTHERS),
        )  # fmt: skip
    return builder.part()


def known(bench: Bench, receiver: Calibrated, plan: Plan) -> Part:
    """The scenario's own stated service, at utilisations of its workers.

    Raises:
        InputError: the scenario's service takes no time, so there is nothing to wait for.
    """
    scenario = bench.scenario
    service, workers = scenario.receiver.service, scenario.receiver.workers
    if not service.mean_s > 0:
        raise InputError("receiver.service takes no time; a known service needs a mean above 0")
    capacity = workers / service.mean_s
    rate_per_s = LIGHT_UTILISATION * capacity
    light = bench.run(
        rate_per_s, max(plan.light_s, LEAST_EVENTS / rate_per_s), plan.seed_of(300), service=service,
        workers=workers,
    )  # fmt: skip
    service_s = _service_s(scenario, light)
    stages = with_service(receiver.calibration, service, workers, light.observed, service_s)
    builder = Builder("known", "a stated service, at utilisations of the workers", "visible_latency")
    builder.notes |= {"light": light.folder, "timer_mean_s": stages.timer.mean_s, "capacity_per_s": capacity}
    for place, (utilisation, judged) in enumerate(KNOWN_LOADS):

        def replicate(number: int, utilisation: float = utilisation, place: int = place) -> Replicate:
            seed = plan.seed_of(301 + place, number)
            measured = bench.run(
                utilisation * capacity, plan.duration_s, seed, service=service, workers=workers
            )
            passage = pass_through(stages, measured.observed.intended_s, seed)
            return _replicate(passage, measured, "visible_latency", stages)

        builder.load(
            f"{100 * utilisation:.0f} %", plan.runs, replicate, KNOWN if judged else {}, KNOWN_OTHERS
        )
    part = builder.part()
    return part if not light.void else _with_void(part, [f"known, light: {reason}" for reason in light.void])


def _with_void(part: Part, void: Sequence[str]) -> Part:
    return Part(
        part.name, part.title, part.comparisons, part.distances, part.curves, (*void, *part.void), part.notes
    )


def _service_s(scenario: Scenario, measured: Measured) -> FloatArray:
    from sim.distributions import service_times  # noqa: PLC0415 - compiled code

    return service_times(scenario, measured.seed, measured.observed.intended_s.size)


def predicted_metrics(passage: Passage, warmup_s: float, duration_s: float, stages: Stages) -> Metrics:
    """What the model says of a schedule, by the names under which a load reports the same."""
    counts = passage.intended_s >= warmup_s
    metrics = latency_values("latency", (passage.acknowledged_s - passage.intended_s)[counts])
    metrics |= latency_values("visible_latency", (passage.visible_s - passage.intended_s)[counts])
    span_s = max(duration_s, float(passage.acknowledged_s.max())) - warmup_s
    served_s = stages.service.mean_s * float(counts.sum())
    return metrics | {
        "achieved_rate_per_s": float(counts.sum()) / span_s,
        "receiver_cpu_s_per_1k": 1000 * passage.work_per_event_s,
        "groups_per_event": passage.groups_per_event,
        "receiver_utilisation": served_s / (stages.workers * (duration_s - warmup_s)),
        "receiver_queue_mean": passage.queue_mean(warmup_s, duration_s),
    }


def _replicate(passage: Passage, measured: Measured, prefix: str, stages: Stages) -> Replicate:
    load = measured.observed
    counts = load.counts
    end = {"latency": "acknowledged_s", "visible_latency": "visible_s"}[prefix]
    return Replicate(
        predicted_metrics(passage, load.warmup_s, load.duration_s, stages),
        measured.metrics | {"groups_per_event": load.cost.groups},
        (getattr(passage, end) - passage.intended_s)[counts],
        (getattr(load, end) - load.intended_s)[counts],
        load.intended_s[counts],
        measured.void,
        measured.folder,
    )
