"""What if the rate doubles? The calibrated model at rates that nobody has run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loadtest.validate.comparison import latency_values
from loadtest.validate.sources import Source
from sim.errors import InputError
from sim.experiment import Estimate, estimate
from sim.randomness import Stream, replication_seed, uniforms
from sim.reference_receiver import Stages, pass_through
from sim.results import RunFolder

if TYPE_CHECKING:
    import pandas as pd

EVENTS = 40_000
WARM_SHARE = 0.1
"""Of the events: the first do not count."""

MULTIPLES = (1.0, 1.5, 2.0, 3.0)
LATENCIES = ("p50", "p95", "p99", "mean")
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Forecast:
    """One rate.

    Attributes:
        rate_per_s: of a Poisson process.
        utilisation: of the workers. core_share: of the receiver's core. Either NaN where nothing is known.
        grows_per_s: how fast a queue grows for ever; 0 where the system keeps up.
        metrics: over replications; empty where the system does not keep up: there is no steady state.
    """

    rate_per_s: float
    utilisation: float
    core_share: float
    grows_per_s: float
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class WhatIf:
    """The forecasts of one source.

    Attributes:
        source: what they start from.
        forecasts: by rate, ascending.
        replications, seed: of each.
        path: the run folder.
    """

    source: Source
    forecasts: tuple[Forecast, ...]
    replications: int
    seed: int
    path: Path

    def sentence(self) -> str:
        """The result in one sentence."""
        kept = [each for each in self.forecasts if not each.grows_per_s]
        if not kept:
            return f"None of these rates can be kept up with, not even {self.forecasts[0].rate_per_s:,.4g}/s."
        last = kept[-1]
        p99_ms = 1e3 * last.metrics["visible_latency_p99_s"].mean
        told = f"At {last.rate_per_s:,.4g}/s 99 % would be visible within {p99_ms:,.3g} ms"
        lost = [each for each in self.forecasts if each.grows_per_s]
        if not lost:
            return f"{told}."
        growth = f"at {lost[0].rate_per_s:,.4g}/s the queue would grow by {lost[0].grows_per_s:,.3g} a second"
        return f"{told}; {growth}."

    def document(self) -> dict[str, Any]:
        """The one JSON document of ``--json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "command": "validate --from",
            "source": self.source.told,
            "measured_rate_per_s": self.source.rate_per_s,
            "remarks": list(self.source.remarks),
            "stages": self.source.stages.model_dump(mode="json"),
            "seed": self.seed,
            "replications": self.replications,
            "forecasts": [
                {
                    "rate_per_s": each.rate_per_s,
                    "utilisation": _plain(each.utilisation),
                    "core_share": _plain(each.core_share),
                    "grows_per_s": each.grows_per_s,
                    "metrics": {
                        name: {"mean": _plain(e.mean), "low": e.low, "high": e.high}
                        for name, e in each.metrics.items()
                    },
                }
                for each in self.forecasts
            ],
            "sentence": self.sentence(),
            "run": str(self.path),
        }

    def table(self) -> pd.DataFrame:
        """A row a rate, as in forecasts.csv."""
        import pandas as pd  # noqa: PLC0415 - half a second, only when a table is wanted

        rows = []
        for each in self.forecasts:
            row: dict[str, Any] = {
                "rate_per_s": each.rate_per_s,
                "utilisation": each.utilisation,
                "core_share": each.core_share,
                "grows_per_s": each.grows_per_s,
            }
            for name, value in each.metrics.items():
                row |= {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}
            rows.append(row)
        return pd.DataFrame(rows)


def what_if(
    source: Source,
    rates_per_s: Sequence[float] = (),
    *,
    replications: int = 5,
    seed: int = 1,
    out: str | Path | None = None,
    command: str | Sequence[str] = "hookbench validate --from",
) -> WhatIf:
    """Predict latency and utilisation at rates; without any at `MULTIPLES` of the measured one.

    Raises:
        InputError: a rate that cannot be, or none given and none known.
    """
    if replications < 1:
        raise InputError(f"--runs must be at least 1, got {replications}")
    if not rates_per_s:
        if source.rate_per_s is None:
            raise InputError("the source does not say at which rate it was measured: give --rate")
        rates_per_s = [multiple * source.rate_per_s for multiple in MULTIPLES]
    for rate in rates_per_s:
        if not (math.isfinite(rate) and rate > 0):
            raise InputError(f"--rate must be a number above 0, got {rate:g}")
    with RunFolder.create("what-if", command, out, seeds=(seed,)) as folder:
        forecasts = tuple(
            forecast(source.stages, rate, replications, seed) for rate in sorted(set(rates_per_s))
        )
        result = WhatIf(source, forecasts, replications, seed, folder.path)
        folder.save_table(result.table(), "forecasts")
        folder.note(
            sentence=result.sentence(),
            source=source.told,
            remarks=list(source.remarks),
            stages=source.stages.model_dump(mode="json"),
        )
    return result


def forecast(stages: Stages, rate_per_s: float, replications: int, seed: int) -> Forecast:
    """One rate, in steady state where there is one."""
    service_s = stages.service.mean_s
    utilisation = rate_per_s * service_s / stages.workers if service_s else math.nan
    kept_per_s = stages.workers / service_s if service_s else math.inf
    if stages.work_per_event_s:
        kept_per_s = min(kept_per_s, 1 / stages.work_per_event_s)
    if rate_per_s >= kept_per_s:
        core_share = min(1.0, rate_per_s * stages.work_per_event_s) or math.nan
        return Forecast(rate_per_s, min(1.0, utilisation), core_share, rate_per_s - kept_per_s, {})
    values: dict[str, list[float]] = {}
    core_s, span_s = 0.0, 0.0
    for replication in range(replications):
        run_seed = int(replication_seed(seed, replication))
        gaps_s = -np.log1p(-uniforms(run_seed, Stream.INTERARRIVAL, 0, EVENTS)) / rate_per_s
        passage = pass_through(stages, np.cumsum(gaps_s), run_seed)
        first = int(WARM_SHARE * EVENTS)
        start_s, end_s = float(passage.intended_s[first]), float(passage.intended_s[-1])
        found = latency_values("visible_latency", (passage.visible_s - passage.intended_s)[first:])
        found |= latency_values("latency", (passage.acknowledged_s - passage.intended_s)[first:])
        found["receiver_queue_mean"] = passage.queue_mean(start_s, end_s)
        for name, value in found.items():
            values.setdefault(name, []).append(value)
        core_s += passage.busy_s
        span_s += float(passage.intended_s[-1])
    metrics = {name: estimate(each) for name, each in values.items()}
    return Forecast(rate_per_s, utilisation, core_s / span_s or math.nan, 0.0, metrics)


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
