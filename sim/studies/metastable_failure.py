"""An overload that outlives its cause: the retry storm of "Metastable Failures in Distributed Systems".

**What was claimed.** Bronson, Aghayev, Charapko & Zhu (HotOS 2021, §2.1) tell of an idealised web
application: its database answers in under 100 ms as long as it gets fewer than 300 queries a second; the
application gives a query up after 1 s and tries it once more. All is well at 280 a second, until a network
switch fails for 10 s. Then what was lost is sent again all at once, the database falls behind, every query
times out and is retried, and so the database gets 560 queries a second, of which none is answered in time:
for ever, though the switch has long recovered. Below 150 a second the system is *stable*: it recovers from
any trigger. From 150 to 300 it is *vulnerable*: healthy, until something happens. Leaving the failed state
takes a load below 150 a second, or fewer than 20 retries a second.

**How it is reproduced.** By the mechanism `webhook`, whose parts are the same: queries are events, the
database is the receiver, and its answer leaves when the work is done.

    application (sender)                  database (receiver): 15 workers × 50 ms = 300 a second
       │── query ─────────────────────────>│ queue, first come first served
       │<──────────────── answer ──────────│ in time …
       │── query ─────────────────────────>│
       │   1 s: nobody listens any more    │ … or not: the query stays in the queue, and is worked off
       │── the same query, once more ─────>│

The trigger is a database that stalls for 10 s (an outage of kind "slow") while queries pile up before it:
when it wakes, it finds at once what came meanwhile, retries included, as the paper's database does when the
switch comes back. A query counts as answered in time if that happens within 1 s of its first being asked.

**Why it stays down.** Abandoned work is not cancelled. With m extra tries of each query the load on offer
while everything times out is λ(1 + m); where that exceeds μ, the queue cannot shrink: the database is busy
all the time with queries nobody waits for. So the threshold is μ/(1 + m): 300, 150, 100 a second for m = 0,
1, 2.

**What we add.** How long recovery takes below the threshold: a stall of D seconds leaves λD queries and,
after the first second, as many retries; this backlog shrinks by μ − 2λ a second until it is worth less than
the timeout. What gets the system out: a queue so short that whatever is accepted is answered in time, or no
retries. What does not: backing off with jitter. Where the callers are open-loop (others ask, whether or not
they are answered) as many retries come later as would have come at once; see M. Brooker, "What is Backoff
For?", Marc's Blog, 2022. And a weaker trigger, queries lost for good during the 10 s, leaves it to chance:
the paper calls this trigger intensity.

**What differs.** Queries are Poisson and the paper's are not said to be; its limit of 20 retries a second is
a budget over all queries, which `webhook.retry` cannot state: no retries at all stand in for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sim.engine import run_once
from sim.randomness import replication_seed
from sim.scenario import Scenario, scenario_from
from sim.studies.findings import Finding, Results
from sim.workload import event_times

if TYPE_CHECKING:
    import pandas as pd

    from sim.studies import Progress

CAPACITY_PER_S = 300.0
TIMEOUT_S = 1.0
TRIGGER_S, TRIGGER_LASTS_S = 60.0, 10.0
LATE_S, END_S = 350.0, 450.0
"""What happens in [LATE_S, END_S) is called the end: long after the trigger."""

_SERVICE_S = 0.05
_ONCE_MORE = {"kind": "fixed", "base_s": 0.0, "max_attempts": 2}
_STALL = {
    "start_s": TRIGGER_S, "duration_s": TRIGGER_LASTS_S, "kind": "slow",
    "slowdown": TRIGGER_LASTS_S / _SERVICE_S,
}  # fmt: skip
_BLACK_HOLE = {"start_s": TRIGGER_S, "duration_s": TRIGGER_LASTS_S, "kind": "black_hole"}


def scenario(rate_per_s: float, **changes: Any) -> Scenario:
    """The paper's application at this load, with the stall; `changes` are dotted keys of the scenario."""
    base = scenario_from(
        {
            "name": "metastable-failure",
            "title": "A web application whose database stalls for ten seconds",
            "workload": {"kind": "poisson", "rate_per_s": rate_per_s},
            "network": {"one_way": {"kind": "constant", "mean_s": 0.0}},
            "webhook": {"timeout_s": TIMEOUT_S, "retry": _ONCE_MORE, "max_in_flight": 1_000_000},
            "receiver": {
                "workers": 15,
                "service": {"kind": "constant", "mean_s": _SERVICE_S},
                "queue_limit": 1_000_000_000,
                "acknowledge": "after_processing",
                "outages": [_STALL],
            },
            "run": {"duration_s": END_S, "warmup_s": LATE_S, "drain_s": 5.0, "series_bin_s": 1.0},
        }
    )
    return base.with_values(**changes) if changes else base


