"""The part about lost answers: how often a webhook is sent, and how many copies of it the receiver gets."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from loadtest.runner import load
from loadtest.runner.session import RECEIVER
from loadtest.validate.measuring import Bench, steadily
from loadtest.validate.part import Builder, Part, Replicate
from loadtest.validate.receiver import ATTEMPTS
from loadtest.validate.receiver_parts import Plan
from sim.engine import run_once
from sim.metrics import summarise
from sim.randomness import Stream, delivery_entity, uniform
from sim.theory.retries import AtLeastOnce
from sim.workload import event_times

if TYPE_CHECKING:
    from sim.scenario import Scenario

LOSSES = (0.1, 0.3)
RATE_PER_S = 50.0
DUPLICATES = {"attempts_per_event": 0.03, "duplicates_per_event": 0.10}
MODULE = "loadtest.validate.receiver"
FIRST_ATTEMPT = 1
"""The number under which the model draws the fate of a webhook's first attempt."""


def duplicates(bench: Bench, plan: Plan) -> Part:
    """At-least-once delivery over a way that loses answers: the very answers that the model loses."""
    builder = Builder("duplicates", "lost answers: attempts and copies", "latency")
    for place, loss in enumerate(LOSSES):
        scenario = lossy(bench.scenario, loss, plan.duration_s)

        def replicate(number: int, scenario: Scenario = scenario, place: int = place) -> Replicate:
            return _replicate(bench, scenario, plan.seed_of(700 + place, number))

        builder.load(f"{100 * loss:.0f} % lost", plan.runs, replicate, DUPLICATES, ("lost_ratio",))
        theory = AtLeastOnce(0.0, loss, scenario.webhook.retry.attempts_allowed)
        builder.notes[f"theory, {100 * loss:.0f} % lost"] = {
            "attempts_per_event": theory.attempts_mean,
            "duplicates_per_event": theory.duplicates_mean,
        }
    return builder.part()


def lossy(scenario: Scenario, loss: float, duration_s: float) -> Scenario:
    """The scenario at a low rate with quick retries, and answers that are lost."""
    payload_bytes = scenario.workload.payload_bytes
    return scenario.with_values(
        **{
            "workload": {"kind": "poisson", "rate_per_s": RATE_PER_S, "payload_bytes": payload_bytes},
            "subscribers.count": 1,
            "network.request_loss": 0.0,
            "network.response_loss": loss,
            "webhook.retry": {
                "kind": "exponential", "base_s": 0.05, "factor": 2.0, "cap_s": 0.5, "max_attempts": 8,
                "jitter": "full",
            },
            "webhook.timeout_s": 1.0,
            "receiver.outages": [],
            "receiver.random_outages": None,
            "receiver.error_probability": 0.0,
            "receiver.queue_limit": 1_000_000,
            "receiver.acknowledge": "on_receipt",
            "receiver.service": {"kind": "constant", "mean_s": 0.0},
            "run.warmup_s": 0.0,
            "run.duration_s": duration_s,
            "run.drain_s": 30.0,
        }
    )  # fmt: skip


def lost_answers(loss: float, seed: int, events: int) -> bytes:
    """Which answers the model loses, as the receiver's table."""
    table = bytearray(events * ATTEMPTS)
    for event in range(events):
        entity = delivery_entity(0, event)
        for attempt in range(ATTEMPTS):
            draw = uniform(seed, Stream.RESPONSE_LOSS, entity, attempt + FIRST_ATTEMPT)
            table[event * ATTEMPTS + attempt] = draw < loss
    return bytes(table)


def _replicate(bench: Bench, scenario: Scenario, seed: int) -> Replicate:
    created = event_times(scenario, seed)
    modelled = run_once(scenario, "webhook", created, seed)
    predicted = summarise(modelled.deliveries, modelled.counters, scenario)
    with TemporaryDirectory(prefix="hookbench-lost-") as name:
        table = Path(name) / "lost"
        table.write_bytes(lost_answers(scenario.network.response_loss, seed, created.size))
        result, _attempts = steadily(
            lambda: load(
                scenario,
                ("webhook",),
                duration_s=scenario.run.duration_s,
                storms=("retries",),
                receiver=(MODULE, *RECEIVER[1:], "--lost-answers", str(table)),
                seed=seed,
                pool_size=bench.pool_size,
                out=bench.out,
                command="hookbench validate, lost answers",
                figures=False,
                progress=bench.progress,
            )
        )
    (run,) = result.runs
    none = np.empty(0)
    return Replicate(predicted, run.metrics, none, none, none, run.void, result.path.name)
