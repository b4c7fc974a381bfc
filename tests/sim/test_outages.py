"""Protects when servers fail: random spells against their law, every question about them by brute force."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sim.errors import ScenarioError
from sim.policies import (
    BLACK_HOLE,
    ERROR,
    NEVER,
    REFUSE,
    UP,
    Outages,
    api_outages,
    next_down,
    outage_at,
    receiver_outages,
    slowdown_at,
    up_from,
)
from sim.policies.outages import SLOW
from sim.scenario import Scenario, scenario_from


class Spell(NamedTuple):
    """One outage of one server."""

    start_s: float
    end_s: float
    kind: int
    slowdown: float


def world(receiver: dict[str, Any], servers: int = 1, duration_s: float = 100.0, **more: Any) -> Scenario:
    return scenario_from(
        {
            "name": "failing",
            "workload": {"kind": "poisson", "rate_per_s": 1.0},
            "subscribers": {"count": servers},
            "receiver": receiver,
            "run": {"duration_s": duration_s},
        }
        | more
    )


def spells(outages: Outages, server: int) -> list[Spell]:
    places = range(len(outages.start_s))
    if not outages.shared:
        places = range(outages.first[server], outages.first[server + 1])
    return [
        Spell(
            float(outages.start_s[place]),
            float(outages.end_s[place]),
            int(outages.kind[place]),
            float(outages.slowdown[place]),
        )
        for place in places
    ]


# Random outages.

RANDOM = {
    "up": {"kind": "lognormal", "mean_s": 30.0, "cv": 1.0},
    "down": {"kind": "exponential", "mean_s": 10.0},
    "kind": "error",
}
SERVERS, SPELLS = 400, 25


def random_spells() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The first spells up and down of each server, none of them cut short by the world's end."""
    outages = receiver_outages(world({"random_outages": RANDOM}, SERVERS, 20_000.0), seed=3)
    ups, downs = [], []
    for server in range(SERVERS):
        of_this = spells(outages, server)
        starts = np.array([spell.start_s for spell in of_this])
        ends = np.array([spell.end_s for spell in of_this])
        ups.append((starts - np.concatenate([[0.0], ends[:-1]]))[:SPELLS])
        downs.append((ends - starts)[:SPELLS])
    return ups, downs


def test_random_spells_alternate_from_up_at_0_and_follow_their_distributions() -> None:
    """Means within 5 standard errors, the exponential by Kolmogorov-Smirnov at 1e-6."""
    ups, downs = random_spells()
    assert {len(row) for row in ups} == {SPELLS}
    up, down = np.concatenate(ups), np.concatenate(downs)
    assert (up > 0).all()
    assert (down > 0).all()
    assert up.mean() == pytest.approx(30.0, abs=5 * 30.0 / math.sqrt(up.size))
    assert down.mean() == pytest.approx(10.0, abs=5 * 10.0 / math.sqrt(down.size))
    assert stats.kstest(down, "expon", args=(0, 10.0)).pvalue > 1e-6
    firsts = np.array([row[0] for row in ups])
    assert firsts.mean() == pytest.approx(30.0, abs=5 * 30.0 / math.sqrt(firsts.size))


def test_a_server_is_down_for_its_share_of_the_time() -> None:
    """10 s in every 40: each of 400 servers looked at once, late enough for its start to be forgotten."""
    outages = receiver_outages(world({"random_outages": RANDOM}, SERVERS, 20_000.0), seed=4)
    down = sum(outage_at(outages, server, 15_000.0) == ERROR for server in range(SERVERS))
    low, high = stats.binom.interval(1 - 1e-6, SERVERS, 0.25)
    assert low <= down <= high


def test_servers_fail_apart_from_each_other_and_from_the_api() -> None:
    scenario = world({"random_outages": RANDOM}, 3, 2000.0, provider_api={"random_outages": RANDOM})
    receivers, api = receiver_outages(scenario, 1), api_outages(scenario, 1)
    stories = [spells(receivers, server) for server in range(3)] + [spells(api, 0)]
    assert len({story[0].start_s for story in stories}) == 4
    assert spells(receiver_outages(scenario, 2), 0) != stories[0]
    longer = world({"random_outages": RANDOM}, 3, 4000.0)
    assert spells(receiver_outages(longer, 1), 2)[: len(stories[2])] == stories[2]
    assert all(spell.start_s < 2000.0 for story in stories for spell in story)


