"""The arms in which the subscriber is with the provider nearly always: held requests, and a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from loadtest.runner.arms.arm import MARGIN_S, Course
from loadtest.runner.arms.pull import PullArm, first_wake_flags, page_flags

if TYPE_CHECKING:
    from sim.scenario import Scenario

LONGEST_HOLD_S = 60.0
"""The provider's own default."""


@dataclass(frozen=True)
class LastingArm(PullArm):
    """A consumer that first asks when a poller would, and then is there when something happens."""

    def drain_s(self, scenario: Scenario) -> float:
        """See `Arm`: until it has asked at all."""
        return max(scenario.polling.interval_s - scenario.run.duration_s, 0.0) + MARGIN_S


@dataclass(frozen=True)
class LongPollingArm(LastingArm):
    """A client whose requests the provider holds until there is news."""

    def unlike_the_model(self, scenario: Scenario) -> list[str]:
        """See `Arm`."""
        told = super().unlike_the_model(scenario)
        if scenario.long_polling.intermediary_timeout_s is not None:
            told.append("there is no intermediary (long_polling.intermediary_timeout_s)")
        return told

    def provider_flags(self, course: Course) -> list[str]:
        """See `Arm`."""
        return ["--max-wait-s", repr(max(LONGEST_HOLD_S, course.scenario.long_polling.hold_s))]

    def consumer(self, course: Course) -> tuple[str, list[str]]:
        """See `PullArm`."""
        spec = course.scenario.long_polling
        return "long-poller", [
            *("--hold-s", repr(spec.hold_s), "--gap-s", repr(spec.gap_s), "--retry-s", repr(spec.retry_s)),
            *first_wake_flags(course.scenario, course.seed),
            *page_flags(course.scenario, spec.timeout_s),
        ]


@dataclass(frozen=True)
class StreamingArm(LastingArm):
    """A client to which the provider speaks over one lasting connection: server-sent events."""

    def refusal(self, scenario: Scenario) -> str | None:
        """See `Arm`."""
        if scenario.streaming.replay:
            return None
        return "the real stream client goes on where it was, so streaming.replay must be true"

    def unlike_the_model(self, scenario: Scenario) -> list[str]:
        """See `Arm`."""
        told = super().unlike_the_model(scenario)
        if scenario.streaming.lifetime is not None:
            told.append("streaming.lifetime is not enacted: the stream lasts")
        return told

    def provider_flags(self, course: Course) -> list[str]:
        """See `Arm`."""
        return ["--heartbeat-s", repr(course.scenario.streaming.heartbeat_s)]

    def consumer(self, course: Course) -> tuple[str, list[str]]:
        """See `PullArm`."""
        spec = course.scenario.streaming
        back = spec.reconnect
        return "stream-client", [
            *("--connect-timeout-s", repr(spec.connect_timeout_s)),
            *("--silence-s", repr(spec.heartbeat_timeout_s)),
            *("--reconnect", back.kind, "--base-s", repr(back.base_s), "--factor", repr(back.factor)),
            *("--cap-s", repr(back.cap_s), "--jitter", back.jitter),
            *first_wake_flags(course.scenario, course.seed),
        ]
