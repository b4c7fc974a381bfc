"""The reference event source: an events API to poll, and a webhook dispatcher that pushes."""

from loadtest.provider.app import ProviderApp
from loadtest.provider.dispatcher import Endpoint, WebhookPolicy
from loadtest.provider.retry import RetryPolicy, retry_delay_s

__all__ = ["Endpoint", "ProviderApp", "RetryPolicy", "WebhookPolicy", "retry_delay_s"]
