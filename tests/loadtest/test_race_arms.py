"""Protects the arms of a race: each brings every event in exactly once, and asks as often as the model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtest.runner import ArmRun, LoadResult, race
from loadtest.runner.arms import DEFAULT_ARMS, RACE_ARMS, named
from sim.catalogue import EVERY, MECHANISMS
from sim.delivery import Via
from sim.engine import Outcome, simulate
from sim.errors import InputError
from sim.records import Counters
from sim.scenario import Scenario, scenario_from

ARMS = tuple(arm for arm in named([EVERY]) if arm not in DEFAULT_ARMS)
"""`test_load` races the default ones, `test_race_brokers` those over a broker."""

SCENARIO = scenario_from(
    {
        "name": "arms",
        # Sparse events and frequent polls: with seed 25 six of thirteen are empty, three behind an empty one.
        "workload": {"kind": "poisson", "rate_per_s": 6, "payload_bytes": 400},
        "network": {"one_way": {"kind": "constant", "mean_s": 0.0003}},
        "webhook": {"retry": {"kind": "none"}},
        "polling": {"interval_s": 0.15},
        "reconciliation": {"interval_s": 0.5},
        "adaptive_polling": {"increase_s": 0.1, "min_interval_s": 0.1, "max_interval_s": 0.6},
        "long_polling": {"hold_s": 0.4},
        "receiver": {"service": {"kind": "constant", "mean_s": 0.001}, "acknowledge": "on_receipt"},
        "provider_api": {"service": {"kind": "constant", "mean_s": 0.001}},
        "run": {"duration_s": 2},
    }
)


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadResult]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["loadtest.runner.race"], "LEAD_IN_S", 0.7)
        out = tmp_path_factory.mktemp("race")
        yield race(SCENARIO, ARMS, seed=25, out=out, figures=False, lag_limit_s=10.0)


@pytest.fixture(scope="module")
def simulated(raced: LoadResult) -> Outcome:
    return simulate(raced.scenario, ARMS, seed=raced.seed)


def of(raced: LoadResult, arm: str) -> ArmRun:
    (run,) = raced.of(arm)
    return run


def counted(run: ArmRun) -> Any:
    """What the subscriber's process counted within the window."""
    return run.notes["counted_in_window"]["receiver"]


def predicted(simulated: Outcome, arm: str) -> Counters:
    (counters,) = simulated.counters[RACE_ARMS[arm].mechanism]
    return counters


def answers_with_news(run: ArmRun) -> int:
    """In the window: the events of one answer have one arrival, and no two answers have the same."""
    return len({at for at in run.records["first_attempt"] if at < SCENARIO.run.duration_s})


def test_every_mechanism_without_a_broker_has_an_arm() -> None:
    without_broker = [name for name, m in MECHANISMS.items() if m.via not in (Via.QUEUE, Via.LOG)]
    assert set(without_broker) <= RACE_ARMS.keys()
    assert all(arm.mechanism in MECHANISMS for arm in RACE_ARMS.values())
    assert set(without_broker) <= set(named([EVERY]))
    assert named(["polling", "webhook"]) == ("polling", "webhook")


@pytest.mark.parametrize("arm", ARMS)
def test_every_event_becomes_visible_exactly_once(raced: LoadResult, arm: str) -> None:
    run = of(raced, arm)
    assert run.ledger.mismatches() == []
    assert run.ledger.scheduled == run.ledger.acknowledged == run.ledger.visible == len(run.records)
    assert run.ledger.scheduled == 10
    assert (run.records["status"] == "delivered").all()
    # A poll may be before the webhook of an event, which then is a copy: in the model too.
    assert (run.records["copies"] <= (2 if arm == "webhook_reconciled" else 1)).all()
    assert run.ledger.duplicates == (run.records["copies"] - 1).sum()
    assert (run.records["attempts"] >= 1).all()
    assert (run.records["first_attempt"] <= run.records["visible"]).all()
    # A neighbour may have kept a process waiting; nothing else is amiss.
    assert [reason for reason in run.void if "was ready only" not in reason and "to say" not in reason] == []
    assert run.notes["statuses"]["receiver"]["handler_errors"] == 0
    assert run.metrics["receiver_cpu_s_per_1k"] > 0


