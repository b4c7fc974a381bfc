"""``python -m loadtest.benchmark_waits``: answers 204 after a wait of known distribution, however busy it is.

The waits are the quantiles of an exponential distribution above a floor, in a shuffled cycle: after every
`CYCLE` requests any client has met the same ones. Nothing queues here, so latency does not depend on the
rate, and a closed-loop tool must find the same percentiles as an open-loop one.
"""

from __future__ import annotations

import asyncio
import random
from itertools import cycle
from math import log

from loadtest import hosting
from loadtest.asgi import Application, Receive, Scope, Send, reply_no_content

PATH = "/webhooks/standard"
FLOOR_S, MEAN_EXCESS_S = 0.010, 0.010
CYCLE = 500


def waits_s() -> list[float]:
    """One cycle of waits, seconds, shape (CYCLE,)."""
    waits = [FLOOR_S - MEAN_EXCESS_S * log(1 - (k + 0.5) / CYCLE) for k in range(CYCLE)]
    random.Random(1).shuffle(waits)
    return waits


class WaitingApp(Application):
    """Answers 204 to every request, each after its wait."""

    role = "waits"

    def __init__(self) -> None:
        super().__init__()
        self.routes[PATH] = {"POST": self._answer, "GET": self._answer}
        self._waits_s = cycle(waits_s())

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(next(self._waits_s))
        await reply_no_content(send)


if __name__ == "__main__":
    hosting.serve(WaitingApp(), hosting.listen("127.0.0.1", 0), "uvloop", 1.0)
