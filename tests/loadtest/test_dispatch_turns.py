"""Protects fairness between endpoints: nobody is passed by, and nobody can take all slots."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from loadtest.provider.turns import Turns

NAMES = ("a", "b")


def drain(turns: Turns, left: dict[str, int], limits: dict[str, int]) -> list[str]:
    """Let everybody send who may, as the dispatcher does; returns who did, in order."""
    sent = []
    while (who := turns.next()) is not None:
        left[who] -= 1
        sent.append(who)
        if left[who]:
            turns.ask(who, limits[who])
    return sent


@given(
    shared=st.integers(0, 12),
    limits=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    work=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    answered=st.lists(st.sampled_from(NAMES), max_size=80),
)
def test_two_endpoints_take_turns(
    shared: int, limits: tuple[int, int], work: tuple[int, int], answered: list[str]
) -> None:
    """When both want to send and may, each sends at most once before the other; nothing is lost or over."""
    own = dict(zip(NAMES, limits, strict=True))
    left = dict(zip(NAMES, work, strict=True))
    turns = Turns(shared)
    in_flight: Counter[str] = Counter()
    for who in NAMES:
        turns.ask(who, own[who])

    def step() -> None:
        waited = dict.fromkeys(NAMES, 0)
        while (who := turns.next()) is not None:
            other = NAMES[1 - NAMES.index(who)]
            # The other stands in line with a slot to be had: it is passed by once at most.
            may = left[other] > 0 and in_flight[other] < own[other]
            may &= in_flight[other] == 0 or in_flight[other] <= turns.free
            waited[other] = waited[other] + 1 if may else 0
            assert waited[other] <= 1
            waited[who] = 0
            left[who] -= 1
            in_flight[who] += 1
            if left[who]:
                turns.ask(who, own[who])
        for name in NAMES:
            assert in_flight[name] == turns.held(name) <= own[name]
            # Nobody who has something to send is left without a slot of its own.
            assert in_flight[name] >= 1 or left[name] == 0
        assert turns.free == shared - sum(max(0, in_flight[name] - 1) for name in NAMES) >= 0

    step()
    for who in answered:
        if in_flight[who]:
            in_flight[who] -= 1
            turns.done(who)
            step()
    while sum(in_flight.values()):  # whoever answers in the end, everything is sent
        for who in NAMES:
            if in_flight[who]:
                in_flight[who] -= 1
                turns.done(who)
                step()
    assert left == {"a": 0, "b": 0}
    assert turns.free == shared


@given(shared=st.integers(0, 300), dead=st.integers(1, 40), healthy=st.integers(1, 40))
def test_endpoints_that_never_answer_leave_slots_for_the_others(shared: int, dead: int, healthy: int) -> None:
    """However many hold what they can get for ever, each other one still sends everything it has."""
    turns = Turns(shared)
    limits = {f"dead{n}": 1000 for n in range(dead)} | {f"well{n}": 3 for n in range(healthy)}
    left = dict.fromkeys(limits, 50)
    for who in limits:
        turns.ask(who, limits[who])
    answering = [who for who in drain(turns, left, limits) if who.startswith("well")]
    while answering:
        turns.done(answering.pop())
        answering += [who for who in drain(turns, left, limits) if who.startswith("well")]
    assert all(left[who] == 0 for who in limits if who.startswith("well"))


def test_one_that_never_answers_gets_half_of_the_shared_slots_and_two_a_third_each() -> None:
    turns = Turns(12)
    left = dict.fromkeys("ab", 100)
    limits = dict.fromkeys("ab", 1000)
    turns.ask("a", 1000)
    assert drain(turns, left, limits) == ["a"] * 7  # its own, and half
    turns.ask("b", 1000)
    assert drain(turns, left, limits) == ["b"] * 4  # its own, and half of the rest: at first
    for _ in range(7):
        turns.done("a")
        drain(turns, left, limits)
    assert sorted((turns.held("a"), turns.held("b"), turns.free)) == [3, 5, 6]  # 1 + 4, 1 + 5, and 3 free


def test_a_raised_limit_and_a_withdrawal_are_heeded() -> None:
    turns = Turns(10)
    left, limits = {"a": 9}, {"a": 2}
    turns.ask("a", 2)
    assert drain(turns, left, limits) == ["a", "a"]
    turns.ask("a", 4)
    limits["a"] = 4
    assert drain(turns, left, limits) == ["a", "a"]
    turns.withdraw("a")
    turns.done("a")
    assert turns.next() is None
    for _ in range(3):
        turns.done("a")
    assert (turns.held("a"), turns.free) == (0, 10)
