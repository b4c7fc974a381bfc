"""Generated scenarios: small worlds full of ties, losses, outages, limits and overload."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from sim.scenario import Scenario, scenario_from

# Multiples of a quarter second are exact in binary, so happenings do fall on the same instant.
_grid_s = st.integers(1, 24).map(lambda quarters: quarters / 4)
_mean_s = st.sampled_from([0.05, 0.25, 0.3, 1.0, 2.5])


def _durations(*, may_be_zero: bool) -> st.SearchStrategy[dict[str, Any]]:
    constants = st.sampled_from([0.0, 0.25, 0.5, 1.0] if may_be_zero else [0.25, 0.5, 1.0])
    return st.one_of(
        constants.map(lambda mean_s: {"kind": "constant", "mean_s": mean_s}),
        _mean_s.map(lambda mean_s: {"kind": "exponential", "mean_s": mean_s}),
        st.tuples(_mean_s, st.sampled_from([0.3, 1.0, 3.0])).flatmap(
            lambda pair: st.sampled_from(
                [
                    {"kind": kind, "mean_s": pair[0], "cv": pair[1]}
                    for kind in ("lognormal", "gamma", "pareto")
                ]
            )
        ),
        _grid_s.map(lambda high_s: {"kind": "uniform", "low_s": 0.0, "high_s": high_s}),
        st.lists(st.sampled_from([0.0, 0.25, 1.0, 4.0]), min_size=1, max_size=4).map(
            lambda values_s: {"kind": "empirical", "values_s": values_s}
        ),
    )


_workloads = st.one_of(
    st.sampled_from([0.1, 0.5, 2.0, 5.0]).map(lambda rate: {"kind": "poisson", "rate_per_s": rate}),
    st.tuples(st.sampled_from([0.25, 1.0, 4.0]), st.sampled_from(["random", "synchronised"])).map(
        lambda pair: {"kind": "periodic", "rate_per_s": pair[0], "phase": pair[1]}
    ),
    st.sampled_from([0.5, 3.0]).map(
        lambda rate: {"kind": "batch", "rate_per_s": rate, "batch_mean": 3.0, "batch_size": "constant"}
    ),
    st.sampled_from([1.5, 20.0]).map(
        lambda dispersion: {"kind": "bursty", "rate_per_s": 1.0, "dispersion": dispersion, "on_share": 0.25}
    ),
)
_contents = st.sampled_from(["events", "events", "last_value"])

_attempts = st.integers(1, 5)
_retries = st.one_of(
    st.just({"kind": "none"}),
    st.lists(st.sampled_from([0.0, 0.25, 1.0, 5.0]), min_size=1, max_size=4).map(
        lambda gaps_s: {"kind": "schedule", "gaps_s": gaps_s}
    ),
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["fixed", "linear", "exponential"]),
            "base_s": st.sampled_from([0.0, 0.25, 1.0]),
            "factor": st.sampled_from([1.0, 2.0]),
            "cap_s": st.sampled_from([1.0, 60.0]),
            "max_attempts": _attempts,
            "jitter": st.sampled_from(["none", "full", "equal", "proportional"]),
        },
        optional={"max_duration_s": _grid_s},
    ),
    st.fixed_dictionaries(
        {
            "kind": st.just("exponential"),
            "base_s": st.sampled_from([0.25, 1.0]),
            "cap_s": st.sampled_from([0.5, 60.0]),
            "max_attempts": _attempts,
            "jitter": st.just("decorrelated"),
        }
    ),
)


@st.composite
def _outages(draw: st.DrawFn) -> list[dict[str, Any]]:
    outages, start_s = [], 0.0
    for _ in range(draw(st.integers(0, 3))):
        start_s += draw(st.sampled_from([0.0, 0.25, 2.0, 7.5]))
        duration_s = draw(_grid_s)
        kind = draw(st.sampled_from(["refuse", "black_hole", "error", "slow"]))
        outages.append({"start_s": start_s, "duration_s": duration_s, "kind": kind, "slowdown": 3.0})
        start_s += duration_s
    return outages


_spells = st.sampled_from(
    [
        {"kind": "constant", "mean_s": 2.5},
        {"kind": "exponential", "mean_s": 4.0},
        {"kind": "uniform", "low_s": 0.0, "high_s": 6.0},
    ]
)


@st.composite
def _failures(draw: st.DrawFn) -> dict[str, Any]:
    """Outages of a server: scheduled ones, or random ones."""
    if draw(st.integers(0, 3)) > 0:
        return {"outages": draw(_outages())}
    up_and_down = {"up": draw(_spells), "down": draw(_spells)}
    kind = draw(st.sampled_from(["refuse", "black_hole", "error", "slow"]))
    return {"random_outages": up_and_down | {"kind": kind, "slowdown": 2.0}}


@st.composite
def _pulls(draw: st.DrawFn) -> dict[str, Any]:
    """The tables of what pulls besides `polling`; a long poll that finds nothing takes some time."""
    min_interval_s = draw(st.sampled_from([0.25, 1.0]))
    hold_s, gap_s = draw(
        st.sampled_from(
            [(0.0, 0.25), (0.0, 1.0), (0.25, 0.0), (1.0, 0.25), (4.0, 0.0), (30.0, 0.0), (30.0, 0.5)]
        )
    )
    long_polling: dict[str, Any] = {
        "hold_s": hold_s,
        "gap_s": gap_s,
        "retry_s": draw(st.sampled_from([0.25, 1.0])),
        "timeout_s": draw(_grid_s),
    }
    if draw(st.booleans()):
        long_polling["intermediary_timeout_s"] = draw(_grid_s)
    return {
        "conditional_polling": {"not_modified_bytes": draw(st.sampled_from([0, 200]))},
        "adaptive_polling": {
            "kind": draw(st.sampled_from(["aimd", "age"])),
            "share": draw(st.sampled_from([0.25, 1.0])),
            "increase_s": draw(st.sampled_from([0.0, 0.25, 1.0])),
            "decrease": draw(st.sampled_from([0.25, 0.5, 1.0])),
            "min_interval_s": min_interval_s,
            "max_interval_s": draw(st.sampled_from([min_interval_s, 4.0, 60.0])),
        },
        "long_polling": long_polling,
    }


_reconnects = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["fixed", "exponential"]),
        "base_s": st.sampled_from([0.25, 1.0]),
        "cap_s": st.sampled_from([1.0, 60.0]),
        "jitter": st.sampled_from(["none", "full", "equal"]),
    }
)


@st.composite
def _streams(draw: st.DrawFn) -> dict[str, Any]:
    """The table of streams: short-lived, silent or not, with replay or without."""
    streaming = {
        "silent": draw(st.booleans()),
        "heartbeat_s": draw(st.sampled_from([0.25, 1.0, 1.3])),
        "heartbeat_timeout_s": draw(st.sampled_from([0.25, 2.5])),
        "reconnect": draw(_reconnects),
        "replay": draw(st.booleans()),
        "connect_timeout_s": draw(_grid_s),
    }
    if draw(st.booleans()):
        streaming["lifetime"] = draw(_spells)
    return {"streaming": streaming}


@st.composite
def _brokers(draw: st.DrawFn) -> dict[str, Any]:
    """The tables of both brokers: short-lived and silent connections, small batches, frequent rebalances."""
    persist = st.sampled_from([0.0, 0.0, 0.25]).map(lambda mean_s: {"kind": "constant", "mean_s": mean_s})
    push = {
        "prefetch": draw(st.sampled_from([1, 2, 20])),
        "persist": draw(st.one_of(persist, _durations(may_be_zero=True))),
        "max_deliveries": draw(st.sampled_from([1, 2, 20])),
        "silent": draw(st.booleans()),
        "heartbeat_s": draw(st.sampled_from([0.25, 1.0, 1.3])),
        "heartbeat_timeout_s": draw(st.sampled_from([0.25, 2.5])),
        "reconnect": draw(_reconnects),
    }
    if draw(st.booleans()):
        push["lifetime"] = draw(_spells)
    waits = st.sampled_from([(0.5, 0.0), (0.0, 0.25), (0.0, 4.0), (3.0, 0.0), (0.25, 1.0)])
    fetch_max_wait_s, idle_s = draw(waits)
    pull = {
        "partitions": draw(st.sampled_from([1, 2, 5])),
        "persist": draw(st.one_of(persist, _durations(may_be_zero=True))),
        "fetch_min": draw(st.sampled_from([1, 1, 3])),
        "fetch_max_wait_s": fetch_max_wait_s,
        "max_records": draw(st.sampled_from([1, 3, 500])),
        "idle_s": idle_s,
        "commit_interval_s": draw(st.sampled_from([0.0, 1.0, 5.0])),
        "max_deliveries": draw(st.sampled_from([1, 2, 10])),
        "rebalance_s": draw(st.sampled_from([0.0, 0.5, 3.0])),
    }
    if draw(st.booleans()):
        pull["rebalance_every"] = draw(_spells)
    return {"broker_push": push, "broker_pull": pull}


@st.composite
def _pushing(draw: st.DrawFn, timeout_s: st.SearchStrategy[float]) -> dict[str, dict[str, Any]]:
    """What only webhooks know: failing and suspicious receivers, endpoints switched off, second chances."""
    webhook: dict[str, Any] = {}
    if draw(st.booleans()):
        webhook["disabling"] = draw(
            st.sampled_from(
                [
                    {"consecutive_failures": 1},
                    {"consecutive_failures": 3, "re_enable_after_s": 2.0},
                    {"failing_for_s": 1.0, "re_enable_after_s": 0.25},
                    {"consecutive_failures": 2, "failing_for_s": 0.5, "re_enable_after_s": 5.0},
                ]
            )
        )
    if draw(st.booleans()):
        webhook["redelivery"] = draw(
            st.sampled_from(
                [
                    {"every_s": 5.0},
                    {"every_s": 0.25, "rounds": 3},
                    {"every_s": 3.0, "rounds": 2, "within_s": 4.0},
                ]
            )
        )
    receiver: dict[str, Any] = {"error_probability": draw(st.sampled_from([0.0, 0.0, 0.3, 1.0]))}
    if draw(st.integers(0, 3)) == 0:
        receiver["signature_tolerance_s"] = draw(st.sampled_from([0.25, 1.0]))
        receiver["clock_offset_s"] = draw(st.sampled_from([0.0, -0.5, 0.25]))
    if draw(st.integers(0, 3)) == 0:
        receiver |= {"workers": 1, "acknowledge": "on_receipt", "discipline": "preempt"}
    return {
        "webhook": webhook,
        "receiver": receiver,
        "reconciliation": {
            "interval_s": draw(st.sampled_from([0.25, 1.0, 5.0])),
            "phase": draw(st.sampled_from(["random", "synchronised"])),
            "timeout_s": draw(timeout_s),
            "page_size": draw(st.sampled_from([1, 2, 100])),
        },
        "thin_webhook": {
            "notification_bytes": 150,
            "timeout_s": draw(timeout_s),
            "retry_s": draw(st.sampled_from([0.0, 0.25, 1.0])),
            "max_attempts": draw(st.integers(1, 4)),
        },
    }


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Any scenario the schema allows, small enough to run both engines in milliseconds."""
    duration_s = draw(st.sampled_from([5.0, 20.0, 60.0]))
    schedule = draw(st.sampled_from(["fixed_rate", "fixed_delay", "exponential"]))
    interval_s = draw(st.sampled_from([0.25, 1.0, 3.0, 10.0]))
    jittered = schedule != "exponential" and draw(st.booleans())
    api: dict[str, Any] = {
        "workers": draw(st.integers(1, 3)),
        "service": draw(_durations(may_be_zero=True)),
        "feed_lag_s": draw(st.sampled_from([0.0, 0.0, 0.25, 2.0])),
    } | draw(_failures())
    if draw(st.booleans()):
        api["rate_limit"] = {
            "requests": draw(st.integers(1, 4)),
            "per_s": draw(_grid_s),
            "not_modified_free": draw(st.booleans()),
        }
    retention = draw(st.sampled_from([None, {"events": 2}, {"seconds": 3.0}]))
    if retention:
        api["retention"] = retention
    loss = st.sampled_from([0.0, 0.0, 0.2, 1.0])
    pushing = draw(_pushing(_grid_s))
    return scenario_from(
        {
            "name": "generated",
            "workload": draw(_workloads) | {"content": draw(_contents)},
            "subscribers": {
                "count": draw(st.integers(1, 3)),
                "interest": draw(st.sampled_from([1.0, 1.0, 0.5])),
            },
            "network": {
                "one_way": draw(_durations(may_be_zero=True)),
                "request_loss": draw(loss),
                "response_loss": draw(loss),
                "keep_alive": draw(st.sampled_from([True, True, False])),
                "setup_round_trips": draw(st.sampled_from([0, 0, 2])),
                "setup_bytes": draw(st.sampled_from([0, 5000])),
            },
            "webhook": {
                "timeout_s": draw(_grid_s),
                "retry": draw(_retries),
                "max_in_flight": draw(st.sampled_from([1, 2, 100])),
            }
            | pushing["webhook"],
            "reconciliation": pushing["reconciliation"],
            "thin_webhook": pushing["thin_webhook"],
            "polling": {
                "interval_s": interval_s,
                "schedule": schedule,
                "timeout_s": draw(_grid_s),
                "jitter_s": draw(st.sampled_from([interval_s / 2, interval_s])) if jittered else 0.0,
                "phase": draw(st.sampled_from(["random", "synchronised"])),
                "page_size": draw(st.sampled_from([1, 2, 100])),
            },
            "receiver": {
                "workers": draw(st.integers(1, 3)),
                "service": draw(_durations(may_be_zero=True)),
                "queue_limit": draw(st.sampled_from([0, 1, 5, 1000])),
                "retry_after_s": draw(st.sampled_from([0.0, 0.25, 2.0])),
                "acknowledge": draw(st.sampled_from(["after_processing", "on_receipt"])),
            }
            | draw(_failures())
            | pushing["receiver"],
            "provider_api": api,
            "run": {
                "duration_s": duration_s,
                "warmup_s": draw(st.sampled_from([0.0, 0.0, 2.0])),
                "drain_s": draw(st.sampled_from([0.0, 0.0, 30.0])),
            },
        }
        | draw(_pulls())
        | draw(_brokers())
        | draw(_streams())
    )


