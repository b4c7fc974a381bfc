"""Protects where requests may go: every way of writing an address, names that change, redirects, proxies."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp.abc import ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from loadtest.provider import outbound as module
from loadtest.provider.outbound import AddressForbidden, CheckedResolver, Outbound
from loadtest.provider.policy import WebhookPolicy
from loadtest.provider.sender import Answer, Counts, Sender
from sim.errors import InputError
from tests.loadtest.endpoints import Endpoint, always, answer, endpoints

LOOPBACK = Outbound()
INSIDE = ["10.0.0.5", "169.254.169.254", "127.0.0.1", "0.0.0.0", "::1", "fd00::1", "fe80::1", "192.168.1.1"]
OUTSIDE = "93.184.215.14"


def found(*addresses: str, port: int = 80) -> list[ResolveResult]:
    family = socket.AF_INET
    return [
        ResolveResult(hostname="name", host=address, port=port, family=family, proto=6, flags=0)
        for address in addresses
    ]


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let names stand for one answer after the other, then for the last; returns the names asked for."""
    asked: list[str] = []

    def look_up(host: str, port: int, family: int) -> list[ResolveResult]:
        asked.append(host)
        return found(*answers[min(len(asked), len(answers)) - 1], port=port)

    monkeypatch.setattr(module, "look_up", look_up)
    return asked


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://127.8.9.10:8080/x?y=z", "http://[::1]/", "https://localhost:8443/hook",
     "http://LOCALHOST/", "http://[::ffff:127.0.0.1]/", "http://[0:0:0:0:0:0:0:1]:80/"],
)  # fmt: skip
def test_this_machine_is_allowed_unless_told_otherwise(url: str) -> None:
    LOOPBACK.admit(url)
    with pytest.raises(InputError, match="not allowed"):
        Outbound(["203.0.113.0/24"]).admit(url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://10.0.0.1/", "not allowed; allowed: 127.0.0.0/8"),
        ("http://169.254.169.254/latest/meta-data/", "not allowed"),
        ("http://0.0.0.0/", "not allowed"),
        ("http://[::]/", "not allowed"),
        ("http://[::ffff:10.0.0.1]/", "not allowed"),
        ("http://[::ffff:169.254.169.254]/", "not allowed"),
        ("http://[64:ff9b::a9fe:a9fe]/", "not allowed"),
        ("http://[2002:a00:1::]/", "not allowed"),
        ("http://[fe80::1]/", "not allowed"),
        ("http://[fe80::1%25eth0]/", "not a host name"),
        ("http://[::1%25lo]/", "not a host name"),
        ("http://2130706433/", "four decimal numbers"),
        ("http://0x7f000001/", "four decimal numbers"),
        ("http://0x7f.1/", "four decimal numbers"),
        ("http://0177.0.0.1/", "four decimal numbers"),
        ("http://127.1/", "four decimal numbers"),
        ("http://127.0.0.1./", "four decimal numbers"),
        ("http://127.0.0.256/", "four decimal numbers"),
        ("http://user@127.0.0.1/", "user name or password"),
        ("http://user:hunter2@127.0.0.1/", "user name or password"),
        ("http://@127.0.0.1/", "user name or password"),
        ("http://127.0.0.1@10.0.0.1/", "user name or password"),
        ("http://127.0.0.1\\@10.0.0.1/", "user name or password"),
        ("http://127.0.0.1:80:80/", "is not a URL"),
        ("http://127.0.0.1:99999/", "is not a URL"),
        ("http://127.0.0.1:0/", "no port"),
        ("ftp://127.0.0.1/", "not an http:// or https:// URL"),
        ("file:///etc/passwd", "not an http:// or https:// URL"),
        ("127.0.0.1", "not an http:// or https:// URL"),
        ("", "not an http:// or https:// URL"),
        ("http://", "not an http:// or https:// URL"),
        ("http:///x", "not an http:// or https:// URL"),
        ("http://127.0.0.1/\r\nx: y", "printable ASCII"),
        ("http://127.0.0.1 /", "printable ASCII"),
        ("http://①②⑦.0.0.1/", "printable ASCII"),
        ("http://ex%61mple.com/", "not a host name"),
        ("http://localhost%00.example.com/", "not a host name"),
        ("http://-x.example/", "not a host name"),
        (f"http://{'a.' * 150}example/", "not a host name"),
        ("http://localhost/" + "x" * 2000, "printable ASCII"),
        ("http://name.invalid/", "cannot be resolved"),
    ],
)
def test_anything_else_is_refused_with_a_reason(url: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as refused:
        LOOPBACK.admit(url)
    assert "\n" not in str(refused.value)
    assert "hunter2" not in str(refused.value)


@given(st.text(max_size=60) | st.text(max_size=30).map("http://{}".format))
def test_no_text_is_an_error_of_another_kind(text: str) -> None:
    try:
        url = LOOPBACK.url(text)
    except InputError:
        return
    assert url.scheme in ("http", "https")
    assert url.raw_host
    assert url.user is None


@given(st.ip_addresses())
def test_of_addresses_written_out_only_those_of_the_list_pass(address: Any) -> None:
    host = f"[{address}]" if address.version == 6 else str(address)
    carried = getattr(address, "ipv4_mapped", None) or address
    if carried.is_loopback:
        LOOPBACK.url(f"http://{host}/")
    else:
        with pytest.raises(InputError):
            LOOPBACK.url(f"http://{host}/")


@pytest.mark.parametrize("address", INSIDE)
def test_a_name_on_the_list_must_not_stand_for_an_address_inside(address: str) -> None:
    """Whoever controls its DNS could else point the provider at its own network."""
    named = Outbound(["hooks.example.com"])
    assert named.allowed_of("hooks.example.com", found(OUTSIDE)) == found(OUTSIDE)
    assert named.allowed_of("hooks.example.com.", found(address, OUTSIDE)) == found(OUTSIDE)
    for host, addresses in (("hooks.example.com", [address]), ("other.example.com", [OUTSIDE])):
        with pytest.raises(AddressForbidden):
            named.allowed_of(host, found(*addresses))
    with pytest.raises(AddressForbidden):
        named.socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)))
    with pytest.raises(InputError):
        named.url(f"http://{OUTSIDE}/")  # a name that is allowed does not allow its address


