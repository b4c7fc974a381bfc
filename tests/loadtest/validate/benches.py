"""A bench that loads a model instead of a server: what a validation finds there, it owes to its method."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from loadtest.validate.measuring import Measured
from loadtest.validate.receiver_parts import predicted_metrics
from sim.distribution_specs import DistributionSpec, Uniform
from sim.reference_receiver import Stages, pass_through
from sim.scenario import Scenario
from tests.loadtest.validate.machines import TRUE, measured

LATE = Uniform(kind="uniform", low_s=0.0, high_s=0.001)


@dataclass
class ModelBench:
    """Stands for `loadtest.validate.measuring.Bench`.

    Attributes:
        truth: the stages of the receiver that it pretends to load.
        void: what it says of every load that is not a burst.
    """

    scenario: Scenario
    truth: Stages = TRUE
    void: tuple[str, ...] = ()
    loads: list[dict[str, Any]] = field(default_factory=list)

    def run(
        self,
        rate_per_s: float,
        duration_s: float,
        seed: int,
        *,
        service: DistributionSpec | None = None,
        workers: int = 1,
        warmup_s: float = 1.0,
        **_: object,
    ) -> Measured:
        """A load of the model."""
        stages = self.truth
        if service is not None:
            stages = stages.model_copy(update={"service": service, "workers": workers, "timer": LATE})
        # It shares every draw with the prediction, so what differs is the calibration's doing.
        load = measured(stages, rate_per_s, warmup_s + duration_s, seed, warmup_s)
        passage = pass_through(stages, load.intended_s, seed)
        self.loads.append({"rate_per_s": rate_per_s, "duration_s": duration_s, "service": service})
        metrics = predicted_metrics(passage, warmup_s, warmup_s + duration_s, stages)
        return Measured(load, seed, self.void, f"load-{len(self.loads)}", metrics)

    def burst(self, offered_per_s: float, seed: int) -> Measured:
        """More than it can do."""
        return self.run(offered_per_s, 1.5, seed, warmup_s=0.0)
