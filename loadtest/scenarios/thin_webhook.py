"""Senders of thin webhooks: each POST only says that something happened.

What a receiver has to fetch afterwards is no part of this load; a race has both.
"""

from __future__ import annotations

from loadtest.scenarios.open_loop import OpenLoop, OpenLoopUser
from loadtest.scenarios.requests import notifications


class ThinSender(OpenLoopUser):
    """Posts signed notifications."""

    open_loop = OpenLoop("thin_webhook", notifications)
