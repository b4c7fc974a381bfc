"""Webhook signatures, one file a provider's scheme; all verify over the raw body, before parsing."""

from loadtest.signatures.base import Headers, SignatureRefused, SignatureScheme, SignedRequest
from loadtest.signatures.cloudevents import CloudEvents
from loadtest.signatures.github import GitHub
from loadtest.signatures.mailchimp import Mailchimp
from loadtest.signatures.mandrill import Mandrill
from loadtest.signatures.shopify import Shopify
from loadtest.signatures.slack import Slack
from loadtest.signatures.standard import StandardWebhooks
from loadtest.signatures.stripe import Stripe
from loadtest.signatures.svix import Svix
from loadtest.signatures.twilio import Twilio
from loadtest.signatures.websub import WebSub

__all__ = [
    "CloudEvents",
    "GitHub",
    "Headers",
    "Mailchimp",
    "Mandrill",
    "Shopify",
    "SignatureRefused",
    "SignatureScheme",
    "SignedRequest",
    "Slack",
    "StandardWebhooks",
    "Stripe",
    "Svix",
    "Twilio",
    "WebSub",
]
