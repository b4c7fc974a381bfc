"""A plain closed-loop FastHttpUser, only for comparison: each user posts again as soon as it is answered.

This is how most load tests are written. It finds a server's peak, and hides its stalls.
"""

from __future__ import annotations

from locust import FastHttpUser, task

from loadtest.contract import envelope, now_us

BODY = envelope("closed", 0, now_us(), 1000)
HEADERS = {"content-type": "application/json"}


class ClosedLoopUser(FastHttpUser):
    """Posts one prepared body over and over."""

    @task
    def post(self) -> None:
        """One request; the next follows at once."""
        body: str = BODY  # type: ignore[assignment]  # bytes are documented and sent as they are
        self.client.post("/webhooks/standard", data=body, headers=HEADERS)
