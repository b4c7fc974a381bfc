"""Webhook signatures, one file a provider's scheme; all verify over the raw body, before parsing."""

from loadtest.signatures.base import Headers, SignatureRefused, SignatureScheme, SignedRequest
from loadtest.signatures.github import GitHub
from loadtest.signatures.standard import StandardWebhooks

__all__ = ["GitHub", "Headers", "SignatureRefused", "SignatureScheme", "SignedRequest", "StandardWebhooks"]
