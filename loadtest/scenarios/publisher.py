"""The race's publisher: makes the scenario's events happen at the provider, each at its intended time."""

from __future__ import annotations

from loadtest.contract import envelope
from loadtest.scenarios.open_loop import Builder, OpenLoop, OpenLoopUser, Prepared
from loadtest.schedule import Plan


def publications(plan: Plan, origin_us: int) -> Builder:
    """Builds the POST that publishes each event."""
    headers = {"content-type": "application/json"}

    def build(index: int, created_us: int) -> Prepared:
        body = envelope(plan.run_id, index, created_us, plan.payload_bytes)
        return Prepared("POST", "/events", body, headers)

    return build


class Publisher(OpenLoopUser):
    """Publishes events."""

    open_loop = OpenLoop("publisher", publications)