@st.composite
def calm_scenarios(draw: st.DrawFn) -> Scenario:
    """The same, but mostly with nothing to disturb a poller or a webhook: what has kernels of its own."""
    values = draw(scenarios()).model_dump(mode="json")
    at_once = st.just({"kind": "constant", "mean_s": 0.0})
    transit = st.sampled_from([0.0, 0.25, 0.3]).map(lambda mean_s: {"kind": "constant", "mean_s": mean_s})
    values["network"] |= {
        "one_way": draw(st.one_of(transit, transit, _durations(may_be_zero=True))),
        "request_loss": 0.0,
        "response_loss": 0.0,
        "keep_alive": draw(st.sampled_from([True, True, False])),
        "setup_round_trips": draw(st.sampled_from([0, 0, 1])),
    }
    values["webhook"] |= {"timeout_s": 6.0, "max_in_flight": draw(st.sampled_from([2, 100]))}
    values["polling"] |= {"timeout_s": draw(st.sampled_from([1.0, 60.0]))}
    values["reconciliation"] |= {"timeout_s": 60.0}
    values["receiver"] |= {
        "outages": [],
        "random_outages": None,
        "error_probability": 0.0,
        "signature_tolerance_s": None,
        "acknowledge": "on_receipt",
        "queue_limit": draw(st.sampled_from([1, 1000])),
    }
    values["provider_api"] |= {
        "outages": [],
        "random_outages": None,
        "rate_limit": None,
        "workers": draw(st.integers(1, 4)),
        "service": draw(st.one_of(at_once, _durations(may_be_zero=True))),
    }
    return Scenario.model_validate(values)