def _tries(extra: int) -> dict[str, object]:
    return {"webhook.retry": _ONCE_MORE | {"max_attempts": 1 + extra}}


def threshold_per_s(extra_tries: int) -> float:
    """The load above which the storm sustains itself: λ(1 + m) = μ."""
    return CAPACITY_PER_S / (1 + extra_tries)


_BACK_OFF = {"kind": "exponential", "base_s": 20.0, "cap_s": 20.0, "max_attempts": 2, "jitter": "full"}

SCENARIOS: dict[str, Scenario] = {
    "280, nothing happens": scenario(280.0, **{"receiver.outages": []}),
    "280, stall": scenario(280.0),
    "140, stall": scenario(140.0),
    **{
        f"{share:.0%} of the threshold, m = {extra}": scenario(
            share * threshold_per_s(extra), **_tries(extra)
        )
        for extra in (0, 1, 2)
        for share in (0.95, 1.05)
    },
    "280, stall, no retries": scenario(280.0, **_tries(0)),
    "280, stall, short queue": scenario(280.0, **{"receiver.queue_limit": 200}),
    "280, stall, back-off with jitter": scenario(280.0, **{"webhook.retry": _BACK_OFF}),
    "280, queries lost for good": scenario(280.0, **{"receiver.outages": [_BLACK_HOLE]}),
}
"""What is run. The short queue holds two thirds of a second's work."""


@dataclass(frozen=True)
class Observation:
    """One run, seen from outside.

    Attributes:
        requests_per_s: queries that reach for the database, first tries and retries, in each second.
        in_time_per_s: of the queries first asked in each second, those answered in time.
        latency_before_s: the mean answer time before the trigger.
        end_requests_per_s: requests a second at the end.
        end_tries: at the end, requests for each query asked.
        end_in_time: at the end, the share of queries answered in time.
        end_utilisation: at the end, the share of the database's workers that work.
        recovery_s: from the end of the trigger to the last query not answered in time.
    """

    requests_per_s: NDArray[np.float64]
    in_time_per_s: NDArray[np.float64]
    latency_before_s: float
    end_requests_per_s: float
    end_tries: float
    end_in_time: float
    end_utilisation: float
    recovery_s: float


def observe(studied: Scenario, seed: int) -> Observation:
    """Run a scenario once."""
    replication = run_once(studied, "webhook", event_times(studied, seed), seed)
    asked, answered = replication.deliveries.created[0], replication.deliveries.visible[0]
    in_time = answered - asked <= TIMEOUT_S  # NaN, never answered, compares false
    before, end = (asked >= 20.0) & (asked < TRIGGER_S - 1.0), asked >= LATE_S
    failed_after = asked[~in_time & (asked >= TRIGGER_S)]
    over_s = TRIGGER_S + TRIGGER_LASTS_S
    window_s = END_S - LATE_S
    requests, busy_s = replication.counters.requests or 0, replication.counters.receiver_busy_s or 0.0
    return Observation(
        requests_per_s=replication.series[: int(END_S)].astype(np.float64),
        in_time_per_s=np.histogram(asked[in_time], bins=int(END_S), range=(0.0, END_S))[0].astype(np.float64),
        latency_before_s=float((answered - asked)[before].mean()),
        end_requests_per_s=requests / window_s,
        end_tries=requests / int(end.sum()),
        end_in_time=float(in_time[end].mean()),
        end_utilisation=busy_s / window_s / studied.receiver.workers,
        recovery_s=max(float(failed_after.max()) - over_s, 0.0) if failed_after.size else 0.0,
    )


def fluid_recovery_s(rate_per_s: float) -> float:
    """How long after the stall queries still wait too long, one retry each, below the threshold (fluid)."""
    backlog = rate_per_s * (TRIGGER_LASTS_S + TRIGGER_LASTS_S - TIMEOUT_S)
    harmless = CAPACITY_PER_S * (TIMEOUT_S - _SERVICE_S)
    return (backlog - harmless) / (CAPACITY_PER_S - 2.0 * rate_per_s)


def run(seed: int, replications: int, progress: Progress) -> Results:
    """Every scenario, `replications` times."""
    observed: dict[str, list[Observation]] = {}
    for step, (name, studied) in enumerate(SCENARIOS.items()):
        observed[name] = [observe(studied, int(replication_seed(seed, r))) for r in range(replications)]
        progress(step + 1, len(SCENARIOS))
    return judge(observed)


