"""A crowd of pollers at a provider's events API: most plain requests for what is new find nothing."""

from __future__ import annotations

from loadtest.scenarios.open_loop import OpenLoop, OpenLoopUser
from loadtest.scenarios.requests import polls


class Poller(OpenLoopUser):
    """Asks for events."""

    open_loop = OpenLoop("polling", polls)
