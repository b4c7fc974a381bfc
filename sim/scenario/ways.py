"""The ways an event may take: the parameters of every mechanism, a table each."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from sim.distribution_specs import Constant, DistributionSpec
from sim.scenario.presets import part_names
from sim.spec import Bytes, Count, NonNegative, Positive, Spec

Attempts = Annotated[int, Field(ge=1, le=1000)]
Factor = Annotated[float, Field(ge=1, le=1e6, allow_inf_nan=False)]


def _or_a_preset(schema: dict[str, Any]) -> None:
    """Tell editors that a file may name a provider's retries instead of stating a kind."""
    schema["properties"]["preset"] = {"enum": part_names("provider"), "title": "Preset"}
    schema["anyOf"] = [{"required": [key]} for key in (*schema.pop("required"), "preset")]


class Retry(Spec):
    """When a failed webhook is tried again.

    The nominal delay before attempt k+1, counted from when the failure is known:
    fixed `base_s`; linear `base_s`·k; exponential `base_s`·`factor`^(k-1), each at most `cap_s`;
    schedule the k-th of `gaps_s`. `max_attempts` includes the first; `max_duration_s` after the
    event no further attempt becomes ready. Jitter: full U(0, d); equal d/2 + U(0, d/2); proportional
    d·U(1 − `spread`, 1 + `spread`); decorrelated min(cap, U(base, 3·previous)) (Brooker, "Exponential
    Backoff And Jitter", AWS Architecture Blog, 2015). A file may say ``{ preset = "stripe" }`` instead of a
    kind, and has that provider's retries, changed by what else it states (`sim.scenario.presets`).
    """

    model_config = ConfigDict(json_schema_extra=_or_a_preset)

    kind: Literal["none", "fixed", "linear", "exponential", "schedule"]
    base_s: NonNegative = 10.0
    factor: Factor = 2.0
    cap_s: Positive = 3600.0
    gaps_s: Annotated[tuple[NonNegative, ...], Field(strict=False)] = ()
    max_attempts: Attempts | None = None
    max_duration_s: Positive | None = None
    jitter: Literal["none", "full", "equal", "proportional", "decorrelated"] = "none"
    spread: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.2

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind == "schedule" and not self.gaps_s:
            raise ValueError("a schedule needs gaps_s, the gaps in seconds between attempts")
        if self.kind != "schedule" and self.gaps_s:
            raise ValueError(f'gaps_s belongs to kind = "schedule", not {self.kind!r}')
        if self.jitter == "decorrelated" and self.kind != "exponential":
            raise ValueError(f'jitter = "decorrelated" needs kind = "exponential", not {self.kind!r}')
        if self.kind in {"fixed", "linear", "exponential"} and self.max_attempts is None:
            raise ValueError(f'kind = "{self.kind}" needs max_attempts (1 to 1000)')
        return self

    @property
    def attempts_allowed(self) -> int:
        """The most attempts one event may take, the first included."""
        if self.kind == "none":
            return 1
        if self.kind == "schedule":
            listed = len(self.gaps_s) + 1
            return listed if self.max_attempts is None else min(listed, self.max_attempts)
        assert self.max_attempts is not None
        return self.max_attempts


class Reconnect(Spec):
    """How long a client waits before it connects again, after the k-th failure in a row; it never gives up.

    fixed `base_s`; exponential `base_s`·`factor`^(k-1), at most `cap_s`; jitter as in `Retry`.
    """

    kind: Literal["fixed", "exponential"] = "exponential"
    base_s: Positive = 1.0
    factor: Factor = 2.0
    cap_s: Positive = 60.0
    jitter: Literal["none", "full", "equal"] = "full"


class Disabling(Spec):
    """When the provider switches an endpoint off, and for how long.

    Off after so many failed attempts in a row, or once every attempt has failed for so many seconds; what is
    due while it is off is not sent, and goes to the dead letters. `re_enable_after_s` later its owner
    switches it on again; left out, nobody does.
    """

    consecutive_failures: Count | None = None
    failing_for_s: Positive | None = None
    re_enable_after_s: Positive | None = None

    @model_validator(mode="after")
    def _some_rule(self) -> Self:
        if self.consecutive_failures is None and self.failing_for_s is None:
            raise ValueError("state consecutive_failures, failing_for_s or both")
        return self