@pytest.mark.parametrize("arm", ARMS)
def test_arms_and_model_see_the_same_events(raced: LoadResult, simulated: Outcome, arm: str) -> None:
    (deliveries,) = simulated.deliveries[RACE_ARMS[arm].mechanism]
    created = of(raced, arm).records["created"].to_numpy()
    assert created == pytest.approx(deliveries.created[0], abs=1e-6)


@pytest.mark.parametrize("arm", ARMS)
def test_records_say_which_way_events_came(raced: LoadResult, arm: str) -> None:
    via = set(of(raced, arm).records["via"])
    if arm == "webhook_reconciled":  # on a busy machine a poll may be first
        assert via <= {"webhook", "poll"}
    else:
        assert via == {MECHANISMS[arm].via.name.lower()}


def test_conditional_polls_fall_at_the_models_ticks(raced: LoadResult, simulated: Outcome) -> None:
    run, model = of(raced, "conditional_polling"), predicted(simulated, "conditional_polling")
    counts = counted(run)
    # Ticks are computed: only one at the window's edge may be counted on either side of it.
    assert abs(counts["requests"] + counts["skipped_ticks"] - model.requests) <= 1
    assert abs(counts["requests"] - counts["empty_responses"] - answers_with_news(run)) <= 1
    # A poll is some milliseconds late, more on a busy machine, and may find an event of the next.
    assert abs(counts["empty_responses"] - model.empty_responses) <= 3
    # An ETag is of one URL, and a page moves the cursor: only an empty answer behind an empty one is a 304.
    assert 0 < counts["not_modified"] < counts["empty_responses"]
    assert any("304" in told for told in run.notes["unlike_the_model"])
    assert run.metrics["not_modified_ratio"] == counts["not_modified"] / counts["requests"]


def test_adaptive_polls_keep_to_their_bounds(raced: LoadResult) -> None:
    run = of(raced, "adaptive_polling")
    counts, rule, duration_s = counted(run), SCENARIO.adaptive_polling, SCENARIO.run.duration_s
    # Which poll finds the event decides the next interval, so late polls part ways with the model's.
    assert 2 <= counts["requests"] <= duration_s / rule.min_interval_s + 1
    assert abs(counts["requests"] - counts["empty_responses"] - answers_with_news(run)) <= 1
    created, visible = (run.records[name].to_numpy() for name in ("created", "visible"))
    assert np.quantile(visible - created, 0.5) < rule.max_interval_s + 1


def test_long_polls_are_answered_by_events_or_by_the_hold(raced: LoadResult, simulated: Outcome) -> None:
    run, model = of(raced, "long_polling"), predicted(simulated, "long_polling")
    counts = counted(run)
    # One request is held at the window's edge.
    assert abs(counts["requests"] - 1 - counts["empty_responses"] - answers_with_news(run)) <= 1
    # An answer takes longer on a busy machine, and then carries more events.
    assert 0.6 * model.requests <= counts["requests"] <= model.requests + 2
    assert counts["timeouts"] == counts["errors"] == 0
    assert counts["connections_opened"] == counts["connections_peak"] == 1
    assert counts["connection_s"] == pytest.approx(SCENARIO.run.duration_s, abs=0.5)


def test_a_stream_is_one_request(raced: LoadResult, simulated: Outcome) -> None:
    counts, model = counted(of(raced, "streaming")), predicted(simulated, "streaming")
    assert counts["requests"] == model.requests == 1
    assert counts["connections_opened"] == model.connections_opened == 1
    assert counts["errors"] == counts["missed_events"] == 0
    assert counts["response_bytes"] > 400 * counts["events"]


