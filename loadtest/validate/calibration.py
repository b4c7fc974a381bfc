"""From light loads and one saturated burst to the parameters of the reference receiver's model.

What each measurement is taken for:

- *The burst* (as much as sender and receiver can do): a core that never idles pays no wake-ups, and groups
  are so large that a commit costs an event next to nothing. So its CPU an event is the warm work an event:
  request, row and answer at the receiver, send and read at the sender.
- *The server's own timings* at the busiest light load: CPU a statement.
- *CPU an event at two or more light loads*: what exceeds the warm work is waking cores, the more the longer
  they idled. `wake_s`, `sender_wake_s` and `cooling_s` are chosen so that the model costs what was measured
  (least squares of relative differences; the model runs the very schedule that was measured); and
  `wake_first` so that its medians are theirs.
- *Events that met nobody* at the busiest light load: how long each step took beyond the work the model gives
  it, which is what passes beside the cores: the timer's lateness, kernel and wire, the disk.
- *A light load with a stated service*, where wanted: how late the end of a service is noticed.

Nothing is taken from the loads that are predicted afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from loadtest.schedule import FloatArray
from loadtest.validate.observed import Observed
from sim.distribution_specs import Constant, DistributionSpec, Empirical, Uniform
from sim.distributions import compile_distribution, quantile
from sim.errors import VoidRun
from sim.reference_receiver import Passage, Stages, pass_through

REQUEST_SHARE = 0.7
"""Of the loop's work an event, what is done before it is stored: parsing and verifying, against writing an
answer. Assumed: where in the tandem a job is done moves waiting from one visit to the other, not its sum."""

SEND_SHARE = 0.6
"""The same of the sender's work."""

WARM_SHARE = 0.5
"""Of the CPU of a single light load, what is taken for work that a busy core has to do as well. Assumed;
where there is a burst it is measured."""

QUANTILES = 400
"""How many values stand for a measured distribution."""

_STEPS = (
    ("lateness", "intended_s", "sent_s"),
    ("request_transit", "sent_s", "received_s"),
    ("persist", "received_s", "visible_s"),
    ("response_transit", "visible_s", "acknowledged_s"),
)
"""What passes beside the cores, and between which two instants."""

WAKE_FIRST = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
ENOUGH = 2000
"""Events of a load, of which its cost an event is modelled."""

PASSES = 3
LEAST_ALONE = 50
SEED = 1


@dataclass(frozen=True)
class Calibration:
    """The parameters, and how well the model with them costs what the light loads cost.

    Attributes:
        stages: the parameters.
        rates_per_s: of the light loads. saturated_per_s: of the burst.
        receiver_cpu_s, sender_cpu_s: CPU an event at each light load, (measured, modelled).
        alone: events that met nobody, from which the times beside the cores come.
    """

    stages: Stages
    rates_per_s: tuple[float, ...]
    saturated_per_s: float
    receiver_cpu_s: tuple[tuple[float, float], ...]
    sender_cpu_s: tuple[tuple[float, float], ...]
    alone: int


def calibrate(light: Sequence[Observed], saturated: Observed) -> Calibration:
    """Fit the stages of a receiver without service to loads; see the module.

    Args:
        light: at two rates or more, which leave the cores idle most of the time.
        saturated: more than sender and receiver can do.

    Raises:
        VoidRun: the loads do not tell: a cost is missing, or too few events met nobody.
    """
    light = sorted(light, key=lambda each: each.rate_per_s)
    if len(light) < 2:
        raise VoidRun(f"a calibration needs light loads at two rates or more, got {len(light)}")
    for each in (*light, saturated):
        if not np.isfinite([each.cost.loop_s, each.cost.statement_s, each.cost.sender_s]).all():
            raise VoidRun(
                "a calibration needs the CPU time of receiver and generator, which a load did not tell"
            )
    warm = _warm(light[-1], saturated)
    found = [_with_share(warm, share, light) for share in WAKE_FIRST]
    _, stages, alone = min(found, key=lambda each: each[0])
    modelled = [_modelled(stages, each) for each in light]
    return Calibration(
        stages,
        tuple(each.rate_per_s for each in light),
        saturated.throughput_per_s,
        tuple((each.cost.receiver_s, cost[0]) for each, cost in zip(light, modelled, strict=True)),
        tuple((each.cost.sender_s, cost[1]) for each, cost in zip(light, modelled, strict=True)),
        alone,
    )


