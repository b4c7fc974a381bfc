"""A crowd of pollers that ask the more often the more they find, drawn ahead by the model's own rule.

See `loadtest.crowd.adaptive_schedule` for when they ask, and `polling` for what.
"""

from __future__ import annotations

from loadtest.scenarios.open_loop import OpenLoop, OpenLoopUser
from loadtest.scenarios.requests import polls


class AdaptivePoller(OpenLoopUser):
    """Asks for events."""

    open_loop = OpenLoop("adaptive_polling", polls)
