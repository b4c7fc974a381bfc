"""Protects who wants what: the share of interest, rows in order, padding that means nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sim.audience import Audience, audience, everybody, of_rows
from sim.records import Deliveries, Status, Via, Window
from sim.scenario import Scenario, scenario_from

EVENTS = np.sort(np.random.default_rng(1).uniform(0.0, 100.0, 2000))


def audience_of(count: int, interest: float, seed: int = 1) -> Audience:
    return audience(scenario(count, interest), EVENTS, seed)


def scenario(count: int, interest: float) -> Scenario:
    return scenario_from(
        {
            "name": "crowd",
            "workload": {"kind": "poisson", "rate_per_s": 20.0},
            "subscribers": {"count": count, "interest": interest},
            "run": {"duration_s": 100.0},
        }
    )


@pytest.mark.parametrize("interest", [0.02, 0.5, 0.95])
def test_each_subscriber_wants_its_share(interest: float) -> None:
    """Counts are binomial: their sum and their spread each within a 1 - 1e-6 interval."""
    count = audience_of(200, interest).count
    low, high = stats.binom.interval(1 - 1e-6, 200 * 2000, interest)
    assert low <= count.sum() <= high
    spread = ((count - 2000 * interest) ** 2).sum() / (2000 * interest * (1 - interest))
    low, high = stats.chi2.interval(1 - 1e-6, 200)
    assert low <= spread <= high


def test_interests_are_independent_between_subscribers_and_events() -> None:
    """Two subscribers share interest² of the events, and wanting one says nothing of wanting the next."""
    wants = np.zeros((2, len(EVENTS)), dtype=bool)
    of_two = audience_of(2, 0.5, seed=7)
    for s in range(2):
        wants[s, of_two.event[s, : of_two.count[s]]] = True
    for both in (wants[0] & wants[1], wants[0, 1:] & wants[0, :-1]):
        low, high = stats.binom.interval(1 - 1e-6, both.size, 0.25)
        assert low <= both.sum() <= high


def test_rows_are_sorted_padded_and_take_their_times_from_the_one_list() -> None:
    crowd = audience_of(20, 0.3)
    assert crowd.event.shape == crowd.created.shape == (20, crowd.count.max())
    assert crowd.count.min() < crowd.count.max()
    for s, n in enumerate(crowd.count):
        events = crowd.event[s, :n]
        assert (np.diff(events) > 0).all()
        assert (crowd.created_of(s) == EVENTS[events]).all()
        assert (crowd.event[s, n:] == -1).all()
        assert np.isinf(crowd.created[s, n:]).all()


def test_interest_depends_on_the_subscriber_and_not_on_who_else_there_is() -> None:
    few, many = audience_of(3, 0.3), audience_of(9, 0.3)
    for s in range(3):
        assert few.created_of(s).tolist() == many.created_of(s).tolist()
    assert audience_of(3, 0.3, seed=2).created_of(0).tolist() != few.created_of(0).tolist()


def test_a_subscriber_that_wants_more_wants_what_it_wanted_before() -> None:
    """Common random numbers across a sweep of interest."""
    less, more = audience_of(5, 0.2), audience_of(5, 0.6)
    for s in range(5):
        assert set(less.event[s, : less.count[s]]) < set(more.event[s, : more.count[s]])


def test_when_everybody_wants_everything_all_rows_are_one() -> None:
    crowd = audience_of(1000, 1.0)
    assert crowd.shared
    assert crowd.event.shape == (1000, 2000)
    assert crowd.created.strides[0] == 0
    assert (crowd.count == 2000).all()
    assert not crowd.created.flags.writeable


def test_nobody_need_want_anything() -> None:
    empty = of_rows([np.array([], dtype=np.int64)] * 3, [np.array([])] * 3)
    assert empty.event.shape == (3, 0)
    assert empty.count.tolist() == [0, 0, 0]
    assert audience(scenario(2, 0.5), np.empty(0), 1).event.shape == (2, 0)


rows = st.lists(st.sets(st.integers(0, 30)).map(sorted), min_size=1, max_size=5)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(wanted=rows, warmup_s=st.sampled_from([0.0, 7.0]), shared=st.booleans(), seed=st.integers(0, 99))
def test_a_frame_holds_each_delivery_once_and_reads_back_as_it_was(
    wanted: list[list[int]], warmup_s: float, shared: bool, seed: int
) -> None:
    times = np.arange(31, dtype=np.float64) / 2
    if shared:
        crowd = everybody(times, len(wanted))
    else:
        numbers = [np.array(row, dtype=np.int64) for row in wanted]
        crowd = of_rows(numbers, [times[row] for row in numbers])
    random = np.random.default_rng(seed)
    deliveries = Deliveries.empty(crowd, Via.WEBHOOK)
    real, shape = np.isfinite(crowd.created), crowd.event.shape
    deliveries.visible[:] = random.choice([3.0, np.nan], shape)
    deliveries.first_attempt[:] = random.choice([1.0, np.nan], shape)
    deliveries.attempts[:] = random.integers(0, 9, shape)
    deliveries.copies[:] = random.integers(0, 9, shape)
    deliveries.via[:] = random.choice(list(Via), shape)
    deliveries.status[:] = random.choice(list(Status), shape)

    frame = deliveries.frame(Window(warmup_s, 100.0))
    kept = real & (crowd.created >= warmup_s)
    assert len(frame) == kept.sum()
    assert (frame["created"] == times[frame["event"]]).all()
    assert list(zip(frame["subscriber"], frame["event"], strict=True)) == sorted(
        {(s, int(e)) for s, e in zip(np.nonzero(kept)[0], crowd.event[kept], strict=True)}
    )

    back = Deliveries.from_frame(deliveries.frame(Window(0.0, 100.0)))
    with_events = [s for s, n in enumerate(crowd.count) if n]
    assert back.audience.count.tolist() == [crowd.count[s] for s in with_events] or not with_events
    for row, s in enumerate(with_events):
        n = crowd.count[s]
        for name in ("first_attempt", "visible", "attempts", "copies", "via", "status"):
            np.testing.assert_array_equal(
                getattr(back, name)[row, :n], getattr(deliveries, name)[s, :n], err_msg=name
            )
        np.testing.assert_array_equal(back.audience.event[row, :n], crowd.event[s, :n])
        np.testing.assert_array_equal(back.audience.created_of(row), crowd.created_of(s))
