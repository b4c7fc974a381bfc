"""Closed forms the models are held against, each with its conditions and its source.

The functions take numbers and know nothing of scenarios. `predict` takes a scenario, checks each
formula's conditions against it, and gives the metrics that theory promises; where none applies it
raises `sim.errors.ConditionsViolated`, which names every condition that does not hold.
"""

from sim.theory.age import (
    blocking_aoi_mean_s,
    blocking_peak_aoi_mean_s,
    delayed_aoi_mean_s,
    fcfs_poisson_aoi_mean_s,
    in_order_peak_aoi_mean_s,
    periodic_aoi_mean_s,
    preemptive_aoi_mean_s,
    preemptive_peak_aoi_mean_s,
    zero_wait_aoi_mean_s,
)
from sim.theory.break_even import best_interval_s, break_even_rate_per_s
from sim.theory.conditions import Condition, Formula, Prediction
from sim.theory.cycles import (
    Cycle,
    batch_nonempty_mean,
    constant_cycle,
    delayed_cycle,
    empty_ratio_periodic,
    exponential_cycle,
    fixed_rate_latency_mean_s,
    fixed_rate_latency_quantile_s,
    jittered_cycle,
    served_batch_latency_mean_s,
)
from sim.theory.finite_queues import MMcK
from sim.theory.freshness import age_mean_s, freshness, pushed_age_mean_s, pushed_freshness
from sim.theory.herds import (
    burst_end_s,
    doubling_herd_per_s,
    drain_s,
    fixed_gap_herd_per_s,
    retry_storm_is_possible,
)
from sim.theory.long_polling import LongPoll
from sim.theory.prediction import FORMULAS, predict
from sim.theory.queues import MDc, MMc
from sim.theory.reconciliation import Reconciled
from sim.theory.retries import AtLeastOnce, outage_latency_mean_s, outage_lost_ratio, retry_offsets_s
from sim.theory.single_server import DM1, MG1

__all__ = [
    "DM1",
    "FORMULAS",
    "MG1",
    "AtLeastOnce",
    "Condition",
    "Cycle",
    "Formula",
    "LongPoll",
    "MDc",
    "MMc",
    "MMcK",
    "Prediction",
    "Reconciled",
    "age_mean_s",
    "batch_nonempty_mean",
    "best_interval_s",
    "blocking_aoi_mean_s",
    "blocking_peak_aoi_mean_s",
    "break_even_rate_per_s",
    "burst_end_s",
    "constant_cycle",
    "delayed_aoi_mean_s",
    "delayed_cycle",
    "doubling_herd_per_s",
    "drain_s",
    "empty_ratio_periodic",
    "exponential_cycle",
    "fcfs_poisson_aoi_mean_s",
    "fixed_gap_herd_per_s",
    "fixed_rate_latency_mean_s",
    "fixed_rate_latency_quantile_s",
    "freshness",
    "in_order_peak_aoi_mean_s",
    "jittered_cycle",
    "outage_latency_mean_s",
    "outage_lost_ratio",
    "periodic_aoi_mean_s",
    "predict",
    "preemptive_aoi_mean_s",
    "preemptive_peak_aoi_mean_s",
    "pushed_age_mean_s",
    "pushed_freshness",
    "retry_offsets_s",
    "retry_storm_is_possible",
    "served_batch_latency_mean_s",
    "zero_wait_aoi_mean_s",
]
