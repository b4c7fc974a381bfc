"""The reference poller: asks by its rhythm, page by page, and stores before it moves its cursor.

A cycle is a tick's request and those that follow full pages, or pages behind which there is more. A timeout
or error abandons the cycle, and the cursor stays where it was; after a 429 or 503 the next cycle begins when
its Retry-After allows.
"""

from __future__ import annotations

from typing import Any

from loadtest.consumers.pages import PageReader
from loadtest.consumers.rhythm import Cycle, FixedRate, Origin, Rhythm, sleep_until
from loadtest.contract import now_us


class Poller:
    """Polls one source into one inbox.

    Args:
        pages: asks and stores.
        rhythm: when.
        origin: where the rhythm's times count from; by default the start.
    """

    def __init__(self, pages: PageReader, rhythm: Rhythm, origin: Origin | None = None) -> None:
        self.pages = pages
        self._rhythm = rhythm
        self._origin = origin or Origin()
        self._newest_us: int | None = None

    def status(self) -> dict[str, Any]:
        """See `PageReader`; and the ticks left out, of a poller that has ticks."""
        skipped = {}
        if isinstance(self._rhythm, FixedRate):
            skipped = {"skipped_ticks": self._rhythm.skipped_ticks}
        return self.pages.status() | skipped

    async def run(self) -> None:
        """Poll until cancelled."""
        async with self.pages.connected():
            start_us = now_us()
            due_us = self._rhythm.first_us(start_us, await self._origin.known(start_us))
            while True:
                await sleep_until(due_us)
                due_us = self._rhythm.next_us(await self._cycle())

    async def _cycle(self) -> Cycle:
        began_us, found = now_us(), 0
        while True:
            answer = await self.pages.ask()
            found += answer.found
            if answer.newest_us is not None:
                self._newest_us = answer.newest_us
            if not (answer.asks_on and self._rhythm.turns_pages):
                return Cycle(
                    answer.went_well, found, self._newest_us, answer.not_before_us, began_us, now_us()
                )
