"""Delivery records and counters: the one schema simulated and measured runs write.

A record is one event's way to one subscriber. Times are float64 seconds since the run's origin,
NaN where the thing did not happen; measured runs, which keep int64 µs, are converted here and only here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import pandas as pd

RECORD_COLUMNS = (
    "event",
    "subscriber",
    "created",
    "first_attempt",
    "visible",
    "attempts",
    "copies",
    "via",
    "status",
)

MISSING_US = -1
_US_PER_S = 1_000_000


class Status(IntEnum):
    """How a delivery stood when the world ended."""

    DELIVERED = 0
    LOST = 1
    PENDING = 2


class Via(IntEnum):
    """The way an event came."""

    WEBHOOK = 0
    POLL = 1


@dataclass(frozen=True)
class Window:
    """What a summary covers: events and happenings in [start_s, end_s), seconds."""

    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """Its length, seconds."""
        return self.end_s - self.start_s


@dataclass
class Counters:
    """What a mechanism did within the window; None where a measurement cannot know.

    Attributes:
        requests: requests sent: POSTs, or polls.
        empty_responses: polls answered with nothing new.
        not_modified: of those, answered 304.
        rejected: answers 429 (rate limit) and 503 (full queue).
        errors: refused connections and 5xx during outages.
        timeouts: requests given up by the client.
        request_bytes: sent by clients: headers and payloads.
        response_bytes: sent by servers: headers and payloads.
        connections_opened: connections opened; kept alive, closed by a timeout or a refusal.
        connections_peak: the most connections open at once, summed over subscribers.
        receiver_queue_max: the longest queue an arrival left behind at any receiver, less those in service.
        provider_queue_max: the same at the provider's API.
        receiver_busy_s: worker-seconds spent serving at all receivers.
        provider_busy_s: worker-seconds spent serving at the provider's API.
        receiver_queue_integral_s: the time integral of waiting jobs, summed over receivers.
        provider_queue_integral_s: the time integral of polls waiting at the API.
    """

    requests: int | None = 0
    empty_responses: int | None = 0
    not_modified: int | None = 0
    rejected: int | None = 0
    errors: int | None = 0
    timeouts: int | None = 0
    request_bytes: int | None = 0
    response_bytes: int | None = 0
    connections_opened: int | None = 0
    connections_peak: int | None = 0
    receiver_queue_max: int | None = 0
    provider_queue_max: int | None = 0
    receiver_busy_s: float | None = 0.0
    provider_busy_s: float | None = 0.0
    receiver_queue_integral_s: float | None = 0.0
    provider_queue_integral_s: float | None = 0.0

    @classmethod
    def unknown(cls) -> Counters:
        """Counters of which nothing is known yet, for a measurement to fill in."""
        return cls(**{field.name: None for field in fields(cls)})


@dataclass(frozen=True)
class Deliveries:
    """One run's records as arrays of shape (n_subscribers, n_events), subscriber by subscriber.

    Attributes:
        created: (n_events,) seconds; the same events for every subscriber.
        first_attempt: seconds, NaN if never tried.
        visible: seconds, NaN unless delivered.
        attempts: tries made, int32.
        copies: copies accepted by the receiver, int32.
        via: a `Via`, int8.
        status: a `Status`, int8.
    """

    created: NDArray[np.float64]
    first_attempt: NDArray[np.float64]
    visible: NDArray[np.float64]
    attempts: NDArray[np.int32]
    copies: NDArray[np.int32]
    via: NDArray[np.int8]
    status: NDArray[np.int8]

    @classmethod
    def empty(cls, created: NDArray[np.float64], subscribers: int, via: Via) -> Deliveries:
        """The state before anything happened: every delivery pending."""
        shape = (subscribers, len(created))
        return cls(
            created=created,
            first_attempt=np.full(shape, np.nan),
            visible=np.full(shape, np.nan),
            attempts=np.zeros(shape, dtype=np.int32),
            copies=np.zeros(shape, dtype=np.int32),
            via=np.full(shape, via, dtype=np.int8),
            status=np.full(shape, Status.PENDING, dtype=np.int8),
        )

    def frame(self, window: Window) -> pd.DataFrame:
        """The records of the events created within the window, one row a delivery (`RECORD_COLUMNS`)."""
        subscribers = self.visible.shape[0]
        first = int(np.searchsorted(self.created, window.start_s, side="left"))
        count = len(self.created) - first
        return _frame(
            event=np.tile(np.arange(first, first + count, dtype=np.int64), subscribers),
            subscriber=np.repeat(np.arange(subscribers, dtype=np.int64), count),
            created=np.tile(self.created[first:], subscribers),
            first_attempt=self.first_attempt[:, first:].ravel(),
            visible=self.visible[:, first:].ravel(),
            attempts=self.attempts[:, first:].ravel(),
            copies=self.copies[:, first:].ravel(),
            via=self.via[:, first:].ravel(),
            status=self.status[:, first:].ravel(),
        )

    @classmethod
    def from_frame(cls, records: pd.DataFrame) -> Deliveries:
        """The arrays of a record frame: every subscriber's events, in order, as `frame` wrote them.

        Raises:
            ValueError: the rows are not those of one run of one mechanism.
        """
        subscribers = max(records["subscriber"].nunique(), 1)
        events = (
            records["event"].to_numpy().reshape(subscribers, -1) if len(records) % subscribers == 0 else None
        )
        if events is None or (np.diff(events, axis=1) <= 0).any():
            raise ValueError(
                "records must be of one run of one mechanism, every subscriber's events in order"
            )

        def rows(column: str, dtype: type[np.generic]) -> NDArray[Any]:
            values = records[column].cat.codes if column in {"via", "status"} else records[column]
            return values.to_numpy(dtype=dtype).reshape(subscribers, -1)

        return cls(
            created=rows("created", np.float64)[0],
            first_attempt=rows("first_attempt", np.float64),
            visible=rows("visible", np.float64),
            attempts=rows("attempts", np.int32),
            copies=rows("copies", np.int32),
            via=rows("via", np.int8),
            status=rows("status", np.int8),
        )


def measured_records(
    *,
    created_us: ArrayLike,
    first_attempt_us: ArrayLike,
    visible_us: ArrayLike,
    attempts: ArrayLike,
    copies: ArrayLike,
    via: Via,
    status: ArrayLike,
    origin_us: int,
    subscriber: int = 0,
) -> pd.DataFrame:
    """Measured deliveries of one subscriber as records, in event order (`RECORD_COLUMNS`).

    Args:
        created_us: intended creation of event 0, 1, …, int µs on the run's clock.
        first_attempt_us: first try, `MISSING_US` if there was none.
        visible_us: when the worker had served it, `MISSING_US` if it never did.
        attempts: tries made.
        copies: copies accepted.
        via: the way all of them came.
        status: a `Status` each.
        origin_us: the instant that becomes 0 s.
        subscriber: whose records these are.
    """
    created = _seconds(created_us, origin_us)
    return _frame(
        event=np.arange(len(created), dtype=np.int64),
        subscriber=np.full(len(created), subscriber, dtype=np.int64),
        created=created,
        first_attempt=_seconds(first_attempt_us, origin_us),
        visible=_seconds(visible_us, origin_us),
        attempts=np.asarray(attempts, dtype=np.int32),
        copies=np.asarray(copies, dtype=np.int32),
        via=np.full(len(created), via, dtype=np.int8),
        status=np.asarray(status, dtype=np.int8),
    )


def _seconds(times_us: ArrayLike, origin_us: int) -> NDArray[np.float64]:
    times = np.asarray(times_us, dtype=np.int64)
    return np.where(times == MISSING_US, np.nan, (times - origin_us) / _US_PER_S)


def _frame(**columns: NDArray[Any]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - half a second that scenario errors need not wait for

    names = {"via": [via.name.lower() for via in Via], "status": [status.name.lower() for status in Status]}
    return pd.DataFrame(
        {
            name: pd.Categorical.from_codes(values, pd.Index(names[name])) if name in names else values
            for name, values in columns.items()
        },
        columns=list(RECORD_COLUMNS),
    )
