"""How an endpoint stands with its provider: enabled, or disabled: for failing, by 410, by its owner.

The rule is that of the scenario's ``webhook.disabling``, and of `sim.policies.endpoints` to the letter:
failures are those of all the endpoint's events together, counted when they become known; a success ends a
row of them; what becomes known while the endpoint is off is not held against it; switched on again, it
starts afresh. Added for the real provider: a share of failing attempts within a window (Slack, "Events API",
"Failure limits": more than 95 % within 60 minutes), and 410 Gone, after which only the owner can
switch the endpoint on again (Standard Webhooks specification, "Deliverability and reliability").
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from loadtest.retry import (
    LEAST_PERIOD_S,
    require_count,
    require_number,
    require_table,
    without_nulls,
)
from sim.errors import InputError

NEVER_US = 2**63 - 1
_BUCKETS = (
    60  # of the window of a share: what is forgotten is at most a sixtieth of it older than it should be
)


@dataclass(frozen=True, slots=True)
class Disabling:
    """The scenario's ``webhook.disabling`` table, and a share.

    Args:
        consecutive_failures: off after so many failed attempts in a row.
        failing_for_s: off once every attempt has failed for so long.
        failing_share: off when at least this share of the attempts of the last `share_window_s` has failed,
            given `share_attempts` of them.
        re_enable_after_s: on again so much later; None: when the owner says so.

    Raises:
        InputError: no rule, or an impossible value.
    """

    consecutive_failures: int | None = None
    failing_for_s: float | None = None
    failing_share: float | None = None
    share_window_s: float = 3600.0
    share_attempts: int = 100
    re_enable_after_s: float | None = None

    def __post_init__(self) -> None:
        if self.consecutive_failures is None and self.failing_for_s is None and self.failing_share is None:
            raise InputError("disabling: state consecutive_failures, failing_for_s or failing_share")
        if self.consecutive_failures is not None:
            require_count("disabling.consecutive_failures", self.consecutive_failures)
        require_count("disabling.share_attempts", self.share_attempts)
        require_number("disabling.share_window_s", self.share_window_s, LEAST_PERIOD_S)
        for name in ("failing_for_s", "failing_share", "re_enable_after_s"):
            value = getattr(self, name)
            if value is not None:
                require_number(f"disabling.{name}", value, above=0)
        if self.failing_share is not None and self.failing_share > 1:
            raise InputError(f"disabling.failing_share is at most 1, got {self.failing_share!r}")

    @classmethod
    def from_table(cls, table: object) -> Disabling:
        """Read the table as parsed from JSON; a null is as good as a key left out.

        Raises:
            InputError: not a table, an unknown key, or a value that is not allowed.
        """
        return cls(**without_nulls(require_table("disabling", table, cls)))


class Standing:
    """One endpoint's standing; times in µs.

    Attributes:
        rule: when it is disabled for failing; None: never.
        reason: why it is off, as far as it is: "failing", "gone" or "owner".
    """

    def __init__(self, rule: Disabling | None) -> None:
        self.rule = rule
        self.reason = ""
        self._failures = 0
        self._since_us = 0
        self._off_until_us = 0
        self._recent = _Share()

    def is_off(self, now_us: int) -> bool:
        """Whether nothing is to be sent."""
        return now_us < self._off_until_us

    def succeeded(self, now_us: int) -> None:
        """An attempt is known to have been acknowledged."""
        self._failures = 0
        if self.rule is not None and not self.is_off(now_us):
            self._recent.note(self.rule, now_us, failed=False)

    def failed(self, now_us: int) -> bool:
        """An attempt is known to have failed; returns whether that switches the endpoint off."""
        if self.rule is None or self.is_off(now_us):
            return False
        if self._failures == 0:
            self._since_us = now_us
        self._failures += 1
        self._recent.note(self.rule, now_us, failed=True)
        if not self._too_much(self.rule, now_us):
            return False
        after_s = self.rule.re_enable_after_s
        self._off("failing", NEVER_US if after_s is None else now_us + round(after_s * 1e6))
        return True

    def switch_off(self, reason: str) -> None:
        """Off until `switch_on`: "gone" or "owner"."""
        self._off(reason, NEVER_US)

    def switch_on(self) -> None:
        """On, and nothing held against it."""
        self._off("", 0)

    def document(self, now_us: int) -> dict[str, object]:
        """The standing as the subscriptions API shows it."""
        if not self.is_off(now_us):
            return {"state": "enabled"}
        document: dict[str, object] = {"state": "disabled", "reason": self.reason}
        if self._off_until_us != NEVER_US:
            document["enabled_again_in_s"] = (self._off_until_us - now_us) / 1e6
        return document

    def _too_much(self, rule: Disabling, now_us: int) -> bool:
        if rule.consecutive_failures is not None and self._failures >= rule.consecutive_failures:
            return True
        if rule.failing_for_s is not None and now_us - self._since_us >= rule.failing_for_s * 1e6:
            return True
        return rule.failing_share is not None and self._recent.reaches(rule, now_us)

    def _off(self, reason: str, until_us: int) -> None:
        self.reason, self._off_until_us = reason, until_us
        self._failures = 0
        self._recent = _Share()


class _Share:
    """Attempts and failures of late, counted in a fixed number of slices of the window."""

    def __init__(self) -> None:
        self._slices: deque[list[int]] = deque()  # [slice, attempts, failures]

    def note(self, rule: Disabling, now_us: int, *, failed: bool) -> None:
        if rule.failing_share is None:
            return
        current = self._forget_before(rule, now_us)
        if not self._slices or self._slices[-1][0] != current:
            self._slices.append([current, 0, 0])
        self._slices[-1][1] += 1
        self._slices[-1][2] += failed

    def reaches(self, rule: Disabling, now_us: int) -> bool:
        self._forget_before(rule, now_us)
        attempts = sum(slice_[1] for slice_ in self._slices)
        failures = sum(slice_[2] for slice_ in self._slices)
        assert rule.failing_share is not None
        return attempts >= rule.share_attempts and failures >= rule.failing_share * attempts

    def _forget_before(self, rule: Disabling, now_us: int) -> int:
        current = int(now_us // (rule.share_window_s * 1e6 / _BUCKETS))
        while self._slices and self._slices[0][0] <= current - _BUCKETS - 1:
            self._slices.popleft()
        return current
