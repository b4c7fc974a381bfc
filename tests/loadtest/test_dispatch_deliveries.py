"""Protects an endpoint's memory of its deliveries: exact in its counts, bounded in size, nothing untold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loadtest.contract import Envelope
from loadtest.provider.delivery import ACKNOWLEDGED, FAILED, OUTCOMES, PENDING, Deliveries, Delivery
from loadtest.provider.feed import Published

STEPS = st.lists(
    st.tuples(st.sampled_from(("begin", ACKNOWLEDGED, FAILED, "again")), st.integers(0, 99)), max_size=120
)


@given(steps=STEPS, keep=st.integers(1, 5), limit=st.integers(1, 4))
def test_any_order_of_beginnings_and_ends(steps: list[tuple[str, int]], keep: int, limit: int) -> None:
    """Held against lists that forget nothing."""
    told: list[Delivery] = []
    deliveries = Deliveries(keep, told.append)
    everything: list[Delivery] = []
    ended: dict[str, list[Delivery]] = {ACKNOWLEDGED: [], FAILED: []}
    for step, which in steps:
        pending = [d for d in everything if d.outcome == PENDING]
        if step == "begin":
            published = Published(Envelope(f"evt_{len(everything)}", "t", 0, 0), b"{}", len(everything))
            everything.append(deliveries.begin(published))
        elif step == "again":
            remembered = ended[ACKNOWLEDGED][-keep:] + ended[FAILED][-keep:]
            if remembered:
                delivery = remembered[which % len(remembered)]
                ended[delivery.outcome].remove(delivery)
                deliveries.begin_again(delivery)
        elif pending:
            delivery = pending[which % len(pending)]
            deliveries.end(delivery, step)
            ended[step].append(delivery)
            del ended[step][:-keep]
        assert deliveries.counts == {name: sum(d.outcome == name for d in everything) for name in OUTCOMES}
        alive = [d for d in everything if d.outcome == PENDING or d in ended[d.outcome]]
        assert list(deliveries) == alive
        assert sorted(d.number for d in told) == [d.number for d in everything if d not in alive]
        for delivery in everything:
            found = deliveries.of_event(delivery.published.event.id)
            assert found is (delivery if delivery in alive else None)
    for outcome in (None, *OUTCOMES):
        seen: list[Delivery] = []
        while page := deliveries.page(outcome, seen[-1].number if seen else -1, limit):
            assert len(page) <= limit
            seen += page
        assert seen == [d for d in deliveries if outcome in (None, d.outcome)]
    deliveries.forget_all()
    assert sorted(d.number for d in told) == list(range(len(everything)))
    assert list(deliveries) == []
