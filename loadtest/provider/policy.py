"""How an endpoint is to be served: the scenario's ``webhook`` table, or a provider's preset of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from loadtest.provider.standing import Disabling
from loadtest.retry import (
    LEAST_PERIOD_S,
    RetryPolicy,
    require_count,
    require_number,
    require_table,
    without_nulls,
)
from sim.errors import InputError

DEFAULT_RETRY = RetryPolicy("exponential", max_attempts=6, jitter="full")
MAX_NOTIFICATION_BYTES = 1_000_000
MAX_REDIRECTS = 2  # as many as Slack follows (Slack, "Events API": HTTP redirects)


@dataclass(frozen=True, slots=True)
class Redelivery:
    """The scenario's ``webhook.redelivery`` table: dead letters tried again, as if by hand.

    Somebody looks at every multiple of `every_s` after `origin_us` (the machine's monotonic clock) and tries
    each dead letter once: `rounds` looks at the most, and only while its event is at most `within_s` old.

    Raises:
        InputError: an impossible value.
    """

    every_s: float
    rounds: int = 1
    within_s: float | None = None
    origin_us: int = 0

    def __post_init__(self) -> None:
        require_number("redelivery.every_s", self.every_s, LEAST_PERIOD_S)
        require_count("redelivery.rounds", self.rounds)
        if self.within_s is not None:
            require_number("redelivery.within_s", self.within_s, above=0)
        if type(self.origin_us) is not int or abs(self.origin_us) >= 2**63:
            raise InputError(
                f"redelivery.origin_us must be a whole number of 64 bits, got {self.origin_us!r:.80}"
            )

    @classmethod
    def from_table(cls, table: object) -> Redelivery:
        """Read the table as parsed from JSON; a null is as good as a key left out.

        Raises:
            InputError: not a table, an unknown or missing key, or a value that is not allowed.
        """
        values = without_nulls(require_table("redelivery", table, cls))
        if "every_s" not in values:
            raise InputError("redelivery.every_s is missing")
        return cls(**values)

    def next_look_us(self, now_us: int) -> int:
        """When the dead letters are next looked at, strictly after now."""
        every_us = self.every_s * 1e6
        return self.origin_us + round(((now_us - self.origin_us) // every_us + 1) * every_us)


@dataclass(frozen=True, slots=True)
class WebhookPolicy:
    """The scenario's ``webhook`` table, and what only a real sender needs.

    Args:
        timeout_s: from sending to the end of the answer, redirects included.
        retry: when a failed attempt is tried again.
        max_in_flight: requests at a time.
        disabling: when the endpoint is switched off; None: for 410 only.
        redelivery: how often somebody looks at the dead letters; None: nobody but the owner.
        max_redirects: redirects followed, 0 to 2.
        retry_after_limit_s: the longest that a Retry-After can put an attempt off.
        notification_bytes: send, in place of the event, a notice of it of at least so many bytes, and let the
            receiver fetch the event by its id; None: send the event.

    Raises:
        InputError: an impossible value.
    """

    timeout_s: float = 10.0
    retry: RetryPolicy = DEFAULT_RETRY
    max_in_flight: int = 100
    disabling: Disabling | None = None
    redelivery: Redelivery | None = None
    max_redirects: int = 0
    retry_after_limit_s: float = 86400.0
    notification_bytes: int | None = None

    def __post_init__(self) -> None:
        require_number("webhook.timeout_s", self.timeout_s, above=0)
        require_count("webhook.max_in_flight", self.max_in_flight)
        require_number("webhook.retry_after_limit_s", self.retry_after_limit_s, 0)
        size = self.notification_bytes
        if size is not None and (type(size) is not int or not 0 <= size <= MAX_NOTIFICATION_BYTES):
            raise InputError(
                f"webhook.notification_bytes must be 0 to {MAX_NOTIFICATION_BYTES}, got {size!r:.80}"
            )
        if type(self.max_redirects) is not int or not 0 <= self.max_redirects <= MAX_REDIRECTS:
            raise InputError(
                f"webhook.max_redirects must be 0 to {MAX_REDIRECTS}, got {self.max_redirects!r:.80}"
            )

    @classmethod
    def from_table(cls, table: object) -> WebhookPolicy:
        """Read the table as parsed from JSON; what it leaves out is hookbench's default.

        With ``"preset": NAME`` what it leaves out is that provider's.

        Raises:
            InputError: not a table, an unknown key or preset, or a value that is not allowed.
        """
        if isinstance(table, Mapping) and "preset" in table:
            own = {key: value for key, value in table.items() if key != "preset"}
            return cls.from_table({**preset_table(table["preset"]), **own})
        values = dict(require_table("webhook", table, cls))
        if "retry" in values:
            values["retry"] = RetryPolicy.from_table(values["retry"])
        for key, kind in (("disabling", Disabling), ("redelivery", Redelivery)):
            if values.get(key) is not None:
                values[key] = kind.from_table(values[key])
        return cls(**values)

    @classmethod
    def of(cls, told: object) -> WebhookPolicy:
        """Read a policy told as the name of a preset, or as a table.

        Raises:
            InputError: neither, or one that is not allowed.
        """
        return cls.from_table({"preset": told} if isinstance(told, str) else told)

    def table(self) -> dict[str, Any]:
        """The policy as a table, as `from_table` reads it."""
        return asdict(self)


def preset_table(name: object) -> dict[str, Any]:
    """A provider's ``webhook`` table, from the presets that scenarios use.

    Raises:
        InputError: there is none of this name, or it says nothing of webhooks.
    """
    from sim.scenario.presets import load_part  # noqa: PLC0415 - half a second of pydantic, only when asked

    if not isinstance(name, str):
        raise InputError(f"policy.preset is a provider's name, got {name!r:.80}")
    webhook = load_part("provider", name, "policy.preset").get("webhook")
    if webhook is None:
        raise InputError(f"policy.preset: {name!r} says nothing of webhooks")
    return dict(webhook)
