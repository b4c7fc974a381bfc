"""Senders of thin webhooks: each POST only says that something happened.

What a receiver has to fetch afterwards is no part of this load; a race has both.
"""

from __future__ import annotations

from loadtest.scenarios.open_loop import Builder, OpenLoop, OpenLoopUser
from loadtest.scenarios.webhook import posts
from loadtest.schedule import Plan
from loadtest.senders import thin_sender


def notifications(plan: Plan, origin_us: int) -> Builder:
    """Builds the signed notification of each event."""
    return posts(plan, origin_us, thin_sender)


class ThinSender(OpenLoopUser):
    """Posts signed notifications."""

    open_loop = OpenLoop("thin_webhook", notifications)
