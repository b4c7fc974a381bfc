"""Whose turn it is to send: slots are shared so that a dead or slow endpoint does not delay the others.

Endpoints that have something to send stand in a line; the first sends one request and goes to its end (round
robin). Each has one slot that is always its own. Beyond it an endpoint may hold as many shared slots as are
still free for the others (the dynamic threshold of Choudhury and Hahne, "Dynamic Queue Length Thresholds for
Shared-Memory Packet Switches", IEEE/ACM Transactions on Networking 6, 1998, with α = 1): one that answers
nothing can take half of them, two a third each, and there is always some left for who comes next. Its own
limit, the policy's `max_in_flight`, holds besides.

So at most `shared` requests are in flight beyond the first of each endpoint. The price is that a single busy
endpoint gets half of the shared slots and not all.
"""

from __future__ import annotations

from collections import OrderedDict


class Turns:
    """The line, and who holds how many slots.

    Args:
        shared: slots beyond the one that each endpoint has of its own.

    Attributes:
        free: shared slots that nobody holds.
    """

    def __init__(self, shared: int) -> None:
        self.free = shared
        self._line: OrderedDict[str, None] = OrderedDict()
        self._at_own_limit: dict[str, int] = {}
        self._held: dict[str, int] = {}

    def held(self, who: str) -> int:
        """Slots that an endpoint holds."""
        return self._held.get(who, 0)

    def ask(self, who: str, limit: int) -> None:
        """An endpoint has something to send and may hold `limit` slots at most; who stands in line stays."""
        if self.held(who) >= limit:
            self._line.pop(who, None)
            self._at_own_limit[who] = limit
        else:
            self._at_own_limit.pop(who, None)
            self._line.setdefault(who)

    def next(self) -> str | None:
        """Who sends now: it has a slot and is out of the line; None when nobody may."""
        for who in self._line:
            held = self.held(who)
            if held == 0 or held <= self.free:  # the shared ones it holds are one fewer
                self._held[who] = held + 1
                self.free -= held > 0
                del self._line[who]
                return who
        return None

    def done(self, who: str) -> None:
        """An endpoint gives a slot back; if it had reached its own limit, it stands in line again."""
        held = self._held.pop(who) - 1
        if held:
            self._held[who] = held
            self.free += 1
        limit = self._at_own_limit.pop(who, None)
        if limit is not None:
            self.ask(who, limit)

    def withdraw(self, who: str) -> None:
        """An endpoint has nothing to send any more; what it holds it gives back later."""
        self._line.pop(who, None)
        self._at_own_limit.pop(who, None)
