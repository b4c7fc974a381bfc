"""The arms in which the provider pushes: signed webhooks to a receiver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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
from loadtest.runner.session import body_limit, sole_subscription, subscribe
from loadtest.schedule import IntArray
from sim.records import MISSING_US, Counters

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
        return {"receiver": receiver(course)}

    def begin(self, course: Course, servers: Mapping[str, Child], origin_us: int) -> dict[str, Child]:
        """See `Arm`."""
        subscribe(servers["provider"], webhook_url(servers["receiver"]), course.scenario, origin_us)
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


@dataclass(frozen=True)
class ReconciledArm(PushArm):
    """The same, and the receiver polls now and then for what webhooks failed to bring."""

    def unlike_the_model(self, scenario: Scenario) -> list[str]:
        """See `Arm`."""
        told = super().unlike_the_model(scenario)
        told.append("once all is visible nobody waits for the polls that would carry it again (attempts)")
        return told

    def drain_s(self, scenario: Scenario) -> float:
        """See `Arm`: until the next poll, of which nobody waits for more than there is left to bring."""
        return scenario.reconciliation.interval_s + MARGIN_S

    def open(self, course: Course) -> dict[str, Child]:
        """See `Arm`: the receiver has to know the provider."""
        return {}

    def approach(self, course: Course, servers: Mapping[str, Child]) -> dict[str, Child]:
        """See `Arm`."""
        from sim.policies import compile_schedule, first_wake  # noqa: PLC0415 - compiled code

        spec = course.scenario.reconciliation
        phase_s = float(first_wake(compile_schedule(spec.polling), course.seed, 0))
        reconciling = receiver(
            course,
            *("--reconcile-from", servers["provider"].url),
            *("--reconcile-origin-file", str(course.origin_file)),
            *("--reconcile-interval-s", repr(spec.interval_s), "--reconcile-phase-s", repr(phase_s)),
            *("--reconcile-page-size", str(min(spec.page_size, MOST_IN_PAGE))),
            *("--reconcile-timeout-s", repr(spec.timeout_s)),
        )
        return {"receiver": reconciling}

    def given_up(self, servers: Statuses) -> int:
        """See `Arm`: nothing, before the polls have been through the whole feed."""
        counts = servers["receiver"]
        seen = counts["reconcile_events"] + counts["reconcile_missed_events"]
        return int(servers["provider"]["failed"]) if seen >= servers["provider"]["published"] else 0

    def counters(self, servers: Statuses) -> Counters:
        """See `Arm`: webhooks and polls together."""
        return with_requests_of(super().counters(servers), "reconcile", servers["receiver"])

    def tries(
        self, size: int, rows: Rows, provider_rows: ProviderRows, statuses: Statuses
    ) -> tuple[IntArray, IntArray]:
        """See `Arm`: an answer that carried an event is a try at it, as a webhook is.

        The polls read the feed in the order of publication, so they carried its first events.
        """
        first, attempts = super().tries(size, rows, provider_rows, statuses)
        carried = statuses.get("receiver", {}).get("reconcile_events", 0)
        in_order = sorted(provider_rows, key=lambda entry: int(entry["published_us"]))
        attempts[[int(entry["index"]) for entry in in_order[:carried]]] += 1
        for row in rows:
            if row.via == "poll" and 0 <= row.event_index < size and first[row.event_index] == MISSING_US:
                first[row.event_index] = row.received_us
        return first, attempts


@dataclass(frozen=True)
class ThinArm(PushArm):
    """The provider POSTs a notice of each event, and the receiver fetches it by its id."""

    def unlike_the_model(self, scenario: Scenario) -> list[str]:
        """See `Arm`; a notice is acknowledged on receipt in the model too."""
        told = [*Arm.unlike_the_model(self, scenario), "a fetch that is repeated counts as one attempt"]
        if scenario.provider_api.retention is not None:
            told.append("what the provider has forgotten cannot be fetched by its id either")
        return told

    def open(self, course: Course) -> dict[str, Child]:
        """See `Arm`: the receiver has to know the provider."""
        return {}

    def approach(self, course: Course, servers: Mapping[str, Child]) -> dict[str, Child]:
        """See `Arm`."""
        spec = course.scenario.thin_webhook
        fetching = receiver(
            course,
            *("--fetch-from", servers["provider"].url, "--fetch-timeout-s", repr(spec.timeout_s)),
            *("--fetch-retry-s", repr(spec.retry_s), "--fetch-attempts", str(spec.max_attempts)),
        )
        return {"receiver": fetching}

    def begin(self, course: Course, servers: Mapping[str, Child], origin_us: int) -> dict[str, Child]:
        """See `Arm`."""
        scenario, size = course.scenario, course.scenario.thin_webhook.notification_bytes
        url = webhook_url(servers["receiver"])
        subscribe(servers["provider"], url, scenario, origin_us, notification_bytes=size)
        return {}

    def given_up(self, servers: Statuses) -> int:
        """See `Arm`: what could not be fetched is a dead letter."""
        return super().given_up(servers) + int(servers["receiver"]["dead"])

    def outcomes(self, provider_rows: ProviderRows, rows: Rows, statuses: Statuses) -> list[dict[str, str]]:
        """See `Arm`: the notice of a dead letter was acknowledged all the same."""
        dead = statuses.get("receiver", {}).get("dead", 0)
        unseen = [row.event_index for row in rows if row.visible_us is None]
        lost = set(unseen[:dead])
        return [
            {**entry, "outcome": "failed"} if int(entry["index"]) in lost else dict(entry)
            for entry in provider_rows
        ]

    def counters(self, servers: Statuses) -> Counters:
        """See `Arm`: notices and fetches together."""
        return with_requests_of(super().counters(servers), "fetch", servers["receiver"])

    def tries(
        self, size: int, rows: Rows, provider_rows: ProviderRows, statuses: Statuses
    ) -> tuple[IntArray, IntArray]:
        """See `Arm`: notices, and a fetch of every event of which one came in."""
        first, attempts = super().tries(size, rows, provider_rows, statuses)
        attempts[[row.event_index for row in rows if 0 <= row.event_index < size]] += 1
        return first, attempts


def receiver(course: Course, *flags: str) -> Child:
    """A receiver with the scenario's limits."""
    limits = ("--queue-limit", str(course.scenario.receiver.queue_limit), *body_limit(course.scenario))
    return course.session.crew.server("receiver", *course.inbox_flags, *limits, *flags)


def webhook_url(taking: Child) -> str:
    """Where a receiver takes our provider's webhooks."""
    return f"{taking.url}/webhooks/standard"


def with_requests_of(counters: Counters, prefix: str, receiver: Mapping[str, Any]) -> Counters:
    """Webhooks' counters, and those of the requests that a receiver sent itself, counted under a prefix."""
    for name in (
        *("requests", "timeouts", "errors", "rejected"),
        *("request_bytes", "response_bytes", "connections_opened"),
    ):
        setattr(counters, name, getattr(counters, name) + receiver[f"{prefix}_{name}"])
    for name in ("empty_responses", "not_modified"):
        setattr(counters, name, receiver.get(f"{prefix}_{name}", 0))
    return counters