@pytest.mark.parametrize("address", ["64:ff9b::a00:1", "2002:a00:1::", "::ffff:10.0.0.1", "::", "ff02::1"])
def test_an_ipv4_address_in_an_ipv6_one_is_looked_at(address: str) -> None:
    with pytest.raises(AddressForbidden):
        Outbound(["name"]).allowed_of("name", found(address))
    if address.startswith("::ffff:"):
        assert Outbound(["10.0.0.0/8"]).allowed_of("name", found(address))


@pytest.mark.parametrize("carried", ["64:ff9b::7f00:1", "2002:7f00:1::", "64:ff9b::a00:1", "2002:a00:1::"])
def test_what_is_translated_to_ipv4_is_not_this_machine_nor_this_network(carried: str) -> None:
    """It leaves through a gateway, which may take 127.0.0.1 for itself."""
    with pytest.raises(InputError):
        Outbound().url(f"http://[{carried}]/")
    with pytest.raises(AddressForbidden):
        Outbound(["127.0.0.0/8", "10.0.0.0/8"]).allowed_of("name", found(carried))
    assert Outbound(["1.1.1.0/24"]).allowed_of("name", found("64:ff9b::101:101"))  # DNS64


def test_a_network_allows_every_name_that_stands_for_an_address_in_it() -> None:
    inside = Outbound(["10.1.0.0/16", "fd00::/8"])
    assert inside.allowed_of("anything", found("10.1.2.3", "10.2.2.3", "fd00::5")) == found(
        "10.1.2.3", "fd00::5"
    )
    inside.socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.1.2.3", 80))).close()
    for address in ("127.0.0.1", "10.2.0.1"):
        with pytest.raises(AddressForbidden):
            inside.socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)))
    with pytest.raises(AddressForbidden):
        Outbound(["0.0.0.0/0"]).allowed_of("anything", found("0.0.0.0"))


