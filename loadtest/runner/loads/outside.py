"""What every load measures from outside the server: requests sent, answers come, and how late."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loadtest.recorder import Samples
from loadtest.runner.figures_of_merit import generator_metrics, judged_sample_metrics, latency_metrics
from loadtest.runner.generation import Generation
from loadtest.runner.processes import Child
from loadtest.runner.session import Session, Settings, WindowCounts, disturb
from loadtest.schedule import Plan

if TYPE_CHECKING:
    from sim.scenario import Scenario


def window_start_us(origin_us: int, scenario: Scenario) -> int:
    """When the warm-up ends (µs)."""
    return origin_us + round(scenario.run.warmup_s * 1e6)


def seen_from_outside(
    samples: Samples, origin_us: int, scenario: Scenario
) -> tuple[dict[str, float], dict[str, float]]:
    """The metrics of the requests due after the warm-up, and the latencies that thresholds judge.

    Latencies are those of honest requests; forged ones have their own, of being refused.
    """
    start_us = window_start_us(origin_us, scenario)
    windowed = samples.due_from(start_us)
    honest = windowed.chosen(windowed.honest)
    metrics = latency_metrics(honest.corrected_us)
    metrics |= latency_metrics(honest.uncorrected_us, "uncorrected_latency")
    metrics |= generator_metrics(windowed, start_us, scenario.run.duration_s - scenario.run.warmup_s)
    if honest.index.size < windowed.index.size:
        metrics |= latency_metrics(windowed.refused_us, "refused_latency")
    if (windowed.attempts > 1).any():
        metrics["retries_per_event"] = float(np.maximum(windowed.attempts - 1, 0).sum() / honest.index.size)
    return metrics, judged_sample_metrics(honest)


def begin(
    context: Session, plan: Plan, host: str, server: Child | None, settings: Settings, scenario: Scenario
) -> tuple[Generation, int, WindowCounts]:
    """Start Locust on a plan; returns it, the origin (µs) and the server's counts over the window."""
    with context.progress.stage("starting Locust"):
        generation = Generation(context.crew, context.monitor, plan, host)
        origin_us = generation.origin_us()
    servers = {} if server is None else {server.role: server}
    disturb(settings.disturbance, servers, origin_us)
    # A provider need not be asked for counts: every answer of it is in the samples.
    asked = {role: child for role, child in servers.items() if role == "receiver"}
    return generation, origin_us, WindowCounts(asked, origin_us, scenario)
