"""The arms in which the subscriber asks now and then: pollers of the provider's events API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loadtest.runner.arms.arm import (
    MARGIN_S,
    MOST_IN_PAGE,
    Arm,
    Course,
    ProviderRows,
    Rows,
    Statuses,
    copied,
    no_tries,
)
from loadtest.runner.outcome import inbox_counters
from loadtest.runner.processes import Child
from loadtest.schedule import IntArray
from sim.records import Counters

if TYPE_CHECKING:
    from sim.scenario import Scenario


@dataclass(frozen=True)
class PullArm(Arm):
    """A consumer process fetches events from the provider, from the origin on."""

    def consumer(self, course: Course) -> tuple[str, list[str]]:
        """The consumer's role, and the flags that make it the scenario's."""
        raise NotImplementedError

    def approach(self, course: Course, servers: Mapping[str, Child]) -> dict[str, Child]:
        """See `Arm`."""
        role, flags = self.consumer(course)
        consumer = course.session.crew.server(
            role,
            *("--source", servers["provider"].url, *course.inbox_flags),
            *("--origin-file", str(course.origin_file), *flags),
        )
        return {"receiver": consumer}

    def outcomes(self, provider_rows: ProviderRows, rows: Rows, statuses: Statuses) -> list[dict[str, str]]:
        """See `Arm`: what the provider had forgotten before it was asked for."""
        return with_missed(provider_rows, rows, statuses.get("receiver", {}).get("missed_events", 0))

    def counters(self, servers: Statuses) -> Counters:
        """See `Arm`; the consumer counts."""
        consumer = servers["receiver"]
        counters = inbox_counters(consumer)
        copied(counters, consumer, ("requests", "empty_responses", "not_modified", "timeouts", "errors"))
        copied(counters, consumer, ("rejected", "request_bytes", "response_bytes"))
        copied(counters, consumer, ("connections_opened", "connections_peak", "connection_s"))
        return counters

    def tries(
        self, size: int, rows: Rows, provider_rows: ProviderRows, statuses: Statuses
    ) -> tuple[IntArray, IntArray]:
        """See `Arm`: an event's first attempt is the answer that carried it, hence its arrival."""
        first, attempts = no_tries(size)
        for row in rows:
            if 0 <= row.event_index < size:
                first[row.event_index], attempts[row.event_index] = row.received_us, 1
        return first, attempts


@dataclass(frozen=True)
class FixedRateArm(PullArm):
    """A poller asks at every tick.

    Attributes:
        conditional: it sends the ETag of the last answer.
    """

    conditional: bool = field(default=False, kw_only=True)

    def refusal(self, scenario: Scenario) -> str | None:
        """See `Arm`."""
        schedule = scenario.polling.schedule
        if schedule == "fixed_rate":
            return None
        return f'the real poller asks at a fixed rate only, not polling.schedule = "{schedule}"'

    def unlike_the_model(self, scenario: Scenario) -> list[str]:
        """See `Arm`."""
        told = super().unlike_the_model(scenario)
        if scenario.polling.jitter_s:
            told.append("polling.jitter_s is not enacted")
        if self.conditional:
            told.append("the first empty answer behind a page is no 304: its URL has another cursor")
        return told

    def drain_s(self, scenario: Scenario) -> float:
        """See `Arm`: until the next tick."""
        return scenario.polling.interval_s + MARGIN_S

    def consumer(self, course: Course) -> tuple[str, list[str]]:
        """See `PullArm`."""
        from sim.engine import poll_phase_s  # noqa: PLC0415 - compiled code

        phase_s = float(poll_phase_s(course.scenario, course.seed))
        flags = ["--interval-s", repr(course.scenario.polling.interval_s), "--phase-s", repr(phase_s)]
        if self.conditional:
            flags.append("--conditional")
        return "poller", [*flags, *page_flags(course.scenario, course.scenario.polling.timeout_s)]

    def silent_until_us(self, course: Course, origin_us: int, last_us: int) -> int:
        """See `Arm`: nothing can have come before the next tick."""
        return next_tick_us(course.scenario, course.seed, origin_us, last_us)


@dataclass(frozen=True)
class AdaptiveArm(PullArm):
    """A poller whose interval follows what it finds."""

    def drain_s(self, scenario: Scenario) -> float:
        """See `Arm`: the longest interval that the rule can have come to by the end of the run."""
        rule, duration_s = scenario.adaptive_polling, scenario.run.duration_s
        grown_s = rule.share * duration_s if rule.kind == "age" else duration_s + rule.increase_s
        longest_s = max(scenario.polling.interval_s, rule.min_interval_s, grown_s)
        return min(rule.max_interval_s, longest_s) + MARGIN_S

    def consumer(self, course: Course) -> tuple[str, list[str]]:
        """See `PullArm`."""
        scenario, rule = course.scenario, course.scenario.adaptive_polling
        return "poller", [
            *("--adaptive", rule.kind, "--share", repr(rule.share), "--increase-s", repr(rule.increase_s)),
            *("--decrease", repr(rule.decrease), "--min-interval-s", repr(rule.min_interval_s)),
            *("--max-interval-s", repr(rule.max_interval_s)),
            *("--interval-s", repr(scenario.polling.interval_s), *first_wake_flags(scenario, course.seed)),
            *page_flags(scenario, scenario.polling.timeout_s),
        ]


def page_flags(scenario: Scenario, timeout_s: float) -> list[str]:
    """How a consumer asks for pages."""
    page_size = min(scenario.polling.page_size, MOST_IN_PAGE)
    return ["--page-size", str(page_size), "--timeout-s", repr(timeout_s)]


def first_wake_flags(scenario: Scenario, seed: int) -> list[str]:
    """When a consumer that chooses its own times first asks: as the model's."""
    from sim.policies import first_wake, sleeping_schedule  # noqa: PLC0415 - compiled code

    return ["--phase-s", repr(float(first_wake(sleeping_schedule(scenario.polling), seed, 0)))]


def next_tick_us(scenario: Scenario, seed: int, origin_us: int, after_us: int) -> int:
    """The poller's first tick not before `after_us`, on the run's clock."""
    from sim.engine import poll_phase_s  # noqa: PLC0415 - compiled code

    first_us = origin_us + round(float(poll_phase_s(scenario, seed)) * 1e6)
    interval_us = round(scenario.polling.interval_s * 1e6)
    return first_us + max(0, -((first_us - after_us) // interval_us)) * interval_us


def with_missed(provider_rows: ProviderRows, rows: Rows, missed: int) -> list[dict[str, str]]:
    """The provider's ledger, with the outcome "failed" for what it had forgotten before the poller came.

    One poller that reads in order misses the oldest of what it has not seen.
    """
    seen = {row.event_index for row in rows}
    marked = []
    for entry in provider_rows:
        lost = missed > 0 and int(entry["index"]) not in seen
        missed -= lost
        marked.append({**entry, "outcome": "failed"} if lost else dict(entry))
    return marked
