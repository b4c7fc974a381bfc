"""Protects the long-polling model by its renewal theory, which knows nothing of the model.

A cycle is a gap g = 2d, in which the answer and the next request are on their way, and a hold that ends with
the first event or after H. With Poisson events at rate λ: E[C] = g + e^(−λg)(1 − e^(−λH))/λ; a cycle is empty
with probability e^(−λ(g+H)); and the mean latency is d + g²/(2E[C]), for what falls into a gap waits for its
end. The checks are those of `test_model_against_theory`: tolerances come from confidence intervals.
"""

from __future__ import annotations

import math

import pytest

from sim.engine import Outcome, simulate
from sim.scenario import scenario_from
from tests.sim.test_model_against_theory import INSTANT, SEED, agree

D_S, HOLD_S = 0.05, 30.0
GAP_S = 2 * D_S


def cycle_s(rate_per_s: float) -> float:
    return GAP_S + math.exp(-rate_per_s * GAP_S) * (1 - math.exp(-rate_per_s * HOLD_S)) / rate_per_s


def long_polled(rate_per_s: float, duration_s: float, replications: int) -> Outcome:
    scenario = scenario_from(
        INSTANT
        | {
            "name": "held",
            "workload": {"kind": "poisson", "rate_per_s": rate_per_s},
            "network": {"one_way": {"kind": "constant", "mean_s": D_S}},
            "polling": {"page_size": 1000},
            "receiver": {"workers": 1000, "service": {"kind": "constant", "mean_s": 0.0}},
            "long_polling": {"hold_s": HOLD_S, "gap_s": 0.0, "timeout_s": 60.0},
            "run": {"duration_s": duration_s + 100.0, "warmup_s": 100.0, "drain_s": 100.0},
        }
    )
    return simulate(scenario, ["long_polling"], seed=SEED, replications=replications)


@pytest.mark.parametrize(
    ("rate_per_s", "duration_s", "latency_mean_s", "resolution", "requests_per_s", "empty_ratio"),
    [(5.0, 2_000.0, 0.07259, 0.005, 4.5186, None), (0.02, 100_000.0, 0.050221, 0.002, 0.044220, 0.54772)],
)
def test_the_model_agrees_with_the_cycle(
    rate_per_s: float,
    duration_s: float,
    latency_mean_s: float,
    resolution: float,
    requests_per_s: float,
    empty_ratio: float | None,
) -> None:
    mean_s = D_S + GAP_S**2 / (2 * cycle_s(rate_per_s))
    assert latency_mean_s == pytest.approx(mean_s, rel=1e-4)
    assert requests_per_s == pytest.approx(1 / cycle_s(rate_per_s), rel=1e-4)

    outcome = long_polled(rate_per_s, duration_s, 30)
    metrics = outcome.metrics["long_polling"]
    agree(metrics["latency_mean_s"], mean_s, resolution)
    requests = [c.requests / duration_s for c in outcome.counters["long_polling"] if c.requests is not None]
    agree(requests, 1 / cycle_s(rate_per_s), 0.02)
    assert max(metrics["latency_max_s"]) <= 3 * D_S + 1e-6  # two transits late at most, and one to come
    if empty_ratio is not None:
        assert empty_ratio == pytest.approx(math.exp(-rate_per_s * (GAP_S + HOLD_S)), abs=1e-5)
        agree(metrics["empty_ratio"], math.exp(-rate_per_s * (GAP_S + HOLD_S)), 0.02)