class Redelivery(Spec):
    """Dead letters tried again by hand.

    Somebody looks at every multiple of `every_s` and tries each dead letter once more: `rounds` looks at the
    most, and only those whose event is at most `within_s` old (GitHub keeps deliveries for three days).
    """

    every_s: Positive
    rounds: Attempts = 1
    within_s: Positive | None = None


class Webhook(Spec):
    """How the provider pushes: one POST an event and endpoint, retried until acknowledged."""

    timeout_s: Positive = 10.0
    retry: Retry = Retry(
        kind="exponential", base_s=10.0, factor=2.0, cap_s=3600.0, max_attempts=6, jitter="full"
    )
    max_in_flight: Count = 100
    disabling: Disabling | None = None
    redelivery: Redelivery | None = None


class Reconciliation(Spec):
    """The poll beside the webhooks of `webhook_reconciled`, which fetches what they failed to bring."""

    interval_s: Positive = 600.0
    phase: Literal["random", "synchronised"] = "random"
    timeout_s: Positive = 30.0
    page_size: Count = 100

    @property
    def polling(self) -> Polling:
        """The same poll in the words of `polling`: at a fixed rate, without jitter."""
        return Polling(
            interval_s=self.interval_s,
            phase=self.phase,
            timeout_s=self.timeout_s,
            page_size=self.page_size,
        )


class ThinWebhook(Spec):
    """A webhook that only says that something happened; the receiver fetches the event by its id.

    A failed fetch (timeout, 5xx, 429) is tried again after `retry_s`, or the longer Retry-After,
    `max_attempts` times in all.
    """

    notification_bytes: Bytes = 200
    timeout_s: Positive = 10.0
    retry_s: NonNegative = 1.0
    max_attempts: Attempts = 5


class Polling(Spec):
    """How a subscriber asks: every `interval_s`, from a random or shared phase, page by page."""

    interval_s: Positive = 30.0
    schedule: Literal["fixed_rate", "fixed_delay", "exponential"] = "fixed_rate"
    timeout_s: Positive = 30.0
    jitter_s: NonNegative = 0.0
    phase: Literal["random", "synchronised"] = "random"
    page_size: Count = 100

    @model_validator(mode="after")
    def _jitter_keeps_ticks_in_order(self) -> Self:
        if self.jitter_s > self.interval_s:
            raise ValueError(f"jitter_s must be at most interval_s = {self.interval_s}, got {self.jitter_s}")
        if self.jitter_s > 0 and self.schedule == "exponential":
            raise ValueError('jitter_s must be 0 with schedule = "exponential", which is random already')
        return self


class ConditionalPolling(Spec):
    """What `conditional_polling` adds to `polling`: an ETag, and the size of the headers of a 304."""

    not_modified_bytes: Bytes = 200


class AdaptivePolling(Spec):
    """How `adaptive_polling` chooses its next interval, counted from the last response.

    "age": `share` times the age of the newest event known (the Alex protocol: Cate, "Alex: a global
    filesystem", USENIX File System Workshop 1992; Gwertzman & Seltzer, "World-wide web cache consistency",
    USENIX 1996). "aimd": `decrease` times the last interval when something was found, `increase_s` more when
    nothing was (Chiu & Jain, 1989, turned round). Either within [`min_interval_s`, `max_interval_s`].
    Phase, timeout and page size are those of `polling`, whose interval is the first.
    """

    kind: Literal["age", "aimd"] = "aimd"
    share: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 0.2
    increase_s: NonNegative = 5.0
    decrease: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.5
    min_interval_s: Positive = 1.0
    max_interval_s: Positive = 3600.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_interval_s < self.min_interval_s:
            raise ValueError(
                f"max_interval_s must be at least min_interval_s = {self.min_interval_s}, "
                f"got {self.max_interval_s}"
            )
        return self


