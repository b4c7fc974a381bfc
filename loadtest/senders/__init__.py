"""Providers as senders: what each one's requests look like, signed as it signs, by the table `SENDERS`.

The receiver's table of sources is `loadtest.receiver.sources`; here is the other end. Both share the schemes
of `loadtest.signatures` and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets as randomness
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote_plus, urlencode

from loadtest.contract import GITHUB, GITHUB_DELIVERY, GITHUB_EVENT, SECRET_VARIABLE, STANDARD, event_id
from loadtest.senders import bodies
from loadtest.senders.bodies import Delivery
from loadtest.signatures import (
    CloudEvents,
    GitHub,
    Mandrill,
    Shopify,
    Slack,
    StandardWebhooks,
    Stripe,
    Svix,
    Twilio,
    WebSub,
)
from sim.errors import InputError

if TYPE_CHECKING:
    from sim.scenario import Scenario

JSON, FORM = "application/json", "application/x-www-form-urlencoded"

PUBLIC_URL = "https://shop.example.com"
"""Where our own receivers are called, by providers that sign the URL."""


class Post(NamedTuple):
    """A signed POST: path and query, headers, body."""

    target: str
    headers: dict[str, str]
    body: bytes


Sender = Callable[[Delivery], Post]


def _standard(secrets: Sequence[str], _: str) -> Sender:
    return _by_id(StandardWebhooks(secrets), STANDARD, bodies.standard)


def _svix(secrets: Sequence[str], _: str) -> Sender:
    return _by_id(Svix(secrets), "svix", bodies.standard)


def _by_id(scheme: StandardWebhooks, source: str, body_of: Callable[[Delivery], bytes]) -> Sender:
    target = path_of(source)

    def post(delivery: Delivery) -> Post:
        body = body_of(delivery)
        headers = scheme.sign(delivery.id, delivery.timestamp_s, body)
        headers["content-type"] = JSON
        return Post(target, headers, body)

    return post


def thin_sender(secrets: Sequence[str]) -> Sender:
    """Thin notifications by Standard Webhooks."""
    return _by_id(StandardWebhooks(secrets), STANDARD, bodies.thin)


def _github(secrets: Sequence[str], _: str) -> Sender:
    scheme = GitHub(secrets)

    def post(delivery: Delivery) -> Post:
        body = bodies.github(delivery)
        named = {
            GITHUB_DELIVERY: delivery.id,
            GITHUB_EVENT: "issues",
            "user-agent": "GitHub-Hookshot/044aadd",
        }
        return Post(path_of(GITHUB), {**named, **scheme.sign(body), "content-type": JSON}, body)

    return post


def _stripe(secrets: Sequence[str], _: str) -> Sender:
    scheme = Stripe(secrets)

    def post(delivery: Delivery) -> Post:
        body = bodies.stripe(delivery)
        signature = scheme.sign(delivery.timestamp_s, body)
        return Post(path_of("stripe"), {**signature, "content-type": f"{JSON}; charset=utf-8"}, body)

    return post


def _slack(secrets: Sequence[str], _: str) -> Sender:
    scheme = Slack(secrets)

    def post(delivery: Delivery) -> Post:
        body = bodies.slack(delivery)
        signature = scheme.sign(delivery.timestamp_s, body)
        return Post(path_of("slack"), {**signature, "content-type": JSON}, body)

    return post


def _shopify(secrets: Sequence[str], _: str) -> Sender:
    scheme = Shopify(secrets)

    def post(delivery: Delivery) -> Post:
        body = bodies.shopify(delivery)
        named = {"x-shopify-webhook-id": delivery.id, "x-shopify-topic": "orders/create"}
        return Post(path_of("shopify"), {**named, **scheme.sign(body), "content-type": JSON}, body)

    return post


def _twilio(secrets: Sequence[str], public_url: str) -> Sender:
    scheme, target = Twilio(secrets, public_url), path_of("twilio")

    def post(delivery: Delivery) -> Post:
        form = bodies.twilio(delivery)
        signature = scheme.sign(target, form)
        return Post(target, {**signature, "content-type": f"{FORM}; charset=utf-8"}, urlencode(form).encode())

    return post


def _mailchimp(secrets: Sequence[str], _: str) -> Sender:
    if not secrets or not secrets[0]:
        raise InputError("Mailchimp needs a secret, which stands in the URL")
    target = f"{path_of('mailchimp')}?secret={quote_plus(secrets[0])}"

    def post(delivery: Delivery) -> Post:
        return Post(target, {"content-type": FORM}, urlencode(bodies.mailchimp(delivery)).encode())

    return post


def _mandrill(secrets: Sequence[str], public_url: str) -> Sender:
    target = path_of("mandrill")
    scheme = Mandrill(secrets, public_url.rstrip("/") + target)

    def post(delivery: Delivery) -> Post:
        form = bodies.mandrill(delivery)
        headers = {**scheme.sign(form), "content-type": FORM, "user-agent": "Mandrill-Webhook/1.0"}
        return Post(target, headers, urlencode(form).encode())

    return post


def _cloudevents(secrets: Sequence[str], _: str) -> Sender:
    scheme = CloudEvents(secrets)

    def post(delivery: Delivery) -> Post:
        headers = {**scheme.sign(), "content-type": "application/cloudevents+json"}
        return Post(path_of("cloudevents"), headers, bodies.cloudevents(delivery))

    return post


def _websub(secrets: Sequence[str], _: str) -> Sender:
    scheme = WebSub(secrets)

    def post(delivery: Delivery) -> Post:
        body = bodies.websub(delivery)
        return Post(path_of("websub"), {**scheme.sign(body), "content-type": JSON}, body)

    return post


SENDERS: Mapping[str, Callable[[Sequence[str], str], Sender]] = {
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
"""By source, from its secrets and the receiver's public URL, which only those of `URL_SIGNED` sign.