def test_a_spell_of_no_length_is_none() -> None:
    blinking = {
        "up": {"kind": "constant", "mean_s": 10.0},
        "down": {"kind": "empirical", "values_s": [0.0, 5.0]},
    }
    of_one = spells(receiver_outages(world({"random_outages": blinking}, duration_s=1000.0), 1), 0)
    assert {round(spell.end_s - spell.start_s, 9) for spell in of_one} == {5.0}
    assert any(later.start_s - spell.end_s > 10.5 for spell, later in pairwise(of_one))


def test_outages_that_flicker_without_end_are_refused() -> None:
    flicker = {"kind": "constant", "mean_s": 1e-6}
    scenario = world({"random_outages": {"up": flicker, "down": flicker}})
    with pytest.raises(
        ScenarioError, match=r"random_outages make 5e\+07 outages in this world; at most 1,000,000"
    ):
        receiver_outages(scenario, 1)


# Every question, against a literal list of outages. Times lie on a quarter-second grid, so edges are hit.


@st.composite
def scheduled(draw: st.DrawFn) -> dict[str, Any]:
    outages, start_s = [], 0.0
    for _ in range(draw(st.integers(0, 5))):
        start_s += draw(st.sampled_from([0.0, 0.0, 0.25, 2.0]))
        duration_s = draw(st.sampled_from([0.25, 1.0, 3.0]))
        kind = draw(st.sampled_from(["refuse", "black_hole", "error", "slow", "slow"]))
        slowdown = draw(st.sampled_from([1.0, 2.0, 7.5]))
        outages.append({"start_s": start_s, "duration_s": duration_s, "kind": kind, "slowdown": slowdown})
        start_s += duration_s
    return {"outages": outages}


grid = st.lists(st.integers(0, 8).map(lambda quarters: quarters / 4), min_size=1, max_size=4)


@st.composite
def random(draw: st.DrawFn) -> dict[str, Any]:
    def spell(least_s: float) -> dict[str, Any]:
        return {"kind": "empirical", "values_s": [*draw(grid), least_s]}

    kind = draw(st.sampled_from(["refuse", "black_hole", "error", "slow"]))
    return {"random_outages": {"up": spell(0.25), "down": spell(0.5), "kind": kind, "slowdown": 3.0}}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    receiver=st.one_of(scheduled(), random()),
    server=st.integers(0, 2),
    time_s=st.integers(0, 80).map(lambda quarters: quarters / 4),
    seed=st.integers(0, 99),
)
def test_every_question_is_answered_as_the_list_of_outages_says(
    receiver: dict[str, Any], server: int, time_s: float, seed: int
) -> None:
    outages = receiver_outages(world(receiver, servers=3, duration_s=15.0), seed)
    every = spells(outages, server)

    def current(now_s: float) -> list[Spell]:
        return [spell for spell in every if spell.start_s <= now_s < spell.end_s]

    def door(now_s: float) -> int:
        return next((spell.kind for spell in current(now_s) if spell.kind != SLOW), UP)

    assert len(current(time_s)) <= 1
    assert outage_at(outages, server, time_s) == door(time_s)
    slow = [spell.slowdown for spell in current(time_s) if spell.kind == SLOW]
    assert slowdown_at(outages, server, time_s) == (slow[0] if slow else 1.0)
    later = sorted({time_s, *(edge for spell in every for edge in spell[:2] if edge > time_s)})
    assert up_from(outages, server, time_s) == next(t for t in later if door(t) == UP)
    assert next_down(outages, server, time_s) == next((t for t in later if door(t) != UP), NEVER)


def test_the_kinds_have_numbers_of_their_own() -> None:
    assert len({UP, REFUSE, BLACK_HOLE, ERROR, SLOW}) == 5