def test_reconciliation_is_webhooks_and_a_poll_now_and_then(raced: LoadResult, simulated: Outcome) -> None:
    run, model = of(raced, "webhook_reconciled"), predicted(simulated, "webhook_reconciled")
    counts = counted(run)
    polls = counts["reconcile_requests"] + counts["reconcile_skipped_ticks"]
    assert abs(polls - (model.requests - run.ledger.scheduled)) <= 1
    # A webhook for each event, be it answered beyond the window's edge, and the polls.
    requests = run.metrics["requests_per_event"] * run.ledger.scheduled
    assert abs(requests - run.ledger.scheduled - counts["reconcile_requests"]) <= 1
    # What the polls carry and webhooks brought before is no copy.
    final = run.notes["statuses"]["receiver"]
    assert final["reconcile_known_events"] > 0
    assert run.records["attempts"].sum() == run.ledger.scheduled + final["reconcile_events"]


def test_a_thin_webhook_is_a_notice_and_a_fetch(raced: LoadResult, simulated: Outcome) -> None:
    run, model = of(raced, "thin_webhook"), predicted(simulated, "thin_webhook")
    assert model.requests == 2 * run.ledger.scheduled
    assert abs(run.metrics["requests_per_event"] * run.ledger.scheduled - model.requests) <= 2
    assert run.notes["statuses"]["receiver"]["fetch_events"] == run.ledger.scheduled
    assert run.notes["statuses"]["provider"]["fetches"] == run.ledger.scheduled
    assert (run.records["attempts"] == 2).all()


def test_what_an_arm_cannot_enact_is_refused_before_anything_starts(tmp_path: Path) -> None:
    def refused(arm: str, **values: object) -> str:
        scenario: Scenario = SCENARIO.with_values(**values)
        with pytest.raises(InputError) as caught:
            race(scenario, [arm], out=tmp_path)
        return str(caught.value)

    assert 'polling.schedule = "exponential"' in refused(
        "conditional_polling", **{"polling.schedule": "exponential"}
    )
    assert "streaming.replay must be true" in refused("streaming", **{"streaming.replay": False})
    assert "no arm is called 'pigeon'" in refused("pigeon")
    assert list(tmp_path.iterdir()) == []


def alone(arm: str, out: Path, **values: object) -> ArmRun:
    result = race(SCENARIO.with_values(**values), [arm], seed=25, out=out, figures=False, lag_limit_s=10.0)
    assert [reason for reason in result.void if "was ready only" not in reason] == []
    (run,) = result.runs
    return run


BUSY = {"receiver.workers": 1, "receiver.queue_limit": 0, "receiver.service.mean_s": 0.3}
"""With events 0.2 s apart many a webhook is refused with 503, and never sent again."""


@pytest.mark.slow
def test_reconciliation_brings_what_the_receiver_refused(tmp_path: Path) -> None:
    run = alone("webhook_reconciled", tmp_path, **BUSY)
    assert run.notes["statuses"]["provider"]["failed"] > 0
    assert run.ledger.visible == run.ledger.scheduled
    assert (run.ledger.given_up, run.ledger.pending, run.ledger.lost) == (0, 0, 0)
    assert {"webhook", "poll"} == set(run.records["via"])
    by_poll = run.records[run.records["via"] == "poll"]
    assert (by_poll["attempts"] == 2).all()  # a webhook in vain, and the poll


@pytest.mark.slow
def test_a_thin_webhook_whose_fetch_fails_for_good_is_lost_and_no_reason_to_void(tmp_path: Path) -> None:
    limited = {
        "provider_api.rate_limit": {"requests": 4, "per_s": 3600},
        "thin_webhook.max_attempts": 1,
    }
    run = alone("thin_webhook", tmp_path, **limited)
    assert run.ledger.visible == 4
    assert run.ledger.given_up == run.ledger.scheduled - 4
    assert run.metrics["lost_ratio"] == run.ledger.given_up / run.ledger.scheduled
    assert run.metrics["rejected_ratio"] > 0
