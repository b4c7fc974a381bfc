"""A crowd of pollers that ask conditionally: nothing new is answered 304.

The tag is that of the page with nothing on it. With plain Locust it is that of a first page, asked for once.
"""

from __future__ import annotations

from loadtest.scenarios.open_loop import OpenLoop, OpenLoopUser
from loadtest.scenarios.requests import polls


class ConditionalPoller(OpenLoopUser):
    """Asks for events."""

    open_loop = OpenLoop("conditional_polling", polls)
