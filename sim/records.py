"""Delivery records and counters: the one schema simulated and measured runs write.

A record is one event's way to one subscriber. Times are float64 seconds since the run's origin,
NaN where the thing did not happen; measured runs, which keep int64 µs, are converted here and only here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.audience import Audience, of_rows
from sim.delivery import Status, Via
from sim.scenario import Scenario

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "MISSING_US",
    "RECORD_COLUMNS",
    "SERIES_BINS",
    "Counters",
    "Deliveries",
    "Replication",
    "Status",
    "Via",
    "Window",
    "empty_series",
    "measured_records",
    "series_bin_s",
]

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

SERIES_BINS = 240
"""How many bins a time series has unless the scenario says otherwise."""

MISSING_US = -1
_US_PER_S = 1_000_000


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
        requests: requests sent: POSTs, polls, fetches by id; with a broker publishes, fetches and commits.
        empty_responses: polls answered with nothing new.
        not_modified: of those, answered 304.
        rejected: answers 429 (rate limit) and 503 (full queue).
        errors: refused connections; 400 and 5xx, a receiver's, an API's or an intermediary's; failures of a
            broker's consumer on a message.
        timeouts: requests given up by the client.
        request_bytes: sent by clients: headers and payloads.
        response_bytes: sent by servers: headers and payloads.
        connections_opened: connections opened; kept alive (`network.keep_alive`), closed by a timeout or a
            refusal.
        connections_peak: the most connections open at once, summed over subscribers.
        unsent: attempts that were due while the endpoint was switched off.
        dead_letters: events a sender gave up, also those tried again by hand later.
        redeliveries: attempts made by hand on dead letters, and a broker's second and later ones.
        receiver_queue_max: the longest queue an arrival left behind at any receiver, less those in service.
        provider_queue_max: the same at the provider's API.
        receiver_busy_s: worker-seconds spent serving at all receivers.
        provider_busy_s: worker-seconds spent serving at the provider's API.
        receiver_queue_integral_s: the time integral of waiting jobs, summed over receivers.
        provider_queue_integral_s: the time integral of polls waiting at the API.
        connection_s: connection-seconds in use: from a request to its answer or timeout; a stream while open.
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
    unsent: int | None = 0
    dead_letters: int | None = 0
    redeliveries: int | None = 0
    receiver_queue_max: int | None = 0
    provider_queue_max: int | None = 0
    receiver_busy_s: float | None = 0.0
    provider_busy_s: float | None = 0.0
    receiver_queue_integral_s: float | None = 0.0
    provider_queue_integral_s: float | None = 0.0
    connection_s: float | None = 0.0

    @classmethod
    def unknown(cls) -> Counters:
        """Counters of which nothing is known yet, for a measurement to fill in."""
        return cls(**{field.name: None for field in fields(cls)})


def series_bin_s(scenario: Scenario) -> float:
    """The width of the bins of a scenario's time series, seconds."""
    return scenario.run.series_bin_s or scenario.world_end_s / SERIES_BINS


def empty_series(scenario: Scenario) -> NDArray[np.int64]:
    """A count for each bin of the world's time, from 0 to its end: none yet."""
    bins = math.floor(scenario.world_end_s / series_bin_s(scenario)) + 1
    return np.zeros(bins, dtype=np.int64)


@dataclass(frozen=True)
class Deliveries:
    """One run's records as arrays of shape (n_subscribers, width), subscriber by subscriber.

    A row holds one subscriber's events in order; where subscribers want different events, rows are padded
    to the longest, and only the first `audience.count[s]` places of a row mean anything.

    Attributes:
        audience: whose event each place is, and when it is created.
        first_attempt: seconds, NaN if never tried.
        visible: seconds, NaN unless delivered.
        attempts: tries made, int32.
        copies: copies accepted by the receiver, int32.
        via: a `Via`, int8.
        status: a `Status`, int8.
    """

    audience: Audience
    first_attempt: NDArray[np.float64]
    visible: NDArray[np.float64]
    attempts: NDArray[np.int32]
    copies: NDArray[np.int32]
    via: NDArray[np.int8]
    status: NDArray[np.int8]

    @classmethod
    def empty(cls, audience: Audience, via: Via) -> Deliveries:
        """The state before anything happened: every delivery pending."""
        shape = audience.event.shape
        return cls(
            audience=audience,
            first_attempt=np.full(shape, np.nan),
            visible=np.full(shape, np.nan),
            attempts=np.zeros(shape, dtype=np.int32),
            copies=np.zeros(shape, dtype=np.int32),
            via=np.full(shape, via, dtype=np.int8),
            status=np.full(shape, Status.PENDING, dtype=np.int8),
        )

    @property
    def created(self) -> NDArray[np.float64]:
        """When each event is created, seconds; +inf is padding."""
        return self.audience.created

    def within(self, window: Window) -> NDArray[np.bool_]:
        """Which places hold an event created within the window, bool, shape (n_subscribers, width)."""
        inside: NDArray[np.bool_] = (self.created >= window.start_s) & np.isfinite(self.created)
        return inside

    def frame(self, window: Window) -> pd.DataFrame:
        """The records of the events created within the window, one row a delivery (`RECORD_COLUMNS`)."""
        kept = self.within(window)
        return _frame(
            event=self.audience.event[kept],
            subscriber=np.nonzero(kept)[0],
            created=self.created[kept],
            first_attempt=self.first_attempt[kept],
            visible=self.visible[kept],
            attempts=self.attempts[kept],
            copies=self.copies[kept],
            via=self.via[kept],
            status=self.status[kept],
        )

    @classmethod
    def from_frame(cls, records: pd.DataFrame) -> Deliveries:
        """The arrays of a record frame: every subscriber's events, in order, as `frame` wrote them.

        Raises:
            ValueError: the rows are not those of one run of one mechanism.
        """
        subscriber, event = records["subscriber"].to_numpy(), records["event"].to_numpy()
        opens = np.ones(len(records), dtype=np.bool_)
        opens[1:] = subscriber[1:] != subscriber[:-1]
        if (np.diff(subscriber) < 0).any() or (np.diff(event)[~opens[1:]] <= 0).any():
            raise ValueError(
                "records must be of one run of one mechanism, every subscriber's events in order"
            )
        edges = [int(place) for place in np.flatnonzero(opens)] or [0]

        def split(values: NDArray[Any]) -> list[NDArray[Any]]:
            return np.split(values, edges[1:])

        audience = of_rows(split(event), split(records["created"].to_numpy(dtype=np.float64)))
        places = np.isfinite(audience.created)
        deliveries = cls.empty(audience, Via.WEBHOOK)
        for name in ("first_attempt", "visible", "attempts", "copies", "via", "status"):
            values = records[name].cat.codes if name in {"via", "status"} else records[name]
            getattr(deliveries, name)[places] = values.to_numpy()
        return deliveries


@dataclass(frozen=True)
class Replication:
    """One mechanism in one seeded run.

    Attributes:
        deliveries: what became of each event.
        counters: what happened within the window.
        series: requests sent in each bin of the world's time (`series_bin_s`), int64, from 0 to its end.
    """

    deliveries: Deliveries
    counters: Counters
    series: NDArray[np.int64]


def measured_records(
    *,
    created_us: ArrayLike,
    first_attempt_us: ArrayLike,
    visible_us: ArrayLike,
    attempts: ArrayLike,
    copies: ArrayLike,
    via: Via | ArrayLike,
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
        via: a `Via` each, or the way all of them came.
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
        via=np.broadcast_to(np.asarray(via, dtype=np.int8), len(created)),
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
