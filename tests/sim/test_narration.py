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
