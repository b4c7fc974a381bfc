"""Where requests may go: to allow-listed hosts only, so that nobody can turn the provider on its own network.

Checked three times. The URL, when somebody subscribes and at each redirect: scheme, host and, of an address
written out, the address. The addresses that a name stands for, after each resolution; what passes is what is
connected to, so a name that stands for another address the next time gains nothing. And at the last moment
the address of the very socket (`Outbound.socket`), in case anything got past.

An allow-list holds networks (``10.1.0.0/16``, ``::1``), which allow every name that stands for an address in
them, and names (``hooks.example.com``), which allow whatever they stand for if it is globally reachable (IANA
special-purpose address registries): whoever controls a name's DNS must not be able to point it inwards. A
mapped IPv6 address counts as the IPv4 one that it carries. One of 6to4 or NAT64 does too, if that is globally
reachable; else it is allowed to nobody (RFC 6052, section 3.1). Proxies that the environment names are not
used.

Source: OWASP Cheat Sheet Series, "Server-Side Request Forgery Prevention".
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from sim.errors import HookbenchError, InputError

LOOPBACK = ("127.0.0.0/8", "::1/128")
MAX_URL_CHARS = 2000

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052, section 2.1
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_RESOLVER_THREADS = 16
_NOT_A_URL = (ValueError, IndexError)  # yarl 1.25 raises the latter for https://[::1]@


class AddressForbidden(HookbenchError, OSError):
    """A request that was about to go where none may go; the message says where to and what is allowed."""


class Outbound:
    """The allow-list.

    Args:
        allowed: names, addresses and networks; those of loopback when there is none.

    Raises:
        InputError: one is none of these.
    """

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self._networks: list[Network] = []
        self._names: set[str] = set()
        self._words = ", ".join(allowed or LOOPBACK)
        for word in allowed or LOOPBACK:
            try:
                self._networks.append(ipaddress.ip_network(word.strip("[]")))
            except ValueError as error:
                name = word.lower().removesuffix(".")
                if "/" in word or not _NAME.fullmatch(name) or _ends_in_a_number(name):
                    raise InputError(f"--allow-host {word!r} is not a host or a network: {error}") from None
                self._names.add(name)

    def url(self, text: str) -> URL:
        """`text` as the URL to be requested, as far as can be told without resolving its host.

        Raises:
            InputError: not an http:// or https:// URL, ambiguous, or an address that is not allowed.
        """
        shown = repr(text) if len(text) <= MAX_URL_CHARS else f"of {len(text)} characters"
        if len(text) > MAX_URL_CHARS or not text.isascii() or not text.isprintable() or " " in text:
            raise InputError(f"the url {shown} is not 1 to {MAX_URL_CHARS} printable ASCII characters")
        if "@" in re.split("[/?#]", text.partition("://")[2])[0]:  # not shown: it may hold a password
            raise InputError("the url holds a user name or password; sign with a secret instead")
        try:
            url = URL(text)
            scheme, host, port = url.scheme, url.raw_host, url.port  # parsed only now
        except _NOT_A_URL as error:
            raise InputError(f"the url {shown} is not a URL: {error}") from None
        if scheme not in ("http", "https") or not host:
            raise InputError(f"the url {shown} is not an http:// or https:// URL")
        if not port:
            raise InputError(f"the url {shown} has no port that one can connect to")
        self._check_host(host, shown)
        return url

    def next_hop(self, hop: URL, location: str) -> URL:
        """Where a redirect leads from `hop`.

        Raises:
            InputError: see `url`; or from https to http.
        """
        try:
            target = hop.join(URL(location))
            text = str(target)
        except _NOT_A_URL as error:
            raise InputError(f"the redirect's location {location!r:.80} is not a URL: {error}") from None
        if hop.scheme == "https" and target.scheme != "https":
            raise InputError("the redirect leads from https to http")
        return self.url(text)

    def admit(self, text: str) -> URL:
        """`url`, and the addresses that its name stands for now; blocks while it is resolved.

        Raises:
            InputError: see `url`; the name stands for no address, or for none that is allowed.
        """
        url = self.url(text)
        assert url.raw_host is not None
        if _address(url.raw_host) is None:
            try:
                self.allowed_of(url.raw_host, look_up(url.raw_host, url.port or 0, socket.AF_UNSPEC))
            except AddressForbidden as error:
                raise InputError(f"the url {text!r} is not allowed: {error}") from None
            except (OSError, UnicodeError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                raise InputError(f"the host of the url {text!r} cannot be resolved: {reason}") from None
        return url

    def allowed_of(self, host: str, found: Iterable[ResolveResult]) -> list[ResolveResult]:
        """Those of a name's addresses that may be connected to.

        Raises:
            AddressForbidden: there is none.
        """
        found = list(found)
        named = host.removesuffix(".") in self._names
        allowed = [result for result in found if self._allows(ipaddress.ip_address(result["host"]), named)]
        if not allowed:
            addresses = ", ".join(sorted({result["host"] for result in found}))
            raise AddressForbidden(f"{host} stands for {addresses}; allowed: {self._words}")
        return allowed

    def socket(self, information: Any) -> socket.socket:
        """A socket to connect to an address that was resolved: the last check before a connection.

        Args:
            information: family, type, protocol, canonical name and address, as `socket.getaddrinfo` has them.

        Raises:
            AddressForbidden: the address is not allowed under any name.
        """
        family, kind, protocol, _, address = information
        if not self._allows(ipaddress.ip_address(address[0]), bool(self._names)):
            raise AddressForbidden(f"{address[0]} is not allowed; allowed: {self._words}")
        return socket.socket(family, kind, protocol)

    def _check_host(self, host: str, shown: str) -> None:
        address = _address(host)
        if address is not None:
            if not self._allows(address, named=False):
                raise InputError(f"the url {shown} is not allowed; allowed: {self._words}")
        elif _ends_in_a_number(host):
            # 2130706433, 0177.0.0.1 and 127.1 are 127.0.0.1 to some (WHATWG URL, "ends in a number checker").
            raise InputError(f"the url {shown}: an IPv4 address is four decimal numbers")
        elif not _NAME.fullmatch(host) or len(host) > 253:
            raise InputError(f"the url {shown}: {host!r:.80} is not a host name")

    def _allows(self, address: Address, named: bool) -> bool:
        mapped = getattr(address, "ipv4_mapped", None) or address  # the kernel takes it for IPv4
        carried = _carried(address)
        if any(each.is_unspecified or each.is_multicast for each in (mapped, carried)):
            return False  # 0.0.0.0 connects to this machine
        if mapped != carried and not carried.is_global:
            return False  # what is sent to 6to4 or NAT64 leaves this machine, whatever it carries
        inside = any(each in network for network in self._networks for each in (mapped, carried))
        return inside or (named and mapped.is_global)


class CheckedResolver(AbstractResolver):
    """aiohttp's resolver: the system's own answers, less those that are not allowed.

    It has threads of its own, so that names which take long to resolve hold nobody up but each other.
    """

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._threads = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses that may be connected to.

        Raises:
            AddressForbidden: none of them may.
            OSError: the name cannot be resolved.
        """
        loop = asyncio.get_running_loop()
        return self._outbound.allowed_of(
            host, await loop.run_in_executor(self._threads, look_up, host, port, family)
        )

    async def close(self) -> None:
        """Take no more names."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    """What the system resolves a name to.

    Raises:
        OSError: nothing.
    """
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return [
        ResolveResult(
            hostname=host, host=str(address[0]), port=port, family=kind, proto=protocol, flags=numeric
        )
        for kind, _, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, family=family
        )
    ]


def _address(host: str) -> Address | None:
    """The address that a host writes out; one with an IPv6 zone is none that a URL may have."""
    try:
        return None if "%" in host else ipaddress.ip_address(host)
    except ValueError:
        return None


def _ends_in_a_number(host: str) -> bool:
    last = host.removesuffix(".").rpartition(".")[2]
    return last.isdigit() or re.fullmatch(r"0[xX][0-9a-fA-F]*", last) is not None


def _carried(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address
