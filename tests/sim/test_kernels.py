"""Protects the kernels' shared pieces, each against the obvious slow way: agenda, queue, fifo."""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush, heapreplace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sim.kernels import agenda
from sim.kernels.fifo import empty_fifo, roomier
from sim.kernels.servers import (
    BUSY,
    WAITING,
    empty_queue,
    idle_now,
    idle_servers,
    serve,
    waiting_now,
    with_room,
)

times_s = st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 8.0])


@given(
    kind=st.integers(1, 6),
    event=st.integers(0, 2**40 - 1),
    attempt=st.integers(0, 2**12 - 1),
    code=st.integers(0, 15),
)
def test_a_key_holds_all_it_is_about(kind: int, event: int, attempt: int, code: int) -> None:
    assert agenda.unpack(agenda.pack(kind, event, attempt, code)) == (kind, event, attempt, code)


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 9), st.integers(0, 3)), min_size=2, unique=True))
def test_keys_are_ordered_as_happenings_are(happenings: list[tuple[int, int, int]]) -> None:
    by_key = sorted(happenings, key=lambda happening: agenda.pack(*happening, 0))
    assert by_key == sorted(happenings)


@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.integers(0, 2**23 - 1), st.integers(0, 2**33 - 1)),
        min_size=2,
        unique=True,
    )
)
def test_pollers_keys_hold_all_they_are_about_in_its_order(happenings: list[tuple[int, int, int]]) -> None:
    assert [agenda.unpack_poll(agenda.pack_poll(*happening)) for happening in happenings] == happenings
    assert sorted(happenings, key=lambda happening: agenda.pack_poll(*happening)) == sorted(happenings)


@given(
    st.lists(st.tuples(times_s, st.integers(0, 2**62)), min_size=1, max_size=40),
    st.lists(st.tuples(times_s, st.integers(0, 2**62)), max_size=200),
)
def test_replacing_the_soonest_keeps_the_agenda_a_heap(
    first: list[tuple[float, int]], steps: list[tuple[float, int]]
) -> None:
    size = len(first)
    times, keys = np.empty(size), np.empty(size, dtype=np.int64)
    for place, step in enumerate(first):
        agenda.add(times, keys, place, *step)
    reference = sorted(first)
    heapify(reference)
    for step in steps:
        assert (times[0], keys[0]) == heapreplace(reference, step)
        agenda.replace_first(times, keys, size, *step)
    assert sorted(zip(times, keys, strict=True)) == sorted(reference)


@given(st.lists(st.one_of(st.none(), st.tuples(times_s, st.integers(0, 2**62))), max_size=400))
def test_the_agenda_is_a_heap_that_grows(steps: list[tuple[float, int] | None]) -> None:
    """None takes the soonest; the reference is the standard library's heap."""
    times, keys, size = np.empty(2), np.empty(2, dtype=np.int64), 0
    reference: list[tuple[float, int]] = []
    for step in steps:
        if step is not None:
            if size == len(times):
                times, keys = agenda.grown(times, keys)
            size = agenda.add(times, keys, size, *step)
            heappush(reference, step)
        elif reference:
            assert (times[0], keys[0]) == heappop(reference)
            size = agenda.drop_first(times, keys, size)
        assert size == len(reference)


@given(
    workers=st.integers(1, 5),
    jobs=st.lists(st.tuples(times_s, times_s), max_size=300),
    window=st.tuples(times_s, times_s).map(sorted),
)
def test_the_queue_is_first_come_first_served(
    workers: int, jobs: list[tuple[float, float]], window: list[float]
) -> None:
    """Gaps and services against a literal queue; the integrals against sums over jobs."""
    low, high = window
    free, (starts, ring), integrals = idle_servers(workers), empty_queue(), np.zeros(2)
    busy_until = [0.0] * workers
    spans: list[tuple[float, float, float]] = []
    now = 0.0
    for gap_s, service_s in jobs:
        now += gap_s
        assert waiting_now(starts, ring, now) == sum(start > now for _, start, _ in spans)
        assert idle_now(free, now) == sum(until <= now for until in busy_until)
        start = max(now, busy_until[0])
        heapreplace(busy_until, start + service_s)
        spans.append((now, start, start + service_s))
        starts = with_room(starts, ring)
        assert serve(free, starts, ring, now, service_s, low, high, integrals) == spans[-1][1:]

    def within(start: float, end: float) -> float:
        return max(min(end, high) - max(start, low), 0.0)

    np.testing.assert_allclose(integrals[WAITING], sum(within(a, b) for a, b, _ in spans), atol=1e-9)
    np.testing.assert_allclose(integrals[BUSY], sum(within(b, c) for _, b, c in spans), atol=1e-9)


@given(st.lists(st.one_of(st.none(), st.integers(0, 2**62)), max_size=600))
def test_first_in_is_first_out_of_a_ring_that_grows(steps: list[int | None]) -> None:
    """None takes one out; the reference is the standard library's deque."""
    values, keys = empty_fifo()
    head = tail = 0
    reference: deque[int] = deque()
    for step in steps + [7] * 200:
        if step is not None:
            if tail - head == len(keys):
                values, keys = roomier(values, keys, head, tail)
            values[tail & (len(keys) - 1)] = keys[tail & (len(keys) - 1)] = step
            tail += 1
            reference.append(step)
        elif reference:
            place = head & (len(keys) - 1)
            head += 1
            assert (keys[place], values[place]) == (reference[0], float(reference.popleft()))
    assert tail - head == len(reference)
    assert [int(keys[number & (len(keys) - 1)]) for number in range(head, tail)] == list(reference)
