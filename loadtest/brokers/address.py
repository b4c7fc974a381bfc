"""Where a broker is: its URL, from an option or the environment, and how it is shown without its password."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from sim.errors import InputError

VARIABLES = {
    "rabbitmq": ("HOOKBENCH_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672/"),
    "redis": ("HOOKBENCH_REDIS", "redis://127.0.0.1:6379/0"),
    "kafka": ("HOOKBENCH_KAFKA", "kafka://127.0.0.1:9092"),
}
"""By kind of broker: the environment variable that names its URL, and the URL without it."""

SCHEMES = {
    "amqp": "rabbitmq", "amqps": "rabbitmq", "redis": "redis", "rediss": "redis",
    "kafka": "kafka", "kafka+ssl": "kafka",
}  # fmt: skip

TITLES = {"rabbitmq": "RabbitMQ", "redis": "Redis", "kafka": "Kafka"}

START = {
    "rabbitmq": "docker run -d -p 5672:5672 rabbitmq:4",
    "redis": "docker run -d -p 6379:6379 redis:8",
    "kafka": "docker run -d -p 9092:9092 apache/kafka:4.1.0",
}
"""A command that starts one of each kind."""

_PORTS = {"rabbitmq": 5672, "redis": 6379, "kafka": 9092}


@dataclass(frozen=True)
class Address:
    """One broker.

    Attributes:
        kind: "rabbitmq", "redis" or "kafka".
        url: with whatever password it holds; never shown.
        shown: scheme, host, port and path; safe to log.
        hosts: host and port, of Kafka perhaps several.
    """

    kind: str
    url: str = field(repr=False)
    shown: str
    hosts: tuple[tuple[str, int], ...]

    @property
    def title(self) -> str:
        """The broker's name as people write it."""
        return TITLES[self.kind]

    @property
    def is_secure(self) -> bool:
        """Whether it is spoken to over TLS."""
        return urlsplit(self.url).scheme in ("amqps", "rediss", "kafka+ssl")

    @property
    def credentials(self) -> tuple[str, str] | None:
        """User and password, where the URL holds them."""
        user, found, password = urlsplit(self.url).netloc.rpartition("@")[0].partition(":")
        return (unquote(user), unquote(password)) if found else None

    @property
    def how_to_start(self) -> str:
        """What to do when nobody answers there, in words."""
        variable = VARIABLES[self.kind][0]
        return f"start one, for example `{START[self.kind]}`, or name another in {variable}"


def address_of(text: str) -> Address:
    """The broker that a URL names, or the word rabbitmq, redis or kafka, which means the environment's.

    Raises:
        InputError: neither, or no valid host and port.
    """
    origin = ""
    if text in VARIABLES:
        variable, default = VARIABLES[text]
        origin, kind = f"{variable}: ", text
        text = os.environ.get(variable) or default
        if SCHEMES.get(text.partition("://")[0]) != kind:
            wanted = " or ".join(f"{scheme}://" for scheme, its in SCHEMES.items() if its == kind)
            raise InputError(f"{origin}the URL of a {TITLES[kind]} begins with {wanted}")
    scheme, _, rest = text.partition("://")
    found = SCHEMES.get(scheme)
    if found is None:
        raise InputError(
            f"{text.rpartition('@')[2]!r:.80} is no broker: expected amqp://, redis:// or kafka://HOST:PORT, "
            f"or one of {', '.join(VARIABLES)}"
        )
    # A URL that is not understood is not quoted: what is wrong with it may be where its password is.
    authority, slash, path = rest.partition("/")
    hosts = tuple(_host(part, found, origin) for part in authority.rpartition("@")[2].split(","))
    if len(hosts) > 1 and found != "kafka":
        raise InputError(f"{origin}a {TITLES[found]} has one host, got {len(hosts)}")
    place = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in hosts)
    return Address(found, text, f"{scheme}://{place}{slash}{path.partition('?')[0]}", hosts)


def _host(part: str, kind: str, origin: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{part}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise InputError(f"{origin}the URL of a {TITLES[kind]} needs a host and a port from 1 to 65535")
    return host, port or _PORTS[kind]
