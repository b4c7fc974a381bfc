"""Storms of retries: a request that failed is put in line again, as its sender's policy says."""

from __future__ import annotations

from collections.abc import Callable

import gevent

from loadtest.recorder import Samples
from loadtest.schedule import IntArray
from loadtest.traffic import GENUINE


class Retries:
    """The requests that wait for their next attempt.

    Args:
        delays_us: by event how long after each failed attempt, see `Plan.retries_us`; empty: never.
        samples: which event a request brings, and how its attempts ended.
        put_in_line: sends the request at a position once more.
    """

    def __init__(self, delays_us: IntArray, samples: Samples, put_in_line: Callable[[int], None]) -> None:
        self._samples = samples
        self._event: list[int] = samples.event.tolist() if delays_us.size else []
        self._delays_us: list[list[int]] = delays_us.tolist()
        self._put_in_line = put_in_line

    def try_again(self, position: int, retry_after: str | None) -> bool:
        """See to another attempt after one that failed; False where there is to be none.

        Args:
            position: of the request.
            retry_after: the header of that name in a refusal, if it had one; only seconds are heeded.
        """
        samples = self._samples
        if not self._event or samples.kind[position] != GENUINE or 200 <= samples.status[position] < 300:
            return False
        delays_us = self._delays_us[self._event[position]]
        failed = int(samples.attempts[position])
        if failed > len(delays_us) or delays_us[failed - 1] < 0:
            return False
        asked_s = float(retry_after) if retry_after is not None and retry_after.isdigit() else 0.0
        gevent.spawn_later(max(delays_us[failed - 1] / 1e6, asked_s), self._put_in_line, position)
        return True
