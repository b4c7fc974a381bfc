"""Past the receiver's doors: a secret for every source, and how to sign a request to each."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from loadtest.contract import MalformedEvent
from loadtest.form import parse_form
from loadtest.provider.signing import FORMATS
from loadtest.receiver import SOURCES
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
from tests.loadtest.servers import SECRET

PUBLIC_URL = "https://shop.example.com"
TOPIC = "https://example.com/feed"
ORIGIN = "eventemitter.example.com"


class Door(NamedTuple):
    """What gets a request through: headers to add, and what to append to the query."""

    headers: Mapping[str, str]
    query: str = ""


def secret_file(folder: Path, names: Iterable[str]) -> str:
    """The path of a file with a secret for each of `names`."""
    secrets = folder / "secrets.toml"
    secrets.write_text("".join(f'{name} = ["{SECRET}"]\n' for name in names))
    secrets.chmod(0o600)
    return str(secrets)


def provider_arguments(folder: Path) -> list[str]:
    """The arguments of a provider that can sign in every format, and does not linger when it is stopped."""
    return ["provider", "--secret-file", secret_file(folder, FORMATS), "--drain-s", "0"]


def receiver_arguments(folder: Path) -> list[str]:
    """The arguments of a receiver that every source may call."""
    return [
        *("receiver", "--inbox", f"sqlite:///{folder / 'inbox.db'}"),
        *("--secret-file", secret_file(folder, SOURCES)),
        *("--public-url", PUBLIC_URL, "--cloudevents-origin", ORIGIN, "--websub-topic", TOPIC),
    ]


def signed(target: str, body: bytes, message_id: str | None = None) -> Door:
    """A door for a POST of `body` to `target`, path and query; none where we know none.

    The id that is signed is the event's own, unless another is given.
    """
    source = target.partition("?")[0].removeprefix("/webhooks/")
    make = _DOORS.get(source)
    return Door({}) if make is None else make(target, body, message_id or _id_in(body))


def _id_in(body: bytes) -> str:
    try:
        name = json.loads(body)["id"]
    except (ValueError, TypeError, KeyError, RecursionError):
        name = None
    return name if isinstance(name, str) and re.fullmatch("[ -~]{1,200}", name) else "evt_unnamed"


def _form(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_form(body)
    except MalformedEvent:
        return []


def _now() -> int:
    return int(time.time())


_STANDARD, _SVIX, _STRIPE, _SLACK = (kind([SECRET]) for kind in (StandardWebhooks, Svix, Stripe, Slack))
_GITHUB, _SHOPIFY, _CLOUDEVENTS, _WEBSUB = (kind([SECRET]) for kind in (GitHub, Shopify, CloudEvents, WebSub))
_TWILIO = Twilio([SECRET], PUBLIC_URL)
_MANDRILL = Mandrill([SECRET], f"{PUBLIC_URL}/webhooks/mandrill")

_DOORS: dict[str, Callable[[str, bytes, str], Door]] = {
    "standard": lambda _, body, name: Door(_STANDARD.sign(name, _now(), body)),
    "svix": lambda _, body, name: Door(_SVIX.sign(name, _now(), body)),
    "github": lambda _, body, __: Door(_GITHUB.sign(body)),
    "stripe": lambda _, body, __: Door(_STRIPE.sign(_now(), body)),
    "slack": lambda _, body, __: Door(_SLACK.sign(_now(), body)),
    "shopify": lambda _, body, __: Door(_SHOPIFY.sign(body)),
    "twilio": lambda target, body, __: Door(_TWILIO.sign(target, _form(body))),
    "mailchimp": lambda *_: Door({}, f"secret={SECRET}"),
    "mandrill": lambda _, body, __: Door(_MANDRILL.sign(_form(body))),
    "cloudevents": lambda *_: Door(_CLOUDEVENTS.sign()),
    "websub": lambda _, body, __: Door(_WEBSUB.sign(body)),
}
