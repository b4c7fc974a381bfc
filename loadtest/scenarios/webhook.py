"""Senders: a provider's signed webhook POSTs at a receiver, each a new event, with storms where asked for.

With HOOKBENCH_WEBHOOK_SECRET set to the receiver's secret, `locust -f loadtest/scenarios/webhook.py
--host http://127.0.0.1:8080 --headless --rate-per-s 200 --duration-s 10` runs it by itself; `--source stripe`
signs as Stripe does, with HOOKBENCH_STRIPE_SECRET.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from loadtest.contract import now_us
from loadtest.scenarios.open_loop import Builder, OpenLoop, OpenLoopUser, Prepared
from loadtest.schedule import Plan
from loadtest.senders import SENDERS, Sender, delivery_of, new_secret, path_of, secrets_in_environment
from loadtest.traffic import FORGED


def signed_posts(plan: Plan, origin_us: int) -> Builder:
    """Builds the signed POST of each request; its timestamp is the wall time of its intended sending."""
    return posts(plan, origin_us, lambda secrets: SENDERS[plan.source](secrets, plan.public_url))


def posts(plan: Plan, origin_us: int, sender: Callable[[Sequence[str]], Sender]) -> Builder:
    """Builds each request by a sender made of secrets, and forged ones by the same with a wrong secret."""
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


class WebhookSender(OpenLoopUser):
    """Posts signed events."""

    open_loop = OpenLoop("webhook", signed_posts)
