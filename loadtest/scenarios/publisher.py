"""The race's publisher: makes the scenario's events happen at the provider, each at its intended time."""

from __future__ import annotations

from loadtest.scenarios.open_loop import OpenLoop, OpenLoopUser
from loadtest.scenarios.requests import publications


class Publisher(OpenLoopUser):
    """Publishes events."""

    open_loop = OpenLoop("publisher", publications)