def calibrate_from_one(load: Observed) -> Stages:
    """What a single load tells of the stages, if `WARM_SHARE` of its CPU is work and the rest waking cores.

    Raises:
        VoidRun: a cost is missing, or too few events met nobody.
    """
    if not np.isfinite([load.cost.loop_s, load.cost.statement_s, load.cost.sender_s]).all():
        raise VoidRun("a calibration needs the CPU of receiver and generator, which the load did not tell")
    warm = replace(
        load.cost,
        loop_s=WARM_SHARE * load.cost.loop_s,
        statement_s=WARM_SHARE * load.cost.statement_s,
        sender_s=WARM_SHARE * load.cost.sender_s,
    )
    stages = _warm(replace(load, cost=warm), replace(load, cost=warm))
    for _ in range(2):
        stages, _alone = _beside(_woken(stages, [load]), load)
    return stages


def _warm(light: Observed, saturated: Observed) -> Stages:
    write_s = light.cost.statement_s / light.cost.statements
    row_s = max(0.0, saturated.cost.statement_s - write_s * saturated.cost.statements)
    loop_s, sender_s = saturated.cost.loop_s, saturated.cost.sender_s
    return Stages(
        send_work_s=SEND_SHARE * sender_s,
        read_work_s=(1 - SEND_SHARE) * sender_s,
        request_work_s=REQUEST_SHARE * loop_s,
        answer_work_s=(1 - REQUEST_SHARE) * loop_s,
        write_work_s=max(0.0, write_s - row_s),
        row_work_s=row_s,
        persist=Constant(kind="constant", mean_s=max(0.0, light.cost.disk_s)),
    )


def _woken(stages: Stages, light: Sequence[Observed]) -> Stages:
    """With the costs of waking under which the model costs what was measured."""
    from scipy.optimize import least_squares  # noqa: PLC0415 - slow to import

    def with_costs(logarithms: FloatArray) -> Stages:
        wake_s, sender_wake_s, cooling_s = np.exp(logarithms)
        return stages.model_copy(
            update={"wake_s": wake_s, "sender_wake_s": sender_wake_s, "cooling_s": cooling_s}
        )

    limits = np.log([1e-7, 1e-7, 1e-5]), np.log([2e-3, 2e-3, 5e-3])
    start = np.log([stages.wake_s or 1e-4, stages.sender_wake_s or 1e-4, stages.cooling_s or 1e-3])

    # The cost is a sum over a simulation's happenings: smooth at large, rough at small.
    def differences(logarithms: FloatArray) -> FloatArray:
        return _differences(with_costs(logarithms), light)

    fitted = least_squares(
        differences,
        np.clip(start, limits[0] + 0.1, limits[1] - 0.1),
        bounds=limits,
        diff_step=[0.05],
        max_nfev=15,
    )
    return with_costs(fitted.x)


def _with_share(stages: Stages, share: float, light: Sequence[Observed]) -> tuple[float, Stages, int]:
    """The best stages with so much of waking before the job, how far off they are, and who met nobody.

    How far: the squares of relative differences of the light loads' medians and costs.
    """
    stages = stages.model_copy(update={"wake_first": share})
    for _ in range(2):  # the second time with the times beside the cores known
        stages = _woken(stages, light)
        stages, alone = _beside(stages, light[-1])
    off = float(np.square(_differences(stages, light)).sum())
    for each in light:
        passage = pass_through(stages, each.intended_s, SEED)
        ours, theirs = (
            float(np.nanmedian((run.acknowledged_s - run.intended_s)[each.counts])) for run in (passage, each)
        )
        off += (ours / theirs - 1) ** 2
    return off, stages, alone


