"""The loads that a validation runs, each its own run folder within the validation's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest.runner import Progress, load
from loadtest.schedule import DEFAULT_POOL_SIZE
from loadtest.validate.observed import Observed, observed
from loadtest.verdict import LAG_P99_LIMIT_S, Reason

if TYPE_CHECKING:
    from loadtest.runner import LoadResult
    from sim.distribution_specs import DistributionSpec
    from sim.scenario import Scenario

WARMUP_S = 1.0
BURST_S = 3.0
PREPARED_BYTES = 50_000_000
"""Of bodies: fewer than `loadtest.scenarios.open_loop` builds ahead."""

LEAST_BURST = 500
"""Events, however large."""

ROOM = 1_000_000
"""Events that may wait: nothing is to be refused."""

GENERATOR_RULES = ("generator_cpu", "generator_lag")
"""Void rules that a burst is meant to break: it is more than sender and receiver can do."""

ATTEMPTS = 3
"""A load whose generator lagged says nothing of the server, so it is repeated, so often in all."""

LAGGED = "generator_lag"


def steadily(run: Callable[[], LoadResult], expected: Sequence[str] = ()) -> tuple[LoadResult, int]:
    """Run until the generator kept to its schedule, at most `ATTEMPTS` times; returns how many it took.

    What is void for any other reason is not repeated: the server might have to do with it.
    """
    attempt = 0
    while True:
        attempt += 1
        result = run()
        rules = {reason.rule for each in result.runs for reason in each.void if isinstance(reason, Reason)}
        if LAGGED not in rules or LAGGED in expected or attempt == ATTEMPTS:
            return result, attempt


@dataclass(frozen=True)
class Measured:
    """One load.

    Attributes:
        observed: event by event.
        seed: of its events and services.
        void: reasons to distrust it.
        folder: the name of its run folder.
        metrics: by name, as the load reports them.
        attempts: how often it was run until its generator kept up.
    """

    observed: Observed
    seed: int
    void: tuple[str, ...]
    folder: str
    metrics: dict[str, float]
    attempts: int = 1


@dataclass
class Bench:
    """Runs loads of one scenario's receiver.

    Attributes:
        scenario: whose payload, source and seed-dependent draws are used.
        out: parent of the run folders.
        pool_size: requests in flight at most.
        progress: where to show each load.
        measured: all of them, in order.
    """

    scenario: Scenario
    out: Path
    pool_size: int = DEFAULT_POOL_SIZE
    progress: Progress | None = None
    measured: list[Measured] = field(default_factory=list)

    def run(
        self,
        rate_per_s: float,
        duration_s: float,
        seed: int,
        *,
        service: DistributionSpec | None = None,
        workers: int = 1,
        warmup_s: float = WARMUP_S,
        lag_limit_s: float = LAG_P99_LIMIT_S,
        expected: Sequence[str] = (),
    ) -> Measured:
        """Load a fresh receiver, which serves at once, or as `service` says.

        Args:
            rate_per_s: of a Poisson process.
            duration_s: seconds that count, after the warm-up.
            seed: of the schedule and the services.
            service: as stated.
            workers: how many serve.
            warmup_s: seconds before.
            lag_limit_s: p99 of the generator's lag above which the load is void.
            expected: void rules that this load is meant to break.
        """
        values: dict[str, Any] = {
            "subscribers.count": 1,
            "receiver.service": {"kind": "constant", "mean_s": 0.0}
            if service is None
            else service.model_dump(mode="python"),
            "receiver.workers": workers,
            "receiver.queue_limit": ROOM,
            "receiver.outages": [],
            "receiver.random_outages": None,
            "run.warmup_s": warmup_s,
            "run.drain_s": 0.0,
            "run.duration_s": warmup_s + duration_s,
        }
        result, attempts = steadily(
            lambda: load(
                self.scenario.with_values(**values),
                ("webhook",),
                rate_per_s=rate_per_s,
                duration_s=warmup_s + duration_s,
                seed=seed,
                pool_size=self.pool_size,
                out=self.out,
                command=f"hookbench validate, load {len(self.measured) + 1}",
                figures=False,
                lag_limit_s=lag_limit_s,
                progress=self.progress,
            ),
            expected,
        )
        (run,) = result.runs
        void = tuple(
            str(reason) for reason in run.void if not (isinstance(reason, Reason) and reason.rule in expected)
        )
        measured = Measured(
            observed(run, warmup_s, result.scenario.run.duration_s),
            seed,
            void,
            result.path.name,
            run.metrics,
            attempts,
        )
        self.measured.append(measured)
        return measured

    def burst(self, offered_per_s: float, seed: int) -> Measured:
        """Offer more than can be done; `Observed.throughput_per_s` is what was done.

        No more than the generator prepares ahead: to build bodies meanwhile would be work that it does in
        the pauses of any lesser load.
        """
        prepared = PREPARED_BYTES / max(self.scenario.workload.payload_bytes, 500)
        seconds = min(BURST_S, max(prepared, LEAST_BURST) / offered_per_s)
        return self.run(
            offered_per_s,
            0.9 * seconds,
            seed,
            warmup_s=0.1 * seconds,
            lag_limit_s=1e9,
            expected=GENERATOR_RULES,
        )
