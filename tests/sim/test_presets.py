"""Protects presets: each number has its source, a scenario's own values win, and every use case runs."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from sim.catalogue import MECHANISMS
from sim.engine import run_once
from sim.errors import ScenarioError
from sim.scenario import PRESET_DIR, Scenario, load_scenario, part_names, preset_names, scenario_from
from sim.scenario.presets import PARTS, load_part
from sim.workload import event_times

MINIMAL: dict[str, Any] = {
    "name": "mine",
    "workload": {"kind": "poisson", "rate_per_s": 1.0},
    "run": {"duration_s": 100.0},
}
ABOUT = {"name", "title", "description", "provider", "poller", "sources"}
PART_NAMES = [(kind, name) for kind in PARTS for name in part_names(kind)]
FILES = sorted(PRESET_DIR.rglob("*.toml"))


def values_of(table: dict[str, Any], path: str = "") -> Iterator[str]:
    """The dotted keys of what a file states, told apart independently of the code under test."""
    for key, value in table.items():
        if path == "" and key in ABOUT:
            continue
        if isinstance(value, dict):
            yield from values_of(value, f"{path}{key}.")
        else:
            yield f"{path}{key}"


def mine(**tables: Any) -> Scenario:
    return scenario_from(MINIMAL | tables)


def value(document: dict[str, Any] | Scenario, dotted: str) -> Any:
    found: Any = document if isinstance(document, dict) else document.model_dump()
    for key in dotted.split("."):
        found = found[key]
    return found


# --- the files -------------------------------------------------------------------------------------


def test_no_name_is_taken_twice() -> None:
    names = [*preset_names(), *(name for _, name in PART_NAMES)]
    assert len(set(names)) == len(names)
    assert {
        "github", "stripe", "slack", "shopify", "twilio", "mailchimp", "mailchimp-transactional",
        "standard-webhooks", "svix",
    } == set(part_names("provider"))  # fmt: skip
    assert {"zapier", "zapier-team", "ifttt", "ifttt-pro"} == set(part_names("poller"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_value_of_a_preset_has_a_source_and_no_source_is_idle(path: Any) -> None:
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    assert document["name"] == path.stem
    assert document["title"]
    assert document["description"]
    stated, sources = set(values_of(document)), document["sources"]
    for dotted in stated:
        holders = [key for key in sources if f"{dotted}.".startswith(f"{key}.")]
        assert holders, f"{dotted} has no source"
    for key, why in sources.items():
        assert any(f"{dotted}.".startswith(f"{key}.") for dotted in stated), f"{key} states nothing"
        assert set(why) <= {"source", "assumed"}
        assert why["source"]
        assert why.get("assumed", True) is True, "assumed = false is said by leaving it out"


@pytest.mark.parametrize(("kind", "name"), PART_NAMES, ids=[name for _, name in PART_NAMES])
def test_every_part_makes_a_minimal_scenario(kind: str, name: str) -> None:
    scenario = mine(**{kind: name})
    part = load_part(kind, name)
    for dotted in values_of(part):
        given = value(part, dotted)
        assert value(scenario, dotted) == (tuple(given) if isinstance(given, list) else given)
    assert set(scenario.sources) == set(values_of(part)), "a source for each value, none for a default"


PUBLISHED = [
    ("github", "webhook.timeout_s", 10.0),
    ("github", "webhook.retry.kind", "none"),
    ("github", "webhook.redelivery.within_s", 3 * 86_400.0),
    ("github", "polling.interval_s", 60.0),
    ("github", "polling.page_size", 100),
    ("github", "provider_api.rate_limit.requests", 5000),
    ("github", "provider_api.rate_limit.per_s", 3600.0),
    ("github", "provider_api.rate_limit.not_modified_free", True),
    ("github", "provider_api.retention.events", 300),
    ("stripe", "webhook.retry.max_duration_s", 3 * 86_400.0),
    ("stripe", "receiver.signature_tolerance_s", 300.0),
    ("stripe", "provider_api.retention.seconds", 30 * 86_400.0),
    ("stripe", "provider_api.rate_limit.requests", 100),
    ("stripe", "provider_api.rate_limit.per_s", 1.0),
    ("slack", "webhook.timeout_s", 3.0),
    ("slack", "webhook.retry.gaps_s", (0.0, 60.0, 300.0)),
    ("slack", "receiver.signature_tolerance_s", 300.0),
    ("slack", "provider_api.rate_limit.requests", 50),
    ("slack", "provider_api.rate_limit.per_s", 60.0),
    ("shopify", "webhook.timeout_s", 5.0),
    ("shopify", "webhook.retry.max_attempts", 9),
    ("shopify", "workload.payload_bytes", 7000),
    ("twilio", "webhook.timeout_s", 15.0),
    ("twilio", "webhook.retry.max_attempts", 2),
    ("twilio", "polling.page_size", 50),
    ("mailchimp", "webhook.timeout_s", 10.0),
    ("mailchimp", "polling.page_size", 1000),
    (
        "standard-webhooks", "webhook.retry.gaps_s",
        (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0),
    ),
    ("standard-webhooks", "receiver.signature_tolerance_s", 300.0),
    ("svix", "webhook.timeout_s", 15.0),
    ("svix", "webhook.retry.gaps_s", (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 36_000.0)),
    ("svix", "webhook.retry.jitter", "proportional"),
    ("svix", "webhook.retry.spread", 0.2),
    ("svix", "webhook.disabling.failing_for_s", 5 * 86_400.0),
    ("zapier", "polling.interval_s", 900.0),
    ("zapier-team", "polling.interval_s", 60.0),
    ("ifttt", "polling.interval_s", 3600.0),
    ("ifttt-pro", "polling.interval_s", 300.0),
]  # fmt: skip

UNPUBLISHED = [
    ("github", "webhook.redelivery.every_s"),
    ("github", "provider_api.feed_lag_s"),
    ("stripe", "workload.payload_bytes"),
    ("stripe", "webhook.timeout_s"),
    ("stripe", "webhook.retry.base_s"),
    ("stripe", "webhook.retry.factor"),
    ("stripe", "webhook.retry.max_attempts"),
    ("slack", "workload.payload_bytes"),
    ("shopify", "webhook.retry.base_s"),
    ("shopify", "webhook.retry.factor"),
    ("shopify", "webhook.disabling.failing_for_s"),
    ("twilio", "workload.payload_bytes"),
    ("twilio", "webhook.retry.base_s"),
    ("mailchimp", "webhook.retry.gaps_s"),
    ("mailchimp-transactional", "webhook.timeout_s"),
    ("mailchimp-transactional", "webhook.retry.base_s"),
    ("standard-webhooks", "webhook.timeout_s"),
    ("standard-webhooks", "webhook.retry.spread"),
]


def assumed(sources: dict[str, Any], dotted: str) -> bool:
    (nearest, *_) = sorted((k for k in sources if f"{dotted}.".startswith(f"{k}.")), key=len, reverse=True)
    return bool(sources[nearest].assumed)


def with_part(name: str) -> Scenario:
    (kind,) = [kind for kind, known in PART_NAMES if known == name]
    return mine(**{kind: name})


@pytest.mark.parametrize(("name", "dotted", "expected"), PUBLISHED, ids=[f"{n}:{k}" for n, k, _ in PUBLISHED])
def test_what_is_published_is_stated_as_such(name: str, dotted: str, expected: Any) -> None:
    scenario = with_part(name)
    assert value(scenario, dotted) == expected
    assert not assumed(scenario.sources, dotted)


@pytest.mark.parametrize(("name", "dotted"), UNPUBLISHED, ids=[f"{n}:{k}" for n, k in UNPUBLISHED])
def test_what_is_not_published_is_said_to_be_assumed(name: str, dotted: str) -> None:
    assert assumed(with_part(name).sources, dotted)


def test_schedules_add_up_to_what_is_said_of_them() -> None:
    assert sum(with_part("svix").webhook.retry.gaps_s) == 27 * 3600 + 35 * 60 + 5
    assert sum(with_part("standard-webhooks").webhook.retry.gaps_s) == 75 * 3600 + 35 * 60 + 5
    assert with_part("svix").webhook.retry.attempts_allowed == 8
    assert with_part("standard-webhooks").webhook.retry.attempts_allowed == 10
    assert sum(with_part("mailchimp").webhook.retry.gaps_s) == 75 * 60
    shopify = with_part("shopify").webhook.retry
    gaps = [min(shopify.cap_s, shopify.base_s * shopify.factor**k) for k in range(8)]
    assert sum(gaps) == 14_280.0  # 3 h 58 min, within the four hours
    stripe = with_part("stripe").webhook.retry
    assert stripe.max_attempts is not None
    gaps = [min(stripe.cap_s, stripe.base_s * stripe.factor**k) for k in range(stripe.max_attempts - 1)]
    assert sum(gaps) > 3 * 86_400.0  # three days end it, not the count


# --- laying one upon another ------------------------------------------------------------------------


def test_an_own_value_wins_and_takes_the_source_with_it() -> None:
    scenario = mine(provider="slack", webhook={"timeout_s": 2.0})
    assert scenario.webhook.timeout_s == 2.0
    assert scenario.webhook.retry.gaps_s == (0.0, 60.0, 300.0)
    assert "webhook.timeout_s" not in scenario.sources
    assert {"webhook.retry.kind", "webhook.retry.gaps_s"} <= set(scenario.sources)


def test_a_source_of_a_table_speaks_of_what_is_stated_there_and_of_nothing_else() -> None:
    scenario = mine(
        provider="slack",
        webhook={"max_in_flight": 7},
        receiver={"workers": 2, "service": {"kind": "constant", "mean_s": 0.1}},
        sources={
            "webhook": {"source": "ours"},
            "receiver": {"source": "ours"},
            "receiver.service": {"source": "measured"},
            "webhook.retry.gaps_s": {"source": "seen"},
        },
    )
    said = {key: why.source for key, why in scenario.sources.items()}
    assert said["webhook.max_in_flight"] == "ours"
    assert said["webhook.timeout_s"].startswith("Slack")
    assert said["webhook.retry.gaps_s"] == "seen"
    assert (said["receiver.workers"], said["receiver.service"]) == ("ours", "measured")
    assert said["receiver.signature_tolerance_s"].startswith("python-slack-sdk")
    assert not {"webhook", "receiver", "receiver.queue_limit", "receiver.service.mean_s"} & set(said)


def test_a_sources_key_may_be_written_without_quotes() -> None:
    text = (
        '[webhook]\ntimeout_s = 2.0\n[sources]\nwebhook.timeout_s = { source = "measured", assumed = true }\n'
    )
    scenario = mine(**tomllib.loads(text))
    assert scenario.sources["webhook.timeout_s"].assumed


def test_an_own_source_stands_beside_the_inherited_ones() -> None:
    scenario = mine(
        provider="slack",
        webhook={"timeout_s": 2.0},
        sources={"webhook.timeout_s": {"source": "measured"}},
    )
    assert scenario.sources["webhook.timeout_s"].source == "measured"
    assert scenario.sources["webhook.retry.gaps_s"].source.startswith("Slack")


def test_a_table_of_a_kind_replaces_one_of_a_kind_wholly() -> None:
    scenario = mine(provider="svix", webhook={"retry": {"kind": "fixed", "max_attempts": 3}})
    retry = scenario.webhook.retry
    assert (retry.kind, retry.gaps_s, retry.jitter) == ("fixed", (), "none")
    assert not [key for key in scenario.sources if key.startswith("webhook.retry")]


def test_values_that_hold_for_any_kind_are_inherited() -> None:
    assert mine(provider="shopify").workload.payload_bytes == 7000
    own = mine(provider="shopify", workload={"kind": "poisson", "rate_per_s": 1.0, "payload_bytes": 50})
    assert own.workload.payload_bytes == 50
    assert "workload.payload_bytes" not in own.sources


def test_a_table_replaced_in_part_keeps_the_source_of_the_rest() -> None:
    scenario = mine(provider="slack", provider_api={"rate_limit": {"requests": 1}})
    assert scenario.provider_api.rate_limit is not None
    assert (scenario.provider_api.rate_limit.requests, scenario.provider_api.rate_limit.per_s) == (1, 60.0)
    assert "provider_api.rate_limit.requests" not in scenario.sources
    assert scenario.sources["provider_api.rate_limit.per_s"].source.startswith("Slack")
    jittered = mine(provider="slack", webhook={"retry": {"jitter": "full"}})
    assert jittered.webhook.retry.gaps_s == (0.0, 60.0, 300.0)
    assert {key for key in jittered.sources if key.startswith("webhook.retry")} == {
        "webhook.retry.kind",
        "webhook.retry.gaps_s",
    }


def test_retention_is_counted_one_way() -> None:
    scenario = mine(provider="github", provider_api={"retention": {"seconds": 60.0}})
    assert scenario.provider_api.retention is not None
    assert (scenario.provider_api.retention.events, scenario.provider_api.retention.seconds) == (None, 60.0)
    assert not [key for key in scenario.sources if key.startswith("provider_api.retention")]


def test_false_takes_a_presets_value_away() -> None:
    scenario = mine(
        provider="github",
        webhook={"redelivery": False, "timeout_s": False},
        provider_api={"rate_limit": False},
    )
    assert scenario.webhook.redelivery is None
    assert scenario.webhook.timeout_s == mine().webhook.timeout_s
    assert scenario.provider_api.rate_limit is None
    assert not [
        key for key in scenario.sources if key.startswith(("webhook.redelivery", "provider_api.rate"))
    ]
    with pytest.raises(ScenarioError, match=r"provider_api\.rate_limit"):
        mine(provider_api={"rate_limit": False})


def test_the_poller_decides_how_often_to_ask() -> None:
    scenario = mine(provider="github", poller="zapier")
    assert (scenario.polling.interval_s, scenario.polling.page_size) == (900.0, 100)
    assert scenario.sources["polling.interval_s"].source.startswith("Zapier")
    assert scenario.sources["polling.page_size"].source.startswith("GitHub")
    own = mine(provider="github", poller="zapier", polling={"interval_s": 7.0})
    assert own.polling.interval_s == 7.0
    assert "polling.interval_s" not in own.sources


def test_a_preset_is_not_changed_by_its_use() -> None:
    before = json.dumps(load_part("provider", "github"))
    mine(provider="github", provider_api={"rate_limit": {"requests": 1}})
    load_part("provider", "github")["webhook"]["timeout_s"] = 1.0
    assert json.dumps(load_part("provider", "github")) == before


def test_retries_alone_are_borrowed_with_their_sources() -> None:
    scenario = mine(provider="slack", webhook={"retry": {"preset": "svix", "spread": 0.5}})
    retry = scenario.webhook.retry
    assert (retry.gaps_s[:2], retry.jitter, retry.spread) == ((5.0, 300.0), "proportional", 0.5)
    assert scenario.webhook.timeout_s == 3.0
    assert scenario.webhook.disabling is None
    assert scenario.sources["webhook.retry.gaps_s"].source.startswith("Svix")
    assert "webhook.retry.spread" not in scenario.sources
    assert mine().with_values(**{"webhook.retry": {"preset": "github"}}).webhook.retry.kind == "none"


WRONG = [
    (
        {"provider": "shopfy"},
        "scenario: provider: none is called 'shopfy'; did you mean 'shopify'? known: github",
    ),
    ({"poller": "zapier-fast"}, "poller: none is called 'zapier-fast'; did you mean 'zapier-team'?"),
    ({"provider": 5}, "provider: Input should be a valid string, got 5"),
    ({"provider": "zapier"}, "provider: none is called 'zapier'"),
    (
        {"webhook": {"retry": {"preset": "strip"}}},
        "webhook.retry.preset: none is called 'strip'; did you mean 'stripe'?",
    ),
    ({"webhook": {"retry": {"preset": 3}}}, "webhook.retry.preset: Input should be a provider's name, got 3"),
    (
        {"webhook": {"retry": {"preset": "stripe", "kind": "fixed"}}},
        "webhook.retry: state preset or kind, not both, got 'stripe' and 'fixed'",
    ),
    (
        {"sources": {"webhook.timout_s": {"source": "x"}}},
        "'webhook.timout_s' names no value of this scenario; did you mean 'webhook.timeout_s'?",
    ),
    ({"sources": {"provider_api.rate_limit": {"source": "x"}}}, "'provider_api.rate_limit' names no value"),
    (
        {"provider": "slack", "sources": {"provider_api": {"source": "x"}}},
        "'provider_api' names a table in which no value is left to speak of",
    ),
    ({"sources": {"title": {"source": "x"}}}, "'title' names no value"),
    ({"provider": "slack", "sources": 3}, "sources: Input should be a valid dictionary"),
    ({"sources": {"webhook.timeout_s": {"assumed": True}}}, "source: Field required"),
]


@pytest.mark.parametrize(("tables", "message"), WRONG, ids=[message[:50] for _, message in WRONG])
def test_what_is_wrong_is_named(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError) as raised:
        mine(**tables)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_part_is_not_a_scenario() -> None:
    with pytest.raises(ScenarioError, match="'github' is a provider, a part of a scenario: say provider = "):
        load_scenario("github")


# --- changing and keeping ---------------------------------------------------------------------------


def test_a_changed_value_loses_its_source_and_no_other_does() -> None:
    scenario = mine(provider="slack")
    changed = scenario.with_values(**{"webhook.timeout_s": 2.0, "provider_api.rate_limit.requests": 1})
    assert set(scenario.sources) - set(changed.sources) == {
        "webhook.timeout_s",
        "provider_api.rate_limit.requests",
    }
    assert set(changed.sources) < set(scenario.sources)
    whole = scenario.with_values(webhook={"timeout_s": 2.0})
    assert not [key for key in whole.sources if key.startswith("webhook.timeout")]
    gone = scenario.with_values(**{"provider_api.rate_limit": None})
    assert gone.provider_api.rate_limit is None
    assert not [key for key in gone.sources if key.startswith("provider_api")]
    measured = mine(
        network={"one_way": {"kind": "constant", "mean_s": 0.1}},
        sources={"network": {"source": "measured"}},
    )
    assert set(measured.sources) == {"network.one_way"}
    assert measured.with_values(**{"network.one_way.mean_s": 0.2}).sources == {}
    assert scenario.with_values(sources={}).sources == {}


def test_a_preset_is_not_exchanged_later() -> None:
    with pytest.raises(ScenarioError, match="provider: a preset lies beneath a scenario's own values"):
        mine(provider="slack").with_values(provider="github")


@pytest.mark.parametrize("name", preset_names())
def test_a_use_case_survives_its_own_toml_and_its_own_record(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.sources
    assert scenario_from(tomllib.loads(scenario.to_toml())) == scenario
    assert scenario_from(json.loads(json.dumps(scenario.model_dump(mode="json")))) == scenario


def test_what_was_taken_away_stays_away() -> None:
    """A preset's value that a scenario does without does not come back when the scenario is read again."""
    scenario = mine(provider="svix").with_values(**{"webhook.disabling": None})
    assert "disabling = false" in scenario.to_toml()
    assert scenario_from(tomllib.loads(scenario.to_toml())) == scenario
    assert scenario_from(scenario.model_dump(mode="json")) == scenario