class LongPolling(Spec):
    """A poll that the provider holds until there is something to say, `hold_s` at the most.

    The client asks again `gap_s` after an answer, and `retry_s` after a failure. An intermediary that sees a
    request unanswered for `intermediary_timeout_s` answers 504 in the provider's place (RFC 6202, §2.2 and
    §5.5). Page size is that of `polling`.
    """

    hold_s: NonNegative = 30.0
    gap_s: NonNegative = 0.0
    retry_s: NonNegative = 1.0
    timeout_s: Positive = 45.0
    intermediary_timeout_s: Positive | None = None


class Session(Spec):
    """What every lasting connection has: an end, its discovery, and a way back.

    A connection lives for a random `lifetime` (left out, until an outage ends it). A closed one is noticed
    when the news has crossed the network; a silent one (`silent = true`, say a NAT that forgot it) only when
    no heartbeat has come for `heartbeat_timeout_s`.
    """

    lifetime: DistributionSpec | None = None
    silent: bool = False
    heartbeat_s: Positive = 15.0
    heartbeat_timeout_s: Positive = 45.0
    heartbeat_bytes: Bytes = 16
    reconnect: Reconnect = Reconnect()

    @model_validator(mode="after")
    def _lives(self) -> Self:
        if self.lifetime is not None and self.lifetime.mean_s <= 0:
            raise ValueError("lifetime must have a mean above 0")
        return self


class Streaming(Session):
    """Server-sent events or a WebSocket: connect through the API, then events come as they happen.

    With `replay` a client names the last event it has and the provider sends what it missed, as far as the
    feed retains it (WHATWG HTML, "Server-sent events": Last-Event-ID); without, what happens while it is
    away is lost. Each event costs `frame_bytes` beside its payload.
    """

    replay: bool = True
    connect_timeout_s: Positive = 10.0
    frame_bytes: Bytes = 8


class BrokerPush(Session):
    """A queue at a broker that pushes to its consumer, as RabbitMQ does (AMQP 0-9-1, basic.qos, basic.ack).

    At most `prefetch` messages are out unacknowledged. `persist` is what storing one takes the broker. A
    message whose consumer failed on it is put back at the head and redelivered, `max_deliveries` in all, then
    dead-lettered. When a connection drops, what was unacknowledged is put back in its order.
    """

    prefetch: Count = 20
    persist: DistributionSpec = Constant(kind="constant", mean_s=0.001)
    max_deliveries: Attempts = 20
    frame_bytes: Bytes = 60


class BrokerPull(Spec):
    """A partitioned log that consumers fetch from, as Kafka's.

    Each of the receiver's workers is a consumer of its own partitions: it fetches (answered once `fetch_min`
    records are there or `fetch_max_wait_s` is over, at most `max_records`), works the batch off one by one,
    and fetches again, after `idle_s` if the batch was empty. It commits when it fetches, at most every
    `commit_interval_s`; a consumer that was down starts again where it last committed. At the end of an
    outage, and at random times `rebalance_every` apart, the group stops for `rebalance_s`. A record the
    consumer failed on is tried again at once, `max_deliveries` times in all, then dead-lettered (10: Spring
    for Apache Kafka, DefaultErrorHandler).
    """

    partitions: Annotated[int, Field(ge=1, le=10_000)] = 4
    persist: DistributionSpec = Constant(kind="constant", mean_s=0.001)
    fetch_min: Count = 1
    fetch_max_wait_s: NonNegative = 0.5
    max_records: Count = 500
    idle_s: NonNegative = 0.0
    commit_interval_s: NonNegative = 5.0
    max_deliveries: Attempts = 10
    rebalance_s: NonNegative = 3.0
    rebalance_every: DistributionSpec | None = None
    record_bytes: Bytes = 70

    @model_validator(mode="after")
    def _not_for_ever_at_once(self) -> Self:
        if self.fetch_max_wait_s == 0 and self.idle_s == 0:
            raise ValueError(
                "fetch_max_wait_s and idle_s must not both be 0: an empty log would be asked for ever"
            )
        if self.rebalance_every is not None and self.rebalance_every.mean_s <= 0:
            raise ValueError("rebalance_every must have a mean above 0")
        return self
