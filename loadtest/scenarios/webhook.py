"""Senders: a provider's signed webhook POSTs at a receiver, each a new event, with storms where asked for.

With HOOKBENCH_WEBHOOK_SECRET set to the receiver's secret, `locust -f loadtest/scenarios/webhook.py
--host http://127.0.0.1:8080 --headless --source standard --rate-per-s 200 --duration-s 10` runs it by itself.
Without `--source` requests are signed as the scenario's provider signs: Shopify, with its own secret,
for the default scenario.
"""

from __future__ import annotations

from loadtest.scenarios.open_loop import OpenLoop, OpenLoopUser
from loadtest.scenarios.requests import signed_posts


class WebhookSender(OpenLoopUser):
    """Posts signed events."""

    open_loop = OpenLoop("webhook", signed_posts)
