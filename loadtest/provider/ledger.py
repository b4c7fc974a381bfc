"""The provider's ledger: what became of every event at every endpoint, as CSV.

A row is written when its delivery leaves the endpoint's memory, the last ones when the provider stops. Only
then does the file get its name, so a ledger that is there is whole. An event that is published while
nobody is subscribed has a row of its own, with outcome "published".
"""

from __future__ import annotations

import csv
from pathlib import Path

from loadtest.provider.delivery import Delivery
from loadtest.provider.feed import Published
from sim.errors import InputError

LEDGER_COLUMNS = (
    *("index", "event_id", "published_us"),
    *("first_attempt_us", "attempts", "acknowledged_us", "outcome", "endpoint"),
)


class Ledger:
    """A CSV in the making.

    Raises:
        InputError: nothing can be written there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        if not path.parent.is_dir():
            raise InputError(f"--ledger {path}: its folder does not exist")
        try:
            self._file = self._part.open("w", newline="", encoding="utf-8")
        except OSError as error:
            raise InputError(f"--ledger {path} cannot be written: {error.strerror}") from None
        self._writer = csv.writer(self._file)
        self._writer.writerow(LEDGER_COLUMNS)

    def delivery(self, delivery: Delivery, url: str) -> None:
        """Note how a delivery ended, or that it has not."""
        event = delivery.published.event
        self._writer.writerow(
            (
                event.index,
                event.id,
                delivery.published.published_us,
                -1 if delivery.first_attempt_us is None else delivery.first_attempt_us,
                delivery.attempts,
                -1 if delivery.acknowledged_us is None else delivery.acknowledged_us,
                delivery.outcome,
                url,
            )
        )

    def unsubscribed(self, published: Published) -> None:
        """Note an event that nobody was subscribed to."""
        event = published.event
        self._writer.writerow((event.index, event.id, published.published_us, -1, 0, -1, "published", ""))

    def close(self) -> None:
        """Write the rest, and give the file its name."""
        self._file.close()
        self._part.replace(self._path)