@pytest.mark.parametrize("word", ["", "*", "10.0.0.1/8", "a b", "http://x/", "x:80", "0x7f.1", "10.0.0.0/33"])
def test_what_is_neither_host_nor_network_cannot_be_allowed(word: str) -> None:
    with pytest.raises(InputError, match="--allow-host"):
        Outbound([word])


def sent(
    outbound: Outbound, url: Callable[[Endpoint], str], times: int = 1, **policy: Any
) -> tuple[list[Answer], Counts, Endpoint]:
    """Post to an endpoint in this process: the answers, the counts, the endpoint."""

    async def post(endpoint: Endpoint) -> tuple[list[Answer], Counts]:
        sender, counts = Sender(outbound, ssl.create_default_context()), Counts()
        table = WebhookPolicy.from_table({"timeout_s": 5, **policy})
        try:
            return [
                await sender.post(outbound.url(url(endpoint)), b"{}", {"webhook-id": "x"}, table, counts)
                for _ in range(times)
            ], counts
        finally:
            await sender.close()

    with endpoints(always(answer(204))) as (endpoint,):
        answers, counts = asyncio.run(post(endpoint))
        return answers, counts, endpoint


def named(endpoint: Endpoint) -> str:
    return f"http://name.example:{endpoint.port}/hook"


def test_a_name_that_is_rebound_after_it_was_admitted_is_not_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """This machine when the subscription is made, the metadata service when the event is sent."""
    asked = resolving(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])
    LOOPBACK.admit("http://name.example/")
    answers, counts, endpoint = sent(LOOPBACK, named)
    assert [given.kind for given in answers] == ["forbidden"]
    assert "169.254.169.254" in answers[0].words
    assert (len(asked), counts.connections_opened, endpoint.accepted) == (2, 0, 0)


def test_of_several_addresses_only_the_allowed_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[str] = []
    socket_of = Outbound.socket

    def noted(self: Outbound, information: Any) -> socket.socket:
        connected.append(information[4][0])
        return socket_of(self, information)

    monkeypatch.setattr(Outbound, "socket", noted)
    resolving(monkeypatch, ["10.255.255.1", "127.0.0.1", "192.0.2.1"])
    answers, _, endpoint = sent(LOOPBACK, named)
    assert (answers[0].kind, endpoint.accepted, connected) == ("ok", 1, ["127.0.0.1"])


def test_what_was_resolved_is_what_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """One resolution for a connection: a second one could say something else."""
    asked = resolving(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])
    answers, counts, endpoint = sent(LOOPBACK, named, times=3)
    assert [given.kind for given in answers] == ["ok"] * 3
    assert (len(asked), endpoint.accepted, counts.connections_opened) == (1, 1, 1)
    assert (counts.connections_reused, counts.requests_per_connection) == (2, 3.0)


def test_the_last_check_is_of_the_socket_s_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were every other check blind, nothing would be sent still."""
    monkeypatch.setattr(Outbound, "url", lambda self, text: module.URL(text))
    monkeypatch.setattr(Outbound, "allowed_of", lambda self, host, result: result)
    for url in (lambda e: e.url, lambda e: f"http://localhost:{e.port}/"):
        answers, counts, endpoint = sent(Outbound(["10.0.0.0/8"]), url)
        assert (answers[0].kind, counts.connections_opened, endpoint.accepted) == ("forbidden", 0, 0)


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with endpoints(always(answer(204))) as (proxy,):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        answers, _, endpoint = sent(LOOPBACK, lambda e: e.url)
    assert (answers[0].kind, len(endpoint.got), proxy.accepted) == ("ok", 1, 0)


def test_a_resolver_is_closed_with_its_names_in_the_air() -> None:
    async def close_at_once() -> None:
        resolver = CheckedResolver(LOOPBACK)
        assert (await resolver.resolve("localhost", 80, socket.AF_INET))[0]["host"] == "127.0.0.1"
        await resolver.close()

    asyncio.run(close_at_once())
