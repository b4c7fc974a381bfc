"""One event on its way to one endpoint, and an endpoint's memory of such deliveries.

The memory is bounded: what is on its way is bounded by the endpoint's queue, and of what has ended the newest
are kept, the acknowledged and the failed apart, so that no success pushes a failure out of reach. Whoever
needs all of them is told of each as it leaves (the ledger).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from loadtest.provider.feed import Published

PENDING, ACKNOWLEDGED, FAILED = "pending", "acknowledged", "failed"
OUTCOMES = (PENDING, ACKNOWLEDGED, FAILED)


@dataclass(slots=True)
class Delivery:
    """One event on its way to one endpoint; times in µs, None until they happen.

    Attributes:
        number: its position among the endpoint's deliveries.
        attempts: requests sent for it.
        acknowledged_us: when it first was; delivering it again does not change that.
        outcome: of `OUTCOMES`.
        last: what became of the last attempt, in words.
        dead_letter: it ran out of attempts, or was due while the endpoint was disabled.
        once: its next attempt is not followed by retries: it is sent again by hand.
        looks: how many of the policy's looks at the dead letters it has had.
        previous_delay_s: the last back-off, which decorrelated jitter asks for.
    """

    number: int
    published: Published
    attempts: int = 0
    first_attempt_us: int | None = None
    acknowledged_us: int | None = None
    outcome: str = PENDING
    last: str = ""
    dead_letter: bool = False
    once: bool = False
    looks: int = 0
    previous_delay_s: float = 0.0

    def document(self) -> dict[str, object]:
        """The delivery as the subscriptions API shows it."""
        return {
            "number": self.number,
            "event_id": self.published.event.id,
            "state": self.outcome,
            "last": self.last,
            "attempts": self.attempts,
            "dead_letter": self.dead_letter,
            "published_us": self.published.published_us,
            "first_attempt_us": self.first_attempt_us,
            "acknowledged_us": self.acknowledged_us,
        }


class Deliveries:
    """The deliveries of one endpoint, in order.

    Args:
        keep: how many of the acknowledged, and of the failed, are remembered.
        forgotten: called with each that leaves the memory.

    Attributes:
        counts: by outcome, exact, the forgotten included.
    """

    def __init__(self, keep: int, forgotten: Callable[[Delivery], None]) -> None:
        self._keep = keep
        self._forgotten = forgotten
        self._known: dict[int, Delivery] = {}
        self._numbers: dict[str, int] = {}
        self._ended: dict[str, OrderedDict[int, Delivery]] = {
            ACKNOWLEDGED: OrderedDict(),
            FAILED: OrderedDict(),
        }
        self._next = 0
        self.counts = dict.fromkeys(OUTCOMES, 0)

    def __iter__(self) -> Iterator[Delivery]:
        """Those that are remembered, oldest first."""
        return iter(self._known.values())

    def begin(self, published: Published) -> Delivery:
        """A new delivery, pending."""
        delivery = Delivery(self._next, published)
        self._next += 1
        self._known[delivery.number] = delivery
        self._numbers[published.event.id] = delivery.number
        self.counts[PENDING] += 1
        return delivery

    def end(self, delivery: Delivery, outcome: str) -> None:
        """A pending delivery is acknowledged, or has failed."""
        self._change(delivery, outcome)
        ended = self._ended[outcome]
        ended[delivery.number] = delivery
        if len(ended) > self._keep:
            _, oldest = ended.popitem(last=False)
            self._forget(oldest)

    def begin_again(self, delivery: Delivery) -> None:
        """A delivery that has ended is pending once more."""
        del self._ended[delivery.outcome][delivery.number]
        self._change(delivery, PENDING)

    def of_event(self, event_id: str) -> Delivery | None:
        """The event's delivery, while it is remembered."""
        number = self._numbers.get(event_id)
        return None if number is None else self._known[number]

    def page(self, outcome: str | None, after: int, limit: int) -> list[Delivery]:
        """At most `limit` with a number above `after`, all or those with one outcome."""
        if outcome in self._ended:
            # Ended in another order than begun; only what is shown is sorted.
            chosen: Iterator[Delivery] = iter(sorted(self._ended[outcome].values(), key=lambda d: d.number))
        else:
            chosen = (d for d in self if outcome is None or d.outcome == outcome)
        return list(islice((d for d in chosen if d.number > after), limit))

    def forget_all(self) -> None:
        """Forget everything, the pending included, in order."""
        for delivery in list(self):
            self._forget(delivery)
        self._ended[ACKNOWLEDGED].clear()
        self._ended[FAILED].clear()

    def _change(self, delivery: Delivery, outcome: str) -> None:
        self.counts[delivery.outcome] -= 1
        self.counts[outcome] += 1
        delivery.outcome = outcome

    def _forget(self, delivery: Delivery) -> None:
        del self._known[delivery.number]
        event_id = delivery.published.event.id
        if self._numbers[event_id] == delivery.number:
            del self._numbers[event_id]
        self._forgotten(delivery)
