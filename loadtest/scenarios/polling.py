"""A crowd of pollers at a provider's events API.

Under `hookbench load` each poll asks after a cursor behind which lie exactly as many events as came
since that poller's previous tick, so empty, small and full pages come in the scenario's proportions.
With plain Locust every poll asks for a first page (``?limit=100``).
"""

from __future__ import annotations

from urllib.parse import quote

from loadtest.scenarios.open_loop import Builder, OpenLoop, OpenLoopUser, Prepared
from loadtest.schedule import Plan


def polls(plan: Plan, origin_us: int) -> Builder:
    """Builds each poll's GET; a conditional one names the tag of the page with nothing on it."""
    targets = [
        f"{plan.path}?after={quote(cursor, safe='')}&limit={plan.page_size}" for cursor in plan.cursors
    ]
    first_page = f"{plan.path}?limit={plan.page_size}"
    headers = {"if-none-match": plan.etag} if plan.etag else {}
    due = plan.due.tolist()

    def build(index: int, send_us: int) -> Prepared:
        return Prepared("GET", targets[due[index]] if targets else first_page, None, headers)

    return build


class Poller(OpenLoopUser):
    """Asks for events."""

    open_loop = OpenLoop("polling", polls)
