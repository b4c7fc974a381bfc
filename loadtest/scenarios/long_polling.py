"""Long pollers: N requests held by the provider's events API, while events are published to it."""

from __future__ import annotations

from urllib.parse import quote

import orjson

from loadtest.contract import now_us
from loadtest.scenarios.listeners import Connection, Listeners, ListenerUser
from loadtest.scenarios.open_loop import OpenLoop, OpenLoopUser
from loadtest.scenarios.requests import publications
from loadtest.schedule import Plan


def poll_and_wait(connection: Connection, plan: Plan) -> None:
    """Ask for what follows the last event, and again as soon as there is an answer; for ever."""
    cursor, held = "", False
    while True:
        after = f"&after={quote(cursor, safe='')}" if cursor else ""
        wait = f"&wait={plan.wait_s:.3f}" if held else ""
        if held:
            connection.ready()
        connection.counts["requests"] += 1
        with connection.user.client.request(
            "GET",
            f"{plan.path}?limit={plan.page_size}{after}{wait}",
            name="long poll" if held else "catch up",
            catch_response=True,
            allow_redirects=False,
        ) as response:
            when_us = now_us()
            body = response.content if response.status_code == 200 else None
        if body is None:
            connection.failed()
            if response.status_code == 410:  # the provider has begun anew, and so do we
                cursor = ""
            continue
        connection.counts["response_bytes"] += len(body)
        page = orjson.loads(body)
        connection.counts["empty"] += not page["events"]
        for event in page["events"]:
            connection.took(event, when_us, len(body) // len(page["events"]))
        cursor = page["cursor"]
        held = held or not page["more"]


class LongPoller(ListenerUser):
    """Waits for events."""

    listeners = Listeners("LongPoller", poll_and_wait)


class Publisher(OpenLoopUser):
    """Publishes what the others wait for."""

    open_loop = OpenLoop("long_polling", publications, LongPoller.listeners)
