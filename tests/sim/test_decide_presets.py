"""Protects the advice on the five use cases: what an architect would say of each, by its reasons and figures.

Slower than most: each use case is advised on once, with few replications, and looked at from many sides.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from sim.decide.advice import Advice, Choice, Rejected, advise
from sim.decide.documents import alternatives_table, candidates_table, choices_table, document
from sim.decide.ranking import REDELIVERED
from sim.decide.reasons import Reason
from sim.decide.telling import finding, markdown
from sim.scenario import load_scenario

USE_CASES = ("chat-notification", "payment-processing", "ci-cd-pipeline", "shop-orders", "iot-alerts")


@cache
def advice(name: str, *require: str, **options: Any) -> Advice:
    """Once each: with more replications where single crashes weigh, and what takes long left out."""
    replications = 10 if name in {"chat-notification", "iot-alerts"} else 5
    if name == "iot-alerts":
        options["mechanisms"] = ("webhook", "webhook_reconciled", "polling", "long_polling", "streaming")
    return advise(
        load_scenario(name), require, replications=replications, seed=11, executor="threads:1", **options
    )


def choice(of: Advice, label: str) -> Choice:
    (found,) = [each for each in of.choices if each.candidate.label == label]
    return found


def rejected(of: Advice, label: str) -> Rejected:
    (found,) = [each for each in of.rejected if each.label == label]
    return found


def reason(of: Choice | Rejected, kind: str, metric: str | None = None) -> Reason:
    (found,) = [r for r in of.reasons if r.kind == kind and (metric is None or r.metric == metric)]
    return found


def labels(of: Advice) -> list[str]:
    return [each.candidate.label for each in of.choices]


def number(value: float | str | None) -> float:
    assert isinstance(value, float)
    return value


# --- of each -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", USE_CASES)
def test_every_choice_keeps_every_requirement_on_fresh_numbers(name: str) -> None:
    found = advice(name)
    assert found.choices, finding(found)
    for each in found.choices:
        assert each.candidate.evaluation.fresh
        for requirement in found.requirements:
            met = reason(each, "met", requirement.metric)
            assert requirement.bound.met_by(number(met.value))
        assert reason(each, "confirmed").value == float(len(each.candidate.evaluation.runs))
    for missing in found.rejected:
        assert missing.reasons, "nothing is rejected without a reason"
        if missing.candidate is not None:
            assert any(r.kind in {"missed", "conflict"} for r in missing.reasons)


@pytest.mark.parametrize("name", USE_CASES[:4])
def test_every_mechanism_is_chosen_or_rejected(name: str) -> None:
    found = advice(name)
    told = {each.candidate.mechanism for each in found.choices} | {each.label for each in found.rejected}
    assert len(told | {REDELIVERED}) == 11


@pytest.mark.parametrize("name", USE_CASES)
def test_the_same_is_told_in_words_tables_and_a_document(name: str) -> None:
    found = advice(name)
    whole = document(found)
    assert [each["label"] for each in whole["choices"]] == labels(found)
    assert whole["choices"][0]["reasons"][0]["kind"] == "met"
    table = choices_table(found)
    assert list(dict.fromkeys(table["label"])) == labels(found)
    run = candidates_table(found)
    assert len(run) == len(found.evaluations)
    assert run.loc[run["fresh"], "meets"].any()
    drawn = alternatives_table(found)
    assert list(drawn["meets"][: len(found.choices)]) == [True] * len(found.choices)
    assert list(drawn["on_front"][: len(found.choices)]) == [each.on_front for each in found.choices]
    assert not drawn["on_front"][len(found.choices) :].any()
    assert all(label.replace("_", "\\_") in markdown(found) for label in labels(found))


# --- chat: Slack ---------------------------------------------------------------------------------------


def test_chat_reconciles_because_slack_gives_up_after_six_minutes() -> None:
    found = advice("chat-notification")
    assert labels(found)[0] == "webhook_reconciled"
    webhook = rejected(found, "webhook")
    assert number(reason(webhook, "missed", "lost_ratio").value) > 0
    assert reason(webhook, "policy_fixed").value == "slack"
    first = found.choices[0]
    copies = reason(first, "duplicates")
    assert number(copies.bound) < number(copies.value), "acknowledging on receipt spares copies"


def test_chat_polls_within_the_rate_limit_when_it_polls() -> None:
    found = advice("chat-notification")
    polling = choice(found, "polling")
    interval_s = polling.candidate.settings["polling.interval_s"]
    assert 1.2 <= interval_s < 5.0, "Tier 3 allows 50 a minute; every five seconds is too seldom"
    assert number(reason(polling, "longest").bound) > interval_s
    assert number(reason(polling, "waste").value) > 0.8, "nearly all polls are in vain"


def test_chat_behind_a_firewall_polls_or_uses_socket_mode() -> None:
    """Socket Mode is published, but forgets what happens while the bot is away."""
    found = advice("chat-notification", "latency_p50_s<2", "lost_ratio<=0", no_inbound=True)
    assert set(labels(found)) == {"polling", "adaptive_polling"}
    for barred in ("webhook", "webhook_reconciled", "thin_webhook"):
        assert reason(rejected(found, barred), "no_inbound")
    streaming = rejected(found, "streaming")
    assert number(reason(streaming, "missed", "lost_ratio").value) > 0.01
    assert reason(streaming, "offered").value == "slack"
    assert reason(rejected(found, "long_polling"), "not_offered").value == "slack"
    tolerant = advice("chat-notification", "latency_p50_s<2", "lost_ratio<0.2", no_inbound=True)
    assert labels(tolerant)[0] == "streaming", "where a loss can be borne"


# --- payments: Stripe ----------------------------------------------------------------------------------


def test_payments_that_can_wait_a_minute_are_polled_for() -> None:
    found = advice("payment-processing")
    first = found.choices[0]
    assert first.candidate.label == "polling"
    assert first.candidate.settings["polling.interval_s"] == 60.0
    assert (reason(first, "longest").value, reason(first, "longest").bound) == (60.0, 90.0)
    traded = {each["metric"]: each["ratio"] for each in found.trade_offs}
    assert traded["latency_p50_s"] < 0.1
    assert traded["requests_per_event"] > 5
    assert reason(choice(found, "webhook"), "policy_suffices").value == 20.0
    assert "broker_push" in labels(found), "EventBridge"
    assert any(flip.key == "receiver.outages" for flip in found.sensitivity.flips)


def test_payments_that_cannot_wait_are_pushed() -> None:
    found = advice("payment-processing", "latency_p95_s<2", "lost_ratio<1e-4")
    assert labels(found)[0] == "webhook"
    polling = choice(found, "polling")
    assert not polling.on_front
    assert reason(polling, "dominated").value == "webhook"
    copies = reason(found.choices[0], "duplicates")
    assert number(copies.bound) < number(copies.value)


# --- CI: GitHub ----------------------------------------------------------------------------------------


def test_a_pipeline_reconciles_because_github_never_tries_again() -> None:
    found = advice("ci-cd-pipeline")
    assert labels(found) == ["webhook_reconciled", REDELIVERED]
    webhook = rejected(found, "webhook")
    assert number(reason(webhook, "missed", "lost_ratio").value) > 0.01
    assert reason(webhook, "policy_fixed").value == "github"
    by_hand = choice(found, REDELIVERED)
    assert reason(by_hand, "by_hand").value == 21_600.0
    assert number(reason(by_hand, "tail").value) > number(reason(found.choices[0], "tail").value)
    assert reason(found.choices[0], "diminishing")


def test_a_pipeline_that_cannot_be_called_cannot_be_on_time() -> None:
    """The feed is half a minute late and wants to be asked once a minute: 30 + 0.95 · 60 s."""
    found = advice("ci-cd-pipeline", no_inbound=True)
    assert not found.choices
    nearest = found.rejected[0]
    assert nearest.label in {"polling", "conditional_polling", "adaptive_polling"}
    assert 85.0 < number(reason(nearest, "missed", "latency_p95_s").value) < 95.0
    assert reason(nearest, "provider_interval").value == 60.0
    assert finding(found).startswith("Nothing meets latency_p95_s<=60")


# --- shop: Shopify -------------------------------------------------------------------------------------


def test_orders_that_may_take_five_seconds_are_polled_for_every_five() -> None:
    found = advice("shop-orders")
    first = found.choices[0]
    assert first.candidate.settings == {"polling.interval_s": 5.0}
    assert (reason(first, "longest").value, reason(first, "longest").bound) == (5.0, 6.0)
    assert found.alternative == "webhook"
    traded = {each["metric"]: each["ratio"] for each in found.trade_offs}
    assert traded["latency_p95_s"] < 0.05
    assert 2.0 < traded["requests_per_event"] < 3.0, "λT = 2.5 events a poll"
    webhook = choice(found, "webhook")
    assert reason(webhook, "policy_suffices").value == 9.0
    assert reason(webhook, "workers").value == 1.0
    assert reason(choice(found, "broker_push"), "offered").value == "shopify"
    assert reason(rejected(found, "streaming"), "not_offered").value == "shopify"


def test_orders_that_must_be_there_at_once_are_pushed() -> None:
    found = advice("shop-orders", "latency_p95_s<0.5", "requests_per_event<1.5")
    assert labels(found)[0] == "webhook"
    polling = rejected(found, "polling")
    assert reason(polling, "conflict"), "often enough is too often"


# --- gateways: a platform of one's own -------------------------------------------------------------------


def test_ten_thousand_gateways_keep_a_connection_or_are_called() -> None:
    found = advice("iot-alerts")
    assert found.scale.divisor == 8
    assert set(labels(found)) >= {"streaming", "webhook", "webhook_reconciled"}
    assert labels(found)[0] == "streaming"
    assert reason(found.choices[0], "needs_provider")
    assert found.alternative == "webhook"
    traded = {each["metric"]: each for each in found.trade_offs}
    assert traded["connections_mean"]["first"] > 9_000
    assert traded["connections_mean"]["second"] < 500


def test_ten_thousand_gateways_cannot_all_ask_often_enough() -> None:
    polling = rejected(advice("iot-alerts"), "polling")
    assert reason(polling, "api_capacity").value == 2.5
    assert number(reason(polling, "missed", "latency_p95_s").value) > 2.0
    assert number(reason(polling, "waste").value) > 0.9
    assert number(reason(polling, "waste").bound) > 3e8, "requests a day, of all 10,000"
