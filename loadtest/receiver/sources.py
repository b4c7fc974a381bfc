"""The providers a receiver knows, in one table: where each calls, how it signs, which event it brings.

A source is open when there is a secret for it; the others have no route. Adding one takes its scheme in
`loadtest.signatures`, its identity in `identities`, its handshake if it has one, and a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from loadtest.asgi import Handler
from loadtest.contract import GITHUB, STANDARD
from loadtest.receiver import handshakes, identities
from loadtest.receiver.identities import Events
from loadtest.signatures import (
    CloudEvents,
    GitHub,
    Mailchimp,
    Mandrill,
    Shopify,
    SignatureScheme,
    SignedRequest,
    Slack,
    StandardWebhooks,
    Stripe,
    Svix,
    Twilio,
    WebSub,
)
from loadtest.signatures.twilio import with_and_without_port
from sim.errors import InputError


@dataclass(frozen=True, slots=True)
class Settings:
    """What besides secrets some sources need to know.

    Attributes:
        public_url: what providers call in place of this server's root; Twilio and Mandrill sign the URL.
        origins: DNS names whose CloudEvents are welcome; ``*`` for all.
        topics: WebSub topics we subscribe to.
        accept_sha1: take SHA-1 signatures of GitHub and WebSub too.

    Raises:
        InputError: the public URL is not ``http(s)://host[:port][/path]``.
    """

    public_url: str | None = None
    origins: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    accept_sha1: bool = False

    def __post_init__(self) -> None:
        if self.public_url is not None:
            with_and_without_port(self.public_url)

    def url(self, source: str) -> str:
        """The public URL, for a source that cannot do without.

        Raises:
            InputError: it was not given.
        """
        if self.public_url is None:
            raise InputError(
                f"{source} signs the URL it calls: give --public-url, e.g. https://shop.example.com"
            )
        return self.public_url


@dataclass(frozen=True, slots=True)
class Source:
    """One provider's webhooks as this receiver takes them.

    Attributes:
        name: whose ids an event's id is unique among; the path is ``/webhooks/<name>``.
        scheme: how it signs.
        events: which events a verified request brings.
        answer: what a verified request wants to read, where that is not nothing.
        handshakes: answers to other methods than POST.
    """

    name: str
    scheme: SignatureScheme
    events: Callable[[SignedRequest], Events]
    answer: Callable[[SignedRequest], bytes | None] | None = None
    handshakes: Mapping[str, Handler] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where it is to be sent."""
        return f"/webhooks/{self.name}"


Secrets = Sequence[str]


def _standard(secrets: Secrets, _: Settings) -> Source:
    return Source(STANDARD, StandardWebhooks(secrets), identities.standard)


def _github(secrets: Secrets, settings: Settings) -> Source:
    return Source(GITHUB, GitHub(secrets, accept_sha1=settings.accept_sha1), identities.github)


def _stripe(secrets: Secrets, _: Settings) -> Source:
    return Source("stripe", Stripe(secrets), identities.stripe)


def _slack(secrets: Secrets, _: Settings) -> Source:
    return Source("slack", Slack(secrets), identities.slack, identities.slack_challenge)


def _shopify(secrets: Secrets, _: Settings) -> Source:
    return Source("shopify", Shopify(secrets), identities.shopify)


def _twilio(secrets: Secrets, settings: Settings) -> Source:
    return Source("twilio", Twilio(secrets, settings.url("twilio")), identities.twilio)


def _mailchimp(secrets: Secrets, _: Settings) -> Source:
    scheme = Mailchimp(secrets)
    greeting = {"GET": handshakes.present_with_secret(scheme)}
    return Source("mailchimp", scheme, identities.mailchimp, handshakes=greeting)


def _mandrill(secrets: Secrets, settings: Settings) -> Source:
    scheme = Mandrill(secrets, settings.url("mandrill").rstrip("/") + "/webhooks/mandrill")
    greeting = {"HEAD": handshakes.present()}
    # "Mandrill expects a 200", so an empty text rather than 204.
    return Source("mandrill", scheme, identities.mandrill, lambda _: b"", greeting)


def _svix(secrets: Secrets, _: Settings) -> Source:
    return Source("svix", Svix(secrets), identities.svix)


def _cloudevents(secrets: Secrets, settings: Settings) -> Source:
    greeting = {"OPTIONS": handshakes.consent(settings.origins)}
    return Source("cloudevents", CloudEvents(secrets), identities.cloudevents, handshakes=greeting)


def _websub(secrets: Secrets, settings: Settings) -> Source:
    scheme = WebSub(secrets, accept_sha1=settings.accept_sha1)
    greeting = {"GET": handshakes.verification_of_intent(settings.topics)}
    return Source("websub", scheme, identities.websub, handshakes=greeting)


SOURCES: Mapping[str, Callable[[Secrets, Settings], Source]] = {
    STANDARD: _standard,
    GITHUB: _github,
    "stripe": _stripe,
    "slack": _slack,
    "shopify": _shopify,
    "twilio": _twilio,
    "mailchimp": _mailchimp,
    "mandrill": _mandrill,
    "svix": _svix,
    "cloudevents": _cloudevents,
    "websub": _websub,
}


def open_sources(secrets: Mapping[str, Secrets], settings: Settings) -> list[Source]:
    """The sources there are secrets for, in the order of `SOURCES`.

    Raises:
        InputError: an unknown source, a malformed secret (not shown), or no secret at all.
    """
    for name in secrets:
        if name not in SOURCES:
            raise InputError(f"unknown source {name!r:.80}; known: {', '.join(SOURCES)}")
    sources = [make(secrets[name], settings) for name, make in SOURCES.items() if secrets.get(name)]
    if not sources:
        raise InputError("a receiver needs a secret: set HOOKBENCH_WEBHOOK_SECRET or give --secret-file")
    return sources
