"""Protects the story told in class: it is the simulation's own, in order, and told once."""

from __future__ import annotations

import pytest

from sim.errors import InputError
from sim.narration import narrate
from sim.policies import partition_of
from sim.randomness import replication_seed
from sim.scenario import Scenario, scenario_from


def story_scenario() -> Scenario:
    constant = {"kind": "constant", "mean_s": 0.5}
    return scenario_from(
        {
            "name": "story",
            "workload": {"kind": "periodic", "rate_per_s": 0.1, "phase": "synchronised"},
            "network": {"one_way": constant},
            "webhook": {
                "timeout_s": 5.0,
                "retry": {"kind": "fixed", "base_s": 4.0, "max_attempts": 2},
            },
            "polling": {"interval_s": 5.0, "phase": "synchronised"},
            "receiver": {
                "workers": 1,
                "service": constant,
                "outages": [{"start_s": 10.0, "duration_s": 1.0}],
            },
            "provider_api": {"service": constant},
            "run": {"duration_s": 100.0},
        }
    )


def told(mechanism: str, events: int) -> list[tuple[float, str]]:
    return [(line.time_s, line.text) for line in narrate(story_scenario(), mechanism, events)]


def test_a_webhook_is_refused_and_comes_again() -> None:
    assert told("webhook", 2) == [
        (0.0, "event 0 is created"),
        (0.0, "POST event 0, attempt 1"),
        (1.0, "event 0 is visible"),
        (1.5, "event 0, attempt 1: acknowledged"),
        (10.0, "event 1 is created"),
        (10.0, "POST event 1, attempt 1"),
        (11.0, "event 1, attempt 1: connection refused"),
        (15.0, "POST event 1, attempt 2"),
        (16.0, "event 1 is visible"),
        (16.5, "event 1, attempt 2: acknowledged"),
    ]


def test_empty_polls_are_counted_not_repeated() -> None:
    story = told("polling", 1)
    assert story[:4] == [
        (0.0, "event 0 is created"),
        (0.0, "GET events after 0"),
        (1.5, "the answer carries 1 event"),
        (2.0, "event 0 is visible"),
    ]
    assert (10.0, "the poller is down and skips its poll") in story
    assert story[-1] == (96.5, "… the same 16 more times")


def test_an_endpoint_is_switched_off_and_a_dead_letter_found() -> None:
    scenario = story_scenario().with_values(
        **{
            "webhook.retry": {"kind": "none"},
            "webhook.disabling": {"consecutive_failures": 1, "re_enable_after_s": 15.0},
            "webhook.redelivery": {"every_s": 35.0},
        }
    )
    story = [(line.time_s, line.text) for line in narrate(scenario, "webhook", 3)]
    assert story[5:] == [
        (10.0, "POST event 1, attempt 1"),
        (11.0, "event 1, attempt 1: connection refused"),
        (11.0, "the provider switches the endpoint off"),
        (11.0, "the sender gives up on event 1"),
        (20.0, "event 2 is created"),
        (20.0, "event 2: not sent, the endpoint is off"),
        (20.0, "the sender gives up on event 2"),
        (35.0, "somebody finds event 1 among the dead letters"),
        (35.0, "POST event 1, attempt 2"),
        (35.0, "somebody finds event 2 among the dead letters"),
        (35.0, "POST event 2, attempt 1"),
        (36.0, "event 1 is visible"),
        (36.5, "event 2 is visible"),
        (36.5, "event 1, attempt 2: acknowledged"),
        (37.0, "event 2, attempt 1: acknowledged"),
    ]


def test_a_poll_brings_what_the_webhook_did_not() -> None:
    scenario = story_scenario().with_values(
        **{
            "webhook.retry": {"kind": "none"},
            "reconciliation": {"interval_s": 30.0, "phase": "synchronised"},
            "run.duration_s": 40.0,
        }
    )
    story = [(line.time_s, line.text) for line in narrate(scenario, "webhook_reconciled", 2)]
    assert story == [
        (0.0, "event 0 is created"),
        (0.0, "POST event 0, attempt 1"),
        (0.0, "GET events after 0"),
        (1.0, "event 0 is visible"),
        (1.5, "the answer carries 1 event"),
        (1.5, "event 0 is known already"),
        (1.5, "event 0, attempt 1: acknowledged"),
        (10.0, "event 1 is created"),
        (10.0, "POST event 1, attempt 1"),
        (11.0, "event 1, attempt 1: connection refused"),
        (11.0, "the sender gives up on event 1"),
        (30.0, "GET events after 1"),
        (31.5, "the answer carries 1 event"),
        (32.0, "event 1 is visible"),
    ]


