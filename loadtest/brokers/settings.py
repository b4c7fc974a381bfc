"""What of the scenario's broker tables a real broker can be told; the same keys, defaults and meaning."""

from __future__ import annotations

from dataclasses import dataclass, field

from loadtest.retry import RetryPolicy, require_count, require_number, require_table, retry_delay_s
from sim.errors import InputError

_MOST_ATTEMPTS = 1000


@dataclass(frozen=True, slots=True)
class Reconnect:
    """The scenario's ``reconnect`` table: how long to wait before the next try; it never gives up.

    Raises:
        InputError: an impossible value.
    """

    kind: str = "exponential"
    base_s: float = 1.0
    factor: float = 2.0
    cap_s: float = 60.0
    jitter: str = "full"

    def __post_init__(self) -> None:
        self.delay_s(1, 0.0)

    def delay_s(self, failures: int, u: float) -> float:
        """The pause after so many failures in a row, in seconds, by a uniform number in [0, 1)."""
        policy = RetryPolicy(
            *(self.kind, self.base_s, self.factor, self.cap_s),
            max_attempts=_MOST_ATTEMPTS,
            jitter=self.jitter,
        )
        return retry_delay_s(policy, min(failures, _MOST_ATTEMPTS), self.base_s, u)


@dataclass(frozen=True, slots=True)
class PushSettings:
    """Of ``broker_push``: a queue that pushes.

    Raises:
        InputError: an impossible value.
    """

    prefetch: int = 20
    max_deliveries: int = 20
    heartbeat_timeout_s: float = 45.0
    reconnect: Reconnect = field(default_factory=Reconnect)

    def __post_init__(self) -> None:
        require_count("broker_push.prefetch", self.prefetch)
        if self.prefetch > 65_535:
            raise InputError(f"broker_push.prefetch is at most 65535 in AMQP 0-9-1, got {self.prefetch}")
        require_count("broker_push.max_deliveries", self.max_deliveries)
        require_number("broker_push.heartbeat_timeout_s", self.heartbeat_timeout_s, 0)

    @classmethod
    def from_table(cls, table: object) -> PushSettings:
        """Read the table as parsed from JSON.

        Raises:
            InputError: not a table, an unknown key, or a value that is not allowed.
        """
        values = require_table("broker_push", table, cls)
        if "reconnect" in values:
            reconnect = require_table("broker_push.reconnect", values["reconnect"], Reconnect)
            values = {**values, "reconnect": Reconnect(**reconnect)}
        return cls(**values)


@dataclass(frozen=True, slots=True)
class PullSettings:
    """Of ``broker_pull``: a log that is fetched from.

    Attributes:
        consumers: members of the group in this process; the scenario has one a worker of its receiver.
        event_bytes: an event's size, by which a broker that counts bytes is told `fetch_min`.

    Raises:
        InputError: an impossible value.
    """

    partitions: int = 4
    fetch_min: int = 1
    fetch_max_wait_s: float = 0.5
    max_records: int = 500
    idle_s: float = 0.0
    commit_interval_s: float = 5.0
    rebalance_s: float = 3.0
    consumers: int = 1
    event_bytes: int = 1000

    @property
    def reconnect(self) -> Reconnect:
        """The scenario says nothing of it: clients of a log connect again soon."""
        return Reconnect(base_s=0.2, cap_s=5.0)

    def __post_init__(self) -> None:
        for name in ("partitions", "fetch_min", "max_records", "consumers", "event_bytes"):
            require_count(f"broker_pull.{name}", getattr(self, name))
        for name in ("fetch_max_wait_s", "idle_s", "commit_interval_s", "rebalance_s"):
            require_number(f"broker_pull.{name}", getattr(self, name), 0)
        if self.fetch_max_wait_s == 0 and self.idle_s == 0:
            raise InputError("broker_pull.fetch_max_wait_s and idle_s must not both be 0")

    @classmethod
    def from_table(cls, table: object) -> PullSettings:
        """Read the table as parsed from JSON.

        Raises:
            InputError: not a table, an unknown key, or a value that is not allowed.
        """
        return cls(**require_table("broker_pull", table, cls))
