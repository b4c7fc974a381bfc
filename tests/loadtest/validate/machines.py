"""A receiver whose stages are known, measured as a real one would be: the model as its own subject."""

from __future__ import annotations

import numpy as np

from loadtest.validate.observed import Cost, Observed
from sim.distribution_specs import Constant, Exponential, LogNormal
from sim.reference_receiver import Stages, pass_through

TRUE = Stages(
    send_work_s=180e-6,
    read_work_s=120e-6,
    sender_wake_s=300e-6,
    lateness=Exponential(kind="exponential", mean_s=100e-6),
    request_transit=LogNormal(kind="lognormal", mean_s=150e-6, cv=0.5),
    request_work_s=70e-6,
    wake_s=250e-6,
    cooling_s=500e-6,
    write_work_s=200e-6,
    row_work_s=20e-6,
    persist=LogNormal(kind="lognormal", mean_s=400e-6, cv=0.8),
    answer_work_s=30e-6,
    response_transit=Constant(kind="constant", mean_s=60e-6),
)


def schedule(rate_per_s: float, duration_s: float, seed: int) -> np.ndarray:
    """A Poisson process."""
    rng = np.random.default_rng(seed)
    gaps_s = rng.exponential(1 / rate_per_s, int(1.2 * rate_per_s * duration_s) + 100)
    times_s = np.cumsum(gaps_s)
    return times_s[times_s < duration_s]


def measured(
    stages: Stages, rate_per_s: float, duration_s: float, seed: int, warmup_s: float = 1.0
) -> Observed:
    """What a load of a receiver with these stages tells."""
    intended_s = schedule(rate_per_s, duration_s, seed)
    passage = pass_through(stages, intended_s, seed)
    n = intended_s.size
    statements = passage.groups + passage.settles
    statement_s = statements * stages.write_work_s + n * stages.row_work_s
    return Observed(
        intended_s,
        passage.sent_s,
        passage.received_s,
        passage.visible_s,
        passage.acknowledged_s,
        warmup_s,
        duration_s,
        Cost(
            receiver_s=passage.busy_s / n,
            loop_s=(passage.busy_s - statement_s) / n,
            statement_s=statement_s / n,
            sender_s=passage.sender_busy_s / n,
            groups=passage.groups / n,
            statements=statements / n,
            disk_s=stages.persist.mean_s,
        ),
    )
