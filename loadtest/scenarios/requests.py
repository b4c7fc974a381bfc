"""The requests of each arm: functions from a plan and the origin to the builder of one request."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from urllib.parse import quote

from loadtest.contract import envelope, now_us
from loadtest.scenarios.wire import Builder, Prepared
from loadtest.schedule import Plan
from loadtest.senders import (
    SENDERS,
    Sender,
    delivery_of,
    new_secret,
    path_of,
    secrets_in_environment,
    thin_sender,
)
from loadtest.traffic import FORGED


def signed_posts(plan: Plan, origin_us: int) -> Builder:
    """Webhooks, signed as their source signs; the timestamp is the wall time of the intended sending."""
    return _posts(plan, origin_us, lambda secrets: SENDERS[plan.source](secrets, plan.public_url))


def notifications(plan: Plan, origin_us: int) -> Builder:
    """Thin webhooks."""
    return _posts(plan, origin_us, thin_sender)


def _posts(plan: Plan, origin_us: int, sender: Callable[[Sequence[str]], Sender]) -> Builder:
    """Requests by a sender made of secrets, and forged ones by the same with a wrong secret."""
    genuine, forging = sender(secrets_in_environment(plan.source)), sender([new_secret()])
    wall_minus_monotonic_us = time.time_ns() // 1000 - now_us()
    event = plan.event.tolist() or range(plan.offsets_us.size)
    kind = plan.kind.tolist()
    created_us = plan.events_us().tolist()
    sizes = plan.sizes.tolist()

    def build(index: int, send_us: int) -> Prepared:
        which = event[index]
        # A forgery's number is behind those of the events that have a size.
        size = sizes[which % len(sizes)] if sizes else plan.payload_bytes
        born_us = origin_us + created_us[which]
        delivery = delivery_of(
            plan.run_id,
            which,
            born_us,
            size,
            created_s=(born_us + wall_minus_monotonic_us) // 1_000_000,
            timestamp_s=(send_us + wall_minus_monotonic_us) // 1_000_000,
        )
        post = (forging if kind and kind[index] == FORGED else genuine)(delivery)
        # The path is the plan's, which may be that of somebody else's server; the query is the sender's.
        target = plan.path + post.target.removeprefix(path_of(plan.source))
        return Prepared("POST", target, post.body, post.headers)

    return build


def polls(plan: Plan, origin_us: int) -> Builder:
    """Polls; a conditional one names the tag of the page with nothing on it.

    Each asks after a cursor behind which lie exactly as many events as came since that poller's previous
    poll, so empty, small and full pages come in the scenario's proportions. Without cursors, as with plain
    Locust, each asks for a first page.
    """
    targets = [
        f"{plan.path}?after={quote(cursor, safe='')}&limit={plan.page_size}" for cursor in plan.cursors
    ]
    first_page = f"{plan.path}?limit={plan.page_size}"
    headers = {"if-none-match": plan.etag} if plan.etag else {}
    due = plan.due.tolist()

    def build(index: int, send_us: int) -> Prepared:
        return Prepared("GET", targets[due[index]] if targets else first_page, None, headers)

    return build


def publications(plan: Plan, origin_us: int) -> Builder:
    """The publication of each event at the provider."""
    headers = {"content-type": "application/json"}

    def build(index: int, send_us: int) -> Prepared:
        body = envelope(plan.run_id, index, send_us, plan.payload_bytes)
        return Prepared("POST", "/events", body, headers)

    return build