def _differences(stages: Stages, light: Sequence[Observed]) -> FloatArray:
    """Relative differences of the costs of receiver and sender at each load."""
    found = []
    for each in light:
        receiver_s, sender_s = _modelled(stages, each)
        found += [receiver_s / each.cost.receiver_s - 1, sender_s / each.cost.sender_s - 1]
    return np.array(found)


def _modelled(stages: Stages, load: Observed) -> tuple[float, float]:
    """CPU an event of receiver and sender."""
    passage = pass_through(stages, load.intended_s[:ENOUGH], SEED)
    return passage.work_per_event_s, passage.sender_busy_s / passage.intended_s.size


def met_nobody(load: Observed | Passage) -> np.ndarray:
    """Which events were due when all before them were answered.

    Whether others came while they were on their way does not matter: to leave out those would leave out the
    slow ones.
    """
    answered_s = np.maximum.accumulate(np.nan_to_num(load.acknowledged_s, nan=np.inf))
    alone = ~np.isnan(load.acknowledged_s)
    alone[1:] &= load.intended_s[1:] > answered_s[:-1]
    return alone


def _beside(stages: Stages, load: Observed) -> tuple[Stages, int]:
    """With what passed beside the cores, taken from the events of a load that met nobody.

    What the model adds to its own such times is work, and what hides behind them: a core works off what
    waking left behind while the disk is busy. So it is looked at with the times known so far.
    """
    alone = met_nobody(load) & load.counts & ~np.isnan(load.received_s + load.visible_s)
    if alone.sum() < LEAST_ALONE:
        raise VoidRun(
            f"only {alone.sum()} events of the light load met nobody; {LEAST_ALONE} are needed: lower it"
        )
    for _ in range(PASSES):
        passage = pass_through(stages, load.intended_s, SEED)
        quiet = met_nobody(passage)
        found: dict[str, DistributionSpec] = {}
        for name, begin, end in _STEPS:
            took_s = (getattr(load, end) - getattr(load, begin))[alone]
            modelled_s = (getattr(passage, end) - getattr(passage, begin))[quiet]
            work_s = float(np.median(modelled_s)) - _median_s(getattr(stages, name))
            found[name] = distribution_of(took_s - work_s)
        stages = stages.model_copy(update=found)
    return stages, int(alone.sum())


def _median_s(distribution: DistributionSpec) -> float:
    return float(quantile(compile_distribution(distribution), 0.5))


def distribution_of(times_s: FloatArray) -> Empirical:
    """Measured times, none below 0, as a distribution of `QUANTILES` values at most."""
    ordered = np.sort(np.maximum(times_s, 0.0))
    if ordered.size > QUANTILES:
        levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
        ordered = np.quantile(ordered, levels)
        # The mean is kept, or a long tail would lose it.
        short_s = float(np.maximum(times_s, 0.0).mean() - ordered.mean())
        ordered[-1] = max(ordered[-1] + QUANTILES * short_s, ordered[-2])
    return Empirical(kind="empirical", values_s=tuple(ordered.tolist()))


def with_service(
    calibration: Calibration, service: DistributionSpec, workers: int, light: Observed, service_s: FloatArray
) -> Stages:
    """The stages with a stated service, whose end is noticed as late as at a light load of it.

    Args:
        calibration: of the receiver without service.
        service: as stated.
        workers: how many.
        light: a load so light that next to nobody waits for a worker.
        service_s: the service that each of its events was given.
    """
    stages = calibration.stages.model_copy(update={"service": service, "workers": workers})
    stored = pass_through(calibration.stages, light.intended_s, SEED)
    seen = light.counts & ~np.isnan(light.visible_s)
    beyond_s = np.median((light.visible_s - light.intended_s - service_s[: light.intended_s.size])[seen])
    before_s = np.median((stored.visible_s - light.intended_s)[seen])
    late_s = max(0.0, float(beyond_s - before_s))
    return stages.model_copy(update={"timer": Uniform(kind="uniform", low_s=0.0, high_s=2 * late_s)})
