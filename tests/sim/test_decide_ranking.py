"""Protects the order of recommendation: the front first, then what it costs, then what is simple."""

from __future__ import annotations

import pytest

from sim.catalogue import MECHANISMS
from sim.decide.ranking import (
    FAMILIES,
    REDELIVERED,
    SIMPLICITY,
    alternative,
    dominated_by,
    front_metrics,
    ranked,
    trade_offs,
)
from sim.decide.tuning import Candidate
from tests.sim.deciding import bounds, made_up, small

METRICS = ("latency_p95_s", "requests_per_event", "lost_ratio")


def candidate(mechanism: str, p95: float, requests: float, lost: float = 0.0, label: str = "") -> Candidate:
    evaluation = made_up(mechanism, latency_p95_s=p95, requests_per_event=requests, lost_ratio=lost)
    return Candidate(label or mechanism, evaluation)


def order(*candidates: Candidate) -> list[str]:
    return [each.label for each, _ in ranked(candidates, METRICS)]


def test_every_mechanism_has_its_place_and_kind() -> None:
    assert set(SIMPLICITY) == {*MECHANISMS, REDELIVERED}
    assert set(FAMILIES) == set(MECHANISMS)


def test_what_is_beaten_comes_last_and_says_by_whom() -> None:
    webhook, polling = candidate("webhook", 0.1, 1.0), candidate("polling", 5.0, 1.5)
    assert order(polling, webhook) == ["webhook", "polling"]
    reason = dominated_by(polling, [polling, webhook], METRICS)
    assert reason is not None
    assert (reason.kind, reason.value) == ("dominated", "webhook")
    assert dominated_by(webhook, [polling, webhook], METRICS) is None


def test_on_the_front_the_cheaper_comes_first() -> None:
    assert order(candidate("webhook", 0.1, 1.0), candidate("polling", 5.0, 0.4)) == ["polling", "webhook"]


def test_what_costs_about_the_same_is_ordered_by_simplicity() -> None:
    level = [candidate("broker_push", 0.3, 1.0), candidate("webhook", 0.2, 1.2)]
    assert order(*level) == ["webhook", "broker_push"]
    apart = [candidate("broker_push", 0.3, 1.0), candidate("webhook", 0.2, 1.3)]
    assert order(*apart) == ["broker_push", "webhook"]


def test_levels_are_counted_from_the_cheapest_so_that_they_do_not_creep() -> None:
    """Each costs a fifth more than the one before; the third is not level with the first."""
    names = ["broker_pull", "broker_push", "polling"]
    costs = [1.0, 1.2, 1.44]
    assert order(*(candidate(n, 3.0 - c, c) for n, c in zip(names, costs, strict=True))) == [
        "broker_push",
        "broker_pull",
        "polling",
    ]


def test_redelivery_by_hand_stands_behind_reconciliation() -> None:
    by_hand = candidate("webhook", 0.9, 1.05, label=REDELIVERED)
    assert order(by_hand, candidate("webhook_reconciled", 1.0, 1.01)) == ["webhook_reconciled", REDELIVERED]


@pytest.mark.parametrize(
    ("asked", "tables", "expected"),
    [
        ((), {}, METRICS),
        (("latency_p99_s<3",), {}, ("latency_p99_s", "requests_per_event", "lost_ratio")),
        (("latency_p99_s>3",), {}, METRICS),
        (("on_time_ratio>0.9",), {}, ("on_time_ratio", "requests_per_event", "lost_ratio")),
        (
            (),
            {"cost": {"per_gigabyte": 1.0}},
            ("latency_p95_s", "cost_per_million_events", "lost_ratio"),
        ),
    ],
)
def test_the_front_is_about_what_is_asked_and_what_is_priced(
    asked: tuple[str, ...], tables: dict[str, dict[str, float]], expected: tuple[str, str, str]
) -> None:
    assert front_metrics(small(**tables), bounds(*asked)) == expected


def test_more_on_time_is_better() -> None:
    metrics = ("on_time_ratio", "requests_per_event", "lost_ratio")
    good = Candidate("webhook", made_up("webhook", on_time_ratio=0.99, requests_per_event=1.0))
    bad = Candidate("polling", made_up("polling", on_time_ratio=0.9, requests_per_event=2.0))
    assert [(each.label, front) for each, front in ranked([bad, good], metrics)] == [
        ("webhook", True),
        ("polling", False),
    ]


def test_the_alternative_is_of_another_kind() -> None:
    three = [
        candidate("polling", 5, 0.4),
        candidate("adaptive_polling", 4, 0.7),
        candidate("webhook", 0.1, 1),
    ]
    assert alternative(three) is three[2]
    assert alternative(three[:2]) is three[1], "unless all are of one kind"
    assert alternative(three[:1]) is None
    assert alternative([]) is None
    told = {each["metric"]: each for each in trade_offs(three[0], three[2])}
    assert told["latency_p95_s"]["ratio"] == pytest.approx(0.02)
    assert told["requests_per_event"]["ratio"] == pytest.approx(2.5)