def test_the_schema_knows_borrowed_retries() -> None:
    retry = Scenario.model_json_schema()["$defs"]["Retry"]
    assert retry["properties"]["preset"]["enum"] == part_names("provider")
    assert retry["anyOf"] == [{"required": ["kind"]}, {"required": ["preset"]}]


# --- the use cases run ------------------------------------------------------------------------------

SHORTENED: dict[str, dict[str, Any]] = {
    "chat-notification": {"run.duration_s": 7200.0},
    "payment-processing": {
        "run.duration_s": 4000.0,
        "run.drain_s": 2000.0,
        "receiver.outages": [
            {"start_s": 500.0, "duration_s": 300.0, "kind": "refuse"},
            {"start_s": 2000.0, "duration_s": 500.0, "kind": "slow", "slowdown": 200.0},
        ],
    },
    "ci-cd-pipeline": {"run.duration_s": 140_000.0},
    "iot-alerts": {"run.duration_s": 12.0, "run.drain_s": 8.0, "subscribers.count": 400},
    "shop-orders": {"run.duration_s": 1500.0, "run.drain_s": 600.0},
    "shop-orders-rush": {},
    "doorbell": {},
}


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("name", preset_names())
def test_every_use_case_runs_alike_in_both_engines(name: str, mechanism: str) -> None:
    scenario = load_scenario(name).with_values(**SHORTENED[name])
    created = event_times(scenario, seed=4)
    assert len(created) > 0
    fast = run_once(scenario, mechanism, created, 4, "fast")
    reference = run_once(scenario, mechanism, created, 4, "simpy")
    np.testing.assert_array_equal(fast.deliveries.visible, reference.deliveries.visible)
    np.testing.assert_array_equal(fast.deliveries.status, reference.deliveries.status)
    assert np.isfinite(fast.deliveries.visible).any()
