"""Closed forms the models are held against, each with its conditions and its source.

The functions take numbers and know nothing of scenarios. `predict` takes a scenario, checks each
formula's conditions against it, and gives the metrics that theory promises; where none applies it
raises `sim.errors.ConditionsViolated`, which names every condition that does not hold.
"""

from sim.theory.conditions import Condition, Formula, Prediction
from sim.theory.cycles import (
    Cycle,
    batch_nonempty_mean,
    constant_cycle,
    empty_ratio_periodic,
    exponential_cycle,
    fixed_rate_latency_mean_s,
    fixed_rate_latency_quantile_s,
    served_batch_latency_mean_s,
)
from sim.theory.prediction import FORMULAS, predict
from sim.theory.queues import MMc
from sim.theory.retries import AtLeastOnce, outage_latency_mean_s, outage_lost_ratio, retry_offsets_s

__all__ = [
    "FORMULAS",
    "AtLeastOnce",
    "Condition",
    "Cycle",
    "Formula",
    "MMc",
    "Prediction",
    "batch_nonempty_mean",
    "constant_cycle",
    "empty_ratio_periodic",
    "exponential_cycle",
    "fixed_rate_latency_mean_s",
    "fixed_rate_latency_quantile_s",
    "outage_latency_mean_s",
    "outage_lost_ratio",
    "predict",
    "retry_offsets_s",
    "served_batch_latency_mean_s",
]