def test_a_thin_webhook_is_followed_by_a_fetch() -> None:
    scenario = story_scenario().with_values(
        **{"provider_api.outages": [{"start_s": 0.5, "duration_s": 1.0, "kind": "error"}]}
    )
    assert [(line.time_s, line.text) for line in narrate(scenario, "thin_webhook", 1)] == [
        (0.0, "event 0 is created"),
        (0.0, "POST event 0, attempt 1"),
        (0.5, "GET event 0, fetch 1"),
        (1.0, "event 0, attempt 1: acknowledged"),
        (1.5, "event 0, fetch 1: answered 500"),
        (2.5, "GET event 0, fetch 2"),
        (4.0, "event 0, fetch 2: here it is"),
        (4.5, "event 0 is visible"),
    ]


@pytest.mark.parametrize("events", [0, -1])
def test_a_story_needs_events(events: int) -> None:
    with pytest.raises(InputError, match=f"events must be at least 1, got {events}"):
        narrate(story_scenario(), "webhook", events)


def brokered_scenario(**receiver: object) -> Scenario:
    document = story_scenario().model_dump()
    document["receiver"] |= receiver
    document["broker_push"] |= {"persist": {"kind": "constant", "mean_s": 0.0}}
    document["broker_push"]["reconnect"] |= {"base_s": 2.0, "jitter": "none"}
    document["broker_pull"] |= {"persist": {"kind": "constant", "mean_s": 0.0}, "rebalance_s": 2.0}
    document["run"]["duration_s"] = 20.0
    return scenario_from(document)


def test_a_queue_s_connection_drops_under_a_message() -> None:
    scenario = brokered_scenario(outages=[{"start_s": 1.25, "duration_s": 1.0}])
    assert [(line.time_s, line.text) for line in narrate(scenario, "broker_push", 1)] == [
        (0.0, "event 0 is created"),
        (0.0, "the consumer is connected"),
        (0.5, "the broker sends event 0, delivery 1"),
        (1.25, "the connection is lost"),
        (1.25, "event 0 is put back in the queue"),
        (1.5, "event 0 is visible"),
        (3.75, "the consumer is connected"),
        (3.75, "the broker sends event 0, delivery 2"),
        (4.75, "a duplicate of event 0 was served for nothing"),
        (5.25, "event 0 is acknowledged"),
    ]


def test_a_log_is_read_again_from_the_last_commit() -> None:
    scenario = brokered_scenario(outages=[{"start_s": 4.25, "duration_s": 1.0}])
    assert [(line.time_s, line.text) for line in narrate(scenario, "broker_pull", 1)] == [
        (0.0, "event 0 is created"),
        (0.0, "consumer 0 fetches from record 0"),
        (0.5, f"the broker stores event 0 in partition {partition_of_the_event(scenario)}"),
        (1.0, "consumer 0 receives 1 record"),
        (1.5, "event 0 is visible"),
        (1.5, "consumer 0 fetches from record 1"),
        (3.0, "consumer 0 finds nothing, and goes on asking"),
        (4.25, "consumer 0 goes down, and will start again from record 0"),
        (7.25, "consumer 0 fetches from record 0"),
        (8.25, "consumer 0 receives 1 record"),
        (8.75, "a duplicate of event 0 was served for nothing"),
        (8.75, "consumer 0 fetches from record 1"),
        (10.25, "consumer 0 finds nothing, and goes on asking"),
        (13.25, "consumer 0 commits: all before record 1 is done"),
    ]


def partition_of_the_event(scenario: Scenario) -> int:
    return partition_of(scenario.broker_pull.partitions, replication_seed(1, 0), 0, 0)
