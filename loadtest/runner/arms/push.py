"""The arms in which the provider pushes: signed webhooks to a receiver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loadtest.runner.arms.arm import Arm, Course, ProviderRows, Rows, Statuses, copied, no_tries
from loadtest.runner.outcome import inbox_counters
from loadtest.runner.processes import Child
from loadtest.runner.session import body_limit, sole_subscription, subscribe
from loadtest.schedule import IntArray
from sim.records import Counters

if TYPE_CHECKING:
    from sim.scenario import Scenario


@dataclass(frozen=True)
class PushArm(Arm):
    """The provider POSTs each event to a receiver."""

    stops: tuple[str, ...] = field(default=("provider", "receiver"), kw_only=True)

    def unlike_the_model(self, scenario: Scenario) -> list[str]:
        """See `Arm`."""
        told = super().unlike_the_model(scenario)
        if scenario.receiver.acknowledge == "after_processing":
            told.append("the real receiver acknowledges on receipt, not after processing")
        return told

    def provider_flags(self, course: Course) -> list[str]:
        """See `Arm`."""
        return sole_subscription(course.scenario, course.events)

    def open(self, course: Course) -> dict[str, Child]:
        """See `Arm`."""
        flags = ("--queue-limit", str(course.scenario.receiver.queue_limit), *body_limit(course.scenario))
        return {"receiver": course.session.crew.server("receiver", *course.inbox_flags, *flags)}

    def begin(self, course: Course, servers: Mapping[str, Child], origin_us: int) -> dict[str, Child]:
        """See `Arm`."""
        url = f"{servers['receiver'].url}/webhooks/standard"
        subscribe(servers["provider"], url, course.scenario, origin_us)
        return {}

    def counters(self, servers: Statuses) -> Counters:
        """See `Arm`."""
        provider, receiver = servers["provider"], servers["receiver"]
        counters = inbox_counters(receiver)
        counters.requests = provider["dispatched"]
        counters.timeouts = provider["timeouts"]
        counters.errors = provider["connection_errors"]
        counters.rejected = receiver.get("rejected_full")
        copied(counters, provider, ("request_bytes", "response_bytes", "connections_opened"))
        copied(counters, provider, ("unsent", "dead_letters", "redeliveries"))
        return counters

    def tries(
        self, size: int, rows: Rows, provider_rows: ProviderRows, statuses: Statuses
    ) -> tuple[IntArray, IntArray]:
        """See `Arm`; the provider's ledger knows."""
        first, attempts = no_tries(size)
        for entry in provider_rows:
            index = int(entry["index"])
            first[index], attempts[index] = int(entry["first_attempt_us"]), int(entry["attempts"])
        return first, attempts
