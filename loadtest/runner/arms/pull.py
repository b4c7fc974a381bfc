"""The arms in which the subscriber fetches: pollers of the provider's events API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loadtest.runner.arms.arm import MARGIN_S, Arm, Course, ProviderRows, Rows, Statuses, copied, no_tries
from loadtest.runner.outcome import inbox_counters
from loadtest.runner.processes import Child
from loadtest.schedule import IntArray
from sim.records import Counters

if TYPE_CHECKING:
    from sim.scenario import Scenario

MOST_IN_PAGE = 1000
"""The provider's own limit."""


@dataclass(frozen=True)
class PullArm(Arm):
    """A poller asks at a fixed rate."""

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
        return told

    def drain_s(self, scenario: Scenario) -> float:
        """See `Arm`: until the next tick."""
        return scenario.polling.interval_s + MARGIN_S

    def begin(self, course: Course, servers: Mapping[str, Child], origin_us: int) -> dict[str, Child]:
        """See `Arm`."""
        from sim.engine import poll_phase_s  # noqa: PLC0415 - compiled code

        polling = course.scenario.polling
        phase_s = float(poll_phase_s(course.scenario, course.seed))
        poller = course.session.crew.server(
            "poller",
            *("--source", servers["provider"].url, *course.inbox_flags),
            *("--interval-s", repr(polling.interval_s), "--phase-s", repr(phase_s)),
            *("--origin-us", str(origin_us), "--page-size", str(min(polling.page_size, MOST_IN_PAGE))),
            *("--timeout-s", repr(polling.timeout_s)),
        )
        return {"receiver": poller}

    def silent_until_us(self, course: Course, origin_us: int, last_us: int) -> int:
        """See `Arm`: nothing can have come before the next tick."""
        return next_tick_us(course.scenario, course.seed, origin_us, last_us)

    def outcomes(self, provider_rows: ProviderRows, rows: Rows, statuses: Statuses) -> list[dict[str, str]]:
        """See `Arm`: what the provider had forgotten before the poller came."""
        return with_missed(provider_rows, rows, statuses.get("receiver", {}).get("missed_events", 0))

    def counters(self, servers: Statuses) -> Counters:
        """See `Arm`; the poller counts."""
        poller = servers["receiver"]
        counters = inbox_counters(poller)
        copied(counters, poller, ("requests", "empty_responses", "not_modified"))
        copied(counters, poller, ("timeouts", "errors", "rejected", "request_bytes", "response_bytes"))
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
