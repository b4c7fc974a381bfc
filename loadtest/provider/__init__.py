"""The reference event source: an events API to poll, and a webhook dispatcher that pushes."""

from loadtest.provider.app import ProviderApp
from loadtest.provider.dispatcher import Bounds, Defaults, Dispatcher
from loadtest.provider.outbound import Outbound
from loadtest.provider.policy import WebhookPolicy
from loadtest.retry import RetryPolicy, retry_delay_s

__all__ = [
    "Bounds",
    "Defaults",
    "Dispatcher",
    "Outbound",
    "ProviderApp",
    "RetryPolicy",
    "WebhookPolicy",
    "retry_delay_s",
]