Each raises `InputError` for a secret that is missing or malformed.
"""

INDEXED = (STANDARD, GITHUB, "svix")
"""Sources whose bodies can hold an event's index, so that the inbox knows which event it is."""

URL_SIGNED = ("twilio", "mandrill")
"""Sources that sign the URL they post to."""

_OF_PRESET = {"standard-webhooks": STANDARD, "mailchimp-transactional": "mandrill"}


def path_of(source: str) -> str:
    """Where a source's requests go."""
    return f"/webhooks/{source}"


def require_source(source: str) -> str:
    """`source` when there is a sender for it.

    Raises:
        InputError: there is none.
    """
    if source not in SENDERS:
        raise InputError(f"--source {source!r:.80}: no provider signs so; sources: {', '.join(SENDERS)}")
    return source


def source_of(scenario: Scenario) -> str:
    """The source that a scenario's provider preset stands for; Standard Webhooks without one."""
    named = _OF_PRESET.get(scenario.provider or STANDARD, scenario.provider or STANDARD)
    return named if named in SENDERS else STANDARD


def secret_variable(source: str) -> str:
    """The environment variable that holds a source's secrets."""
    return SECRET_VARIABLE if source in (STANDARD, GITHUB) else f"HOOKBENCH_{source.upper()}_SECRET"


def secrets_in_environment(source: str) -> list[str]:
    """A source's secrets, from ``HOOKBENCH_<SOURCE>_SECRET`` or what else the receiver would take.

    Raises:
        InputError: there is none.
    """
    own = os.environ.get(f"HOOKBENCH_{source.upper()}_SECRET", "").split()
    found = own or os.environ.get(secret_variable(source), "").split()
    if not found:
        form = " (whsec_ and base64)" if source in (STANDARD, "svix") else ""
        other = "" if source == STANDARD else f", or choose another --source than {source}"
        raise InputError(f"set {secret_variable(source)} to the receiver's secret{form}{other}")
    return found


def new_secret() -> str:
    """A secret that suits every source."""
    return "whsec_" + base64.b64encode(randomness.token_bytes(32)).decode()


@dataclass(frozen=True)
class Identities:
    """Which event of a run an inbox's row is, where the row does not say its index.

    Args:
        run_id: of the run.
        digests: by event id, where an event is known by its content only.
    """

    run_id: str
    digests: Mapping[str, int]

    def index(self, identity: str) -> int | None:
        """The event's index, or None for what is not of this run."""
        match = re.search(rf"evt_{re.escape(self.run_id)}_(\d+)", identity)
        return int(match[1]) if match else self.digests.get(identity)


def identities(source: str, deliveries: Iterable[Delivery], run_id: str) -> Identities:
    """How to know the events of a run again; WebSub has no id, and its events are told by their bytes."""
    if source != "websub":
        return Identities(run_id, {})
    digests = {
        f"sha256:{hashlib.sha256(bodies.websub(delivery)).hexdigest()}": delivery.index
        for delivery in deliveries
    }
    return Identities(run_id, digests)


def delivery_of(
    run_id: str, index: int, created_us: int, size: int, *, created_s: int = 0, timestamp_s: int = 0
) -> Delivery:
    """The delivery of event `index` of a run."""
    return Delivery(event_id(run_id, index), run_id, index, created_us, size, created_s, timestamp_s)
