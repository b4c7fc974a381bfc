"""When a failed webhook is tried again: the rule of the scenario's ``webhook.retry``, as pure functions.

The nominal delay before attempt k+1, counted from when the failure of attempt k is known: fixed `base_s`;
linear `base_s`·k; exponential `base_s`·`factor`^(k-1), each at most `cap_s`; schedule the k-th of `gaps_s`.
Jitter after Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): full U(0, d);
equal d/2 + U(0, d/2); decorrelated min(cap, U(base, 3·previous)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from sim.errors import InputError

KINDS = ("none", "fixed", "linear", "exponential", "schedule")
MOST = 1e9
"""Of any number: as seconds 31 years, which in microseconds still is a number that clocks can be added to."""

LEAST_PERIOD_S = 0.001
"""Of what happens again and again: as short as timers are exact."""

JITTERS = ("none", "full", "equal", "proportional", "decorrelated")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The scenario's ``webhook.retry`` table; the same keys, defaults and meaning.

    Raises:
        InputError: an impossible value or combination.
    """

    kind: str
    base_s: float = 10.0
    factor: float = 2.0
    cap_s: float = 3600.0
    gaps_s: tuple[float, ...] = ()
    max_attempts: int | None = None
    max_duration_s: float | None = None
    jitter: str = "none"
    spread: float = 0.2

    def __post_init__(self) -> None:
        _one_of("retry.kind", self.kind, KINDS)
        _one_of("retry.jitter", self.jitter, JITTERS)
        require_number("retry.base_s", self.base_s, 0)
        require_number("retry.factor", self.factor, 1)
        require_number("retry.cap_s", self.cap_s, 0)
        require_number("retry.spread", self.spread, 0)
        if self.spread > 1:
            raise InputError(f"retry.spread must be a number from 0 to 1, got {self.spread!r}")
        for gap_s in self.gaps_s:
            require_number("retry.gaps_s", gap_s, 0)
        if self.max_duration_s is not None:
            require_number("retry.max_duration_s", self.max_duration_s, 0)
        if self.max_attempts is not None:
            require_count("retry.max_attempts", self.max_attempts)
        if (self.kind == "schedule") != bool(self.gaps_s):
            raise InputError('retry.gaps_s and kind = "schedule" belong together')
        if self.kind in ("fixed", "linear", "exponential") and self.max_attempts is None:
            raise InputError(f'retry.kind = "{self.kind}" needs max_attempts')

    @classmethod
    def from_table(cls, table: object) -> RetryPolicy:
        """Read the table as parsed from JSON.

        Raises:
            InputError: not a table, an unknown key, or a value that is not allowed.
        """
        values = require_table("retry", table, cls)
        if "kind" not in values:
            raise InputError(f"retry.kind is missing; it is one of {', '.join(KINDS)}")
        gaps = values.get("gaps_s", ())
        if not isinstance(gaps, list | tuple):
            raise InputError(f"retry.gaps_s must be a list of seconds, got {gaps!r}")
        return cls(**{**values, "gaps_s": tuple(gaps)})

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


def retry_delay_s(retry: RetryPolicy, attempt: int, previous_s: float, u: float) -> float:
    """The delay before the next attempt, in seconds, after `attempt` (1 is the first) has failed.

    Args:
        retry: the rule; `attempt` must be below its `attempts_allowed`.
        attempt: how many attempts were made.
        previous_s: the delay before this attempt; before the first, `retry.base_s`. Only decorrelated
            jitter looks at it.
        u: a uniform number in [0, 1).
    """
    if retry.jitter == "decorrelated":
        return min(retry.cap_s, retry.base_s + u * max(3.0 * previous_s - retry.base_s, 0.0))
    nominal_s = _nominal_delay_s(retry, attempt)
    if retry.jitter == "full":
        return u * nominal_s
    if retry.jitter == "equal":
        return nominal_s / 2 + u * (nominal_s / 2)
    if retry.jitter == "proportional":
        return nominal_s * ((1 - retry.spread) + u * (2 * retry.spread))
    return nominal_s


def _nominal_delay_s(retry: RetryPolicy, attempt: int) -> float:
    if retry.kind == "schedule":
        return retry.gaps_s[attempt - 1]
    if retry.kind == "fixed":
        return min(retry.cap_s, retry.base_s)
    if retry.kind == "linear":
        return min(retry.cap_s, retry.base_s * attempt)
    try:
        return min(retry.cap_s, retry.base_s * retry.factor ** (attempt - 1))
    except OverflowError:
        return retry.cap_s if retry.base_s > 0 else 0.0


def retry_after_s(value: str | None, now_s: float) -> float:
    """The seconds a Retry-After header asks for, 0 when it is absent or says nothing intelligible.

    Source: RFC 9110, section 10.2.3: a number of seconds, or an HTTP date (`now_s` is Unix time).
    """
    if value is None:
        return 0.0
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0.0
    if moment.tzinfo is None:  # asctime's form, which names no zone: HTTP dates are in UTC (section 5.6.7)
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - now_s)


def require_table(name: str, table: object, spec: type) -> Mapping[str, Any]:
    """`table` when it is a table with only the fields of the dataclass `spec`.

    Raises:
        InputError: otherwise, naming the key.
    """
    if not isinstance(table, Mapping):
        raise InputError(f"{name} must be a table, got {table!r:.80}")
    known = [field.name for field in fields(spec)]
    for key in table:
        if key not in known:
            raise InputError(f"unknown key {key!r} in {name}; known: {', '.join(known)}")
    return table


def without_nulls(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table as JSON has it, whose nulls are keys left out."""
    return {key: value for key, value in table.items() if value is not None}


def require_number(name: str, value: object, least: float = 0, *, above: float | None = None) -> None:
    """Insist on a number not below `least`, or, where that is given, above `above`, and not over `MOST`.

    Raises:
        InputError: it is anything else.
    """
    number = _finite(value)
    if number is None or number < least:
        raise InputError(f"{name} must be a finite number from {least:g}, got {value!r:.80}")
    if above is not None and number <= above:
        raise InputError(f"{name} must be above {above:g}, got {value!r:.80}")
    if number > MOST:
        raise InputError(f"{name} must be at most {MOST:g}, got {value!r:.80}")


def require_count(name: str, value: object) -> None:
    """Insist on a whole number from 1.

    Raises:
        InputError: it is anything else.
    """
    if type(value) is not int or value < 1:
        raise InputError(f"{name} must be a whole number from 1, got {value!r:.80}")


def _finite(value: object) -> float | None:
    if type(value) is float:
        return value if math.isfinite(value) else None
    try:
        return float(value) if type(value) is int else None
    except OverflowError:  # an integer beyond any float
        return None


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{name} must be one of {', '.join(allowed)}, got {value!r:.80}")