def judge(observed: dict[str, list[Observation]]) -> Results:
    """What the runs say of each claim."""

    def values(name: str, attribute: str, scale: float = 1.0) -> tuple[float, ...]:
        return tuple(scale * float(getattr(each, attribute)) for each in observed[name])

    def share(key: str, claim: str, published: str, name: str, agrees: tuple[float, float] | None) -> Finding:
        return Finding(
            key,
            claim,
            published,
            "answered in time at the end",
            values(name, "end_in_time", 100.0),
            "%",
            agrees,
        )

    all_, none = (99.0, math.inf), (-math.inf, 1.0)
    findings = (
        Finding(
            "healthy", "Below 300 queries a second the database answers in < 100 ms", "< 100 ms",
            "mean answer time at 280/s", values("280, nothing happens", "latency_before_s", 1e3), "ms",
            (0.0, 100.0),
        ),
        share(
            "no-trigger", "At 280/s all is well while nothing happens", "healthy",
            "280, nothing happens", all_,
        ),
        Finding(
            "storm", "A 10 s outage at 280/s leaves a sustained load of twice that", "560/s",
            "requests a second at the end", values("280, stall", "end_requests_per_s"), "/s", (555.0, 565.0),
        ),
        Finding(
            "amplification", "… every query being tried twice", "2", "requests for each query at the end",
            values("280, stall", "end_tries"), agrees=(1.99, 2.01),
        ),
        share("nothing-in-time", "… of which none is answered in time", "0", "280, stall", none),
        Finding(
            "wasted-work", "… though the database works all the time, for callers who left", "overloaded",
            "busy workers at the end", values("280, stall", "end_utilisation", 100.0), "%", all_,
        ),
        share("stable", "Below 150/s it recovers by itself", "stable", "140, stall", all_),
        Finding(
            "recovery", f"… {fluid_recovery_s(140.0):.0f} s after the outage, says the fluid limit", "",
            "seconds until all is in time at 140/s", values("140, stall", "recovery_s"), "s",
        ),
        share(
            "below-150", "150/s is the threshold: 5 % below it recovers", "stable",
            "95% of the threshold, m = 1", all_,
        ),
        share(
            "above-150", "… 5 % above it stays down", "vulnerable", "105% of the threshold, m = 1", none
        ),
        share(
            "below-m0", "λ(1 + m) < μ recovers: without retries, at 285/s", "",
            "95% of the threshold, m = 0", None,
        ),
        share(
            "below-m2", "… with two retries, at 95/s", "", "95% of the threshold, m = 2", None
        ),
        share(
            "above-m2", "λ(1 + m) > μ stays down: with two retries, at 105/s", "",
            "105% of the threshold, m = 2", None,
        ),
        share(
            "no-retries", "Few enough retries let it recover at 280/s (here: none)", "< 20 retries/s",
            "280, stall, no retries", all_,
        ),
        share(
            "short-queue", "A short queue that turns the rest away lets it recover at 280/s", "",
            "280, stall, short queue", None,
        ),
        share(
            "back-off", "Backing off 20 s with full jitter does not", "",
            "280, stall, back-off with jitter", None,
        ),
        share(
            "weak-trigger", "If what was sent in the 10 s is lost for good, it is a matter of chance", "",
            "280, queries lost for good", None,
        ),
    )  # fmt: skip
    return Results(
        findings,
        {"runs": _runs(observed), "series": _series(observed)},
        (
            f"The trigger is from {TRIGGER_S:.0f} to {TRIGGER_S + TRIGGER_LASTS_S:.0f} s; the end is from "
            f"{LATE_S:.0f} to {END_S:.0f} s.",
            "The paper's example is idealised and its figures are not measurements.",
            "The stall keeps what is sent meanwhile and serves it afterwards, as retransmission does; where "
            "lost queries stay lost, the queue after the outage holds hardly a second's retries.",
        ),
        SCENARIOS,
    )


def _runs(observed: dict[str, list[Observation]]) -> pd.DataFrame:
    """One row a scenario and replication."""
    import pandas as pd  # noqa: PLC0415 - half a second that reading about studies need not wait for

    columns = [
        "latency_before_s",
        "end_requests_per_s",
        "end_tries",
        "end_in_time",
        "end_utilisation",
        "recovery_s",
    ]
    rows = [
        (name, r, *(getattr(each, column) for column in columns))
        for name, each_run in observed.items()
        for r, each in enumerate(each_run)
    ]
    return pd.DataFrame(rows, columns=["scenario", "replication", *columns])


def _series(observed: dict[str, list[Observation]]) -> pd.DataFrame:
    """One row a scenario and second, means over replications."""
    import pandas as pd  # noqa: PLC0415

    return pd.concat(
        [
            pd.DataFrame(
                {
                    "scenario": name,
                    "second": np.arange(int(END_S)),
                    "requests_per_s": np.mean([each.requests_per_s for each in each_run], axis=0),
                    "in_time_per_s": np.mean([each.in_time_per_s for each in each_run], axis=0),
                }
            )
            for name, each_run in observed.items()
        ],
        ignore_index=True,
    )
