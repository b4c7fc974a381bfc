"""How often 95 % intervals of the model's means cover what theory says they should.

One run of an experiment that works out proves little: an interval that is too wide also covers. So each
case is many experiments, of `GROUP` replications each with seeds of their own, and the number of their
nominal 95 % intervals (`sim.experiment.estimate`, Student's t) that cover theory is held against the
binomial distribution, by a two-sided test at `LEVEL`: too few says that the model is off or the intervals
too narrow, too many that they are too wide. A small bias hides in small experiments, so besides theory must
lie in the one interval, at 1 − `LEVEL`, over all replications.

Student's interval is exact for normal values. A replication's value is a mean over some thousand events or
cycles, which is near enough to normal that ten of them lose less than a percentage point of coverage; where
service times are heavy-tailed or the queue is long remembered, the runs are longer. Ratios (of lost events
to all, say) are biased by about 1/n of their own size, a tenth of such an interval at most. A run's own
quantiles are biased by more: the p-quantile of n uniform values is (1 − 2p)/n off on average, and this
check sees that. So what is held against theory's p-quantile is the share of a run's latencies that are not
above it, of mean p. Of what is the same in every run, or one of a few values, there is no normal mean:
`Case.exact` has a bound instead.

`LEVEL` is the probability with which one comparison fails a correct model; with some two hundred of them,
one set of seeds in fifty has a failure. The seeds are fixed: a failure is to be understood, not drawn away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import binomtest

from sim import theory
from sim.engine import run_once
from sim.experiment import CONFIDENCE, estimate
from sim.metrics import summarise
from sim.randomness import replication_seed
from sim.records import Replication, Window
from sim.scenario import Scenario
from sim.theory.conditions import QUANTILES
from sim.workload import event_times

SEED = 20_261_124
GROUP = 10
LEVEL = 1e-4

Measure = Callable[[Replication, Scenario, int], Mapping[str, float]]


@dataclass(frozen=True)
class Case:
    """A scenario theory speaks of.

    Attributes:
        scenario: what is run.
        mechanism: how.
        published: what some of the metrics should be, as the literature or an independent simulation says.
        measure: values beside the metrics, of (replication, scenario, seed).
        expected: what those should be.
        exact: metrics that hardly vary, with how far each replication may be off.
        skewed: metrics of which a mean over ten runs is far from normal; held to the one interval over all.
    """

    scenario: Scenario
    mechanism: str
    published: Mapping[str, float] = field(default_factory=dict)
    measure: Measure | None = None
    expected: Mapping[str, float] = field(default_factory=dict)
    exact: Mapping[str, float] = field(default_factory=dict)
    skewed: frozenset[str] = frozenset()

    def theory(self) -> dict[str, float]:
        """Every value that theory promises of this case."""
        if self.expected and not self.published:
            return dict(self.expected)
        predictions = theory.predict(self.scenario, self.mechanism)
        return {p.metric: p.value for p in predictions} | dict(self.expected)


def replicate(case: Case, replications: int) -> dict[str, np.ndarray]:
    """One value a replication of everything theory speaks of; shares in place of quantiles."""
    expected = case.theory()
    values: dict[str, list[float]] = {name: [] for name in expected}
    needs_metrics = any(name not in case.expected for name in expected)
    for replication in range(replications):
        seed = replication_seed(SEED, replication)
        run = run_once(case.scenario, case.mechanism, event_times(case.scenario, seed), seed)
        found = summarise(run.deliveries, run.counters, case.scenario) if needs_metrics else {}
        found |= shares_below(run, case.scenario, expected)
        if case.measure is not None:
            found |= case.measure(run, case.scenario, seed)
        for name, of_name in values.items():
            of_name.append(found[name])
    return {name: np.array(of_name) for name, of_name in values.items()}


def shares_below(run: Replication, scenario: Scenario, expected: Mapping[str, float]) -> dict[str, float]:
    """The share of latencies up to theory's p-quantile, for each that it states."""
    stated = QUANTILES.keys() & expected.keys()
    if not stated:
        return {}
    windowed = run.deliveries.within(Window(scenario.run.warmup_s, scenario.run.duration_s))
    latency_s = (run.deliveries.visible - run.deliveries.created)[windowed]
    latency_s = latency_s[~np.isnan(latency_s)]
    return {name: float(np.mean(latency_s <= expected[name])) for name in stated}


def too_often_or_seldom(values: np.ndarray, expected: float) -> list[str]:
    """What speaks against intervals of `GROUP` replications being as sure as they claim; nothing if all is
    well."""
    groups = [estimate(list(group)) for group in values.reshape(-1, GROUP)]
    covered = sum(e.low <= expected <= e.high for e in groups)
    if binomtest(covered, len(groups), CONFIDENCE).pvalue < LEVEL:
        return [f"{covered} of {len(groups)} intervals cover {expected:.6g}"]
    return []


def off(values: np.ndarray, expected: float) -> list[str]:
    """What speaks against all replications having the mean `expected`; nothing if all is well."""
    whole = estimate(list(values), confidence=1 - LEVEL)
    if not whole.low <= expected <= whole.high:
        return [f"{expected:.6g} is not in {whole.low:.6g} … {whole.high:.6g}"]
    return []


def check(case: Case, groups: int) -> None:
    """Every value theory promises is covered as often as it should be.

    Raises:
        AssertionError: naming each value that is not.
    """
    expected = case.theory()
    values = replicate(case, groups * GROUP)
    complaints = {}
    for name, value in expected.items():
        if name in case.exact:
            worst = float(np.max(np.abs(values[name] - value)))
            complaints[name] = [f"off by up to {worst:.3g}"] if worst > case.exact[name] else []
            continue
        mean = QUANTILES.get(name, value)
        complaints[name] = off(values[name], mean)
        if name not in case.skewed:
            complaints[name] += too_often_or_seldom(values[name], mean)
    assert not any(complaints.values()), {name: said for name, said in complaints.items() if said}
