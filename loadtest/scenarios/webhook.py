"""Senders: a provider's pre-signed Standard Webhooks POSTs, each a new event, at a receiver.

With HOOKBENCH_WEBHOOK_SECRET set to the receiver's secret, `locust -f loadtest/scenarios/webhook.py
--host http://127.0.0.1:8080 --headless --rate-per-s 200 --duration-s 10` runs it by itself.
"""

from __future__ import annotations

import os
import time

from loadtest.contract import SECRET_VARIABLE, envelope, event_id, now_us
from loadtest.scenarios.open_loop import Builder, OpenLoop, OpenLoopUser, Prepared
from loadtest.schedule import Plan
from loadtest.signatures import StandardWebhooks
from sim.errors import InputError


def signed_posts(plan: Plan, origin_us: int) -> Builder:
    """Builds the signed POST of each event; its timestamp is the wall time of its intended sending."""
    secrets = os.environ.get(SECRET_VARIABLE, "").split()
    if not secrets:
        raise InputError(f"set {SECRET_VARIABLE} to the receiver's secret (whsec_ and base64)")
    scheme = StandardWebhooks(secrets)
    wall_minus_monotonic_us = time.time_ns() // 1000 - now_us()

    def build(index: int, created_us: int) -> Prepared:
        body = envelope(plan.run_id, index, created_us, plan.payload_bytes)
        timestamp_s = (created_us + wall_minus_monotonic_us) // 1_000_000
        headers = scheme.sign(event_id(plan.run_id, index), timestamp_s, body)
        headers["content-type"] = "application/json"
        return Prepared("POST", plan.path, body, headers)

    return build


class WebhookSender(OpenLoopUser):
    """Posts signed events."""

    open_loop = OpenLoop("webhook", signed_posts, "/webhooks/standard")
