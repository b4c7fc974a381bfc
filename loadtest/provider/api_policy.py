"""What the events API is told to do: the scenario's ``provider_api`` as far as it is enacted, and its limits.

The policy says what subscribers meet (a rate limit, a feed that lags and forgets); the limits protect the
process that serves them. They bound its memory: the feed's by `max_events` and `max_feed_bytes`, an answer's
by `max_page_bytes`, that of held requests and streams by their number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loadtest.retry import require_number, require_table
from sim.errors import InputError


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `requests` a client in each window of `per_s` seconds.

    With `not_modified_free` a conditional request that would be answered 304 on arrival neither needs nor
    uses any (GitHub REST API, "Best practices for using the REST API": conditional requests).

    Raises:
        InputError: an impossible value.
    """

    requests: int
    per_s: float
    not_modified_free: bool = False

    def __post_init__(self) -> None:
        _require_count("rate_limit.requests", self.requests)
        _require_positive("rate_limit.per_s", self.per_s)
        if type(self.not_modified_free) is not bool:
            raise InputError(
                f"rate_limit.not_modified_free must be true or false, got {self.not_modified_free!r:.80}"
            )

    @classmethod
    def from_words(cls, words: str) -> RateLimit:
        """Read ``N/SECONDS``, such as ``5000/3600``.

        Raises:
            InputError: it is something else.
        """
        requests, _, per_s = words.partition("/")
        try:
            return cls(int(requests), float(per_s))
        except ValueError:
            raise InputError(
                f"a rate limit is requests/seconds, such as 5000/3600, got {words!r:.80}"
            ) from None


@dataclass(frozen=True, slots=True)
class Retention:
    """What the feed still shows: the newest `events`, or those of the last `seconds`.

    Raises:
        InputError: not exactly one of them, or an impossible value.
    """

    events: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if (self.events is None) == (self.seconds is None):
            raise InputError("retention: state either events or seconds")
        if self.events is not None:
            _require_count("retention.events", self.events)
        else:
            _require_positive("retention.seconds", self.seconds)


@dataclass(frozen=True, slots=True)
class ApiPolicy:
    """The scenario's ``provider_api`` table, as far as a real provider enacts it.

    Args:
        rate_limit: of pages and streams asked for; publishing is never limited.
        feed_lag_s: how much later than webhooks the feed shows an event.
        retention: what the feed still shows; None: all.

    Raises:
        InputError: an impossible value.
    """

    rate_limit: RateLimit | None = None
    feed_lag_s: float = 0.0
    retention: Retention | None = None

    def __post_init__(self) -> None:
        require_number("provider_api.feed_lag_s", self.feed_lag_s, 0)

    @classmethod
    def from_table(cls, table: object) -> ApiPolicy:
        """Read the table as parsed from JSON; a null is as good as a key left out.

        Raises:
            InputError: not a table, an unknown or missing key, or a value that is not allowed.
        """
        values = _given(require_table("provider_api", table, cls))
        if "rate_limit" in values:
            limit = _given(require_table("rate_limit", values["rate_limit"], RateLimit))
            if missing := {"requests", "per_s"} - limit.keys():
                raise InputError(f"rate_limit.{min(missing)} is missing")
            values["rate_limit"] = RateLimit(**limit)
        if "retention" in values:
            values["retention"] = Retention(
                **_given(require_table("retention", values["retention"], Retention))
            )
        return cls(**values)


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """Bounds of what the events API takes upon itself.

    Args:
        page_limit: events in one page.
        max_page_bytes: bytes of one page, unless its first event alone has more.
        max_wait_s: the longest a request may ask to be held.
        max_waiting: requests held at a time.
        max_streams: streams open at a time.
        heartbeat_s: the longest silence on a stream.
        stall_s: how long a stream's reader may accept nothing.
        max_events: events in the feed.
        max_feed_bytes: bytes of the feed, what Python needs for each event included.
    """

    page_limit: int = 1000
    max_page_bytes: int = 16 * 2**20
    max_wait_s: float = 60.0
    max_waiting: int = 10_000
    max_streams: int = 2_000
    heartbeat_s: float = 15.0
    stall_s: float = 30.0
    max_events: int = 1_000_000
    max_feed_bytes: int = 2**30


def _given(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if value is not None}


def _require_count(name: str, value: object) -> None:
    if type(value) is not int or value < 1:
        raise InputError(f"{name} must be a whole number from 1, got {value!r:.80}")


def _require_positive(name: str, value: object) -> None:
    require_number(name, value, 0)
    if value == 0:
        raise InputError(f"{name} must be above 0")
