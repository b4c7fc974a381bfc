"""What polling pays in headers: "HTML5 WebSocket: A Quantum Leap in Scalability for the Web".

**What was claimed.** Lubbers & Greco (2010) watch a page that polls a stock ticker once a second. The
headers of one request and its response come to 871 bytes. For 1,000, 10,000 and 100,000 clients that makes
6.6, 66 and 665 Mbit/s of headers, a megabit being 2^20 bits. The same messages over a WebSocket cost 2 bytes
of framing each: 0.015, 0.153 and 1.526 Mbit/s. They conclude that WebSockets save "500:1, or, depending on
the size of the HTTP headers, even 1000:1" of unnecessary header traffic.

    poll, every second                      WebSocket
    client            server                client            server
      │── GET, cookies, … ──>│                │── Upgrade ──────>│  once
      │<── 200, headers, … ──│  871 B         │<──── message ────│  2 B
      │── GET, cookies, … ──>│                │<──── message ────│  2 B
      │<── 200, headers, … ──│  871 B         │        …         │

**How it is reproduced.** As a scenario: one event a second without payload, wanted by every subscriber. The
mechanism `polling` asks once a second; `streaming` sends each event in a frame of 2 bytes. What is compared
is what both count as bytes sent by clients and servers, over whole seconds once every stream is open.
Nothing in it is random but the phases, so the figures are exact.

**What differs.** 871 bytes to 2 is 435:1. Their "500:1" takes headers of 1,000 bytes.

**What the comparison leaves out.** It compares header bytes only. Payloads are the same both ways and
outweigh a 2-byte frame; a message of 50 bytes makes it 18:1. TCP and IP add 40 bytes and more to a packet,
so 2 bytes of frame are 42 on the wire at least, and an acknowledgement. TLS adds to each record. HTTP/2 and
HTTP/3 compress headers that repeat to some tens of bytes (RFC 7541, RFC 9204), which did not exist in 2010.
A frame from a client carries a mask of 4 bytes more (RFC 6455), a payload above 125 bytes 2 or 8 more. A
poll a second is a choice: polling half as often halves the column, while events at a lower rate shrink the
other one only. And a WebSocket costs what a poll does not: a connection held open for each client,
heartbeats, and reconnection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.engine import run_once
from sim.randomness import replication_seed
from sim.scenario import Scenario, scenario_from
from sim.studies.findings import Finding, Results
from sim.workload import event_times

if TYPE_CHECKING:
    from sim.studies import Progress

CLIENTS = (1_000, 10_000, 100_000)
MEGABIT = 2**20
"""Theirs, in bits."""

PUBLISHED: dict[str, tuple[str, ...]] = {
    "polling": ("6.6", "66", "665"),
    "streaming": ("0.015", "0.153", "1.526"),
}
"""Mechanism -> Mbit/s for each of `CLIENTS`, as printed."""

_REQUEST_HEADER_BYTES, _RESPONSE_HEADER_BYTES = 600, 271  # only their sum is published, and only it matters
_WARMUP_S, _WINDOW_S = 3.0, 4.0
_NO_TIME = {"kind": "constant", "mean_s": 0.0}


def scenario(clients: int) -> Scenario:
    """So many clients that each get one message a second."""
    return scenario_from(
        {
            "name": "header-overhead",
            "title": "A stock ticker watched by many",
            "workload": {"kind": "periodic", "rate_per_s": 1.0, "payload_bytes": 0},
            "subscribers": {"count": clients},
            "network": {
                "one_way": _NO_TIME,
                "request_header_bytes": _REQUEST_HEADER_BYTES,
                "response_header_bytes": _RESPONSE_HEADER_BYTES,
            },
            "polling": {"interval_s": 1.0, "schedule": "fixed_rate", "phase": "random"},
            "streaming": {"frame_bytes": 2, "heartbeat_bytes": 0},
            "receiver": {"service": _NO_TIME},
            "provider_api": {"service": _NO_TIME},
            "run": {"duration_s": _WARMUP_S + _WINDOW_S, "warmup_s": _WARMUP_S, "drain_s": 1.0},
        }
    )


def megabits_per_s(mechanism: str, clients: int, seed: int) -> float:
    """All bytes of a mechanism's headers and frames, both ways, in Mbit/s."""
    studied = scenario(clients)
    counters = run_once(studied, mechanism, event_times(studied, seed), seed).counters
    sent_bytes = (counters.request_bytes or 0) + (counters.response_bytes or 0)
    return sent_bytes * 8 / _WINDOW_S / MEGABIT


def measure(mechanism: str, seed: int, replications: int, progress: Progress) -> dict[int, tuple[float, ...]]:
    """Clients -> Mbit/s of the mechanism in each replication."""
    seeds = [int(replication_seed(seed, r)) for r in range(replications)]
    measured = {}
    for step, clients in enumerate(CLIENTS):
        measured[clients] = tuple(megabits_per_s(mechanism, clients, each) for each in seeds)
        progress(step + 1, len(CLIENTS))
    return measured


def findings(mechanism: str, measured: dict[int, tuple[float, ...]]) -> tuple[Finding, ...]:
    """A column of the published table beside ours."""
    what = {"polling": "polling once a second", "streaming": "messages over a WebSocket"}[mechanism]
    return tuple(
        Finding(
            f"{mechanism}-{clients}", f"{clients:,} clients, {what}", f"{published} Mbit/s",
            "headers and frames sent, both ways", measured[clients], "Mbit/s", as_printed(published),
        )
        for clients, published in zip(CLIENTS, PUBLISHED[mechanism], strict=True)
    )  # fmt: skip


def as_printed(figure: str) -> tuple[float, float]:
    """The values that round to a printed figure."""
    half_a_digit = 0.5 * 10.0 ** -len(figure.partition(".")[2])
    return float(figure) - half_a_digit, float(figure) + half_a_digit


def run(seed: int, replications: int, progress: Progress) -> Results:
    """Both columns of the table, and their ratio."""
    import pandas as pd  # noqa: PLC0415 - half a second that reading about studies need not wait for

    steps = len(CLIENTS)
    polled = measure("polling", seed, replications, lambda done, _: progress(done, 2 * steps))
    streamed = measure("streaming", seed, replications, lambda done, _: progress(steps + done, 2 * steps))
    most = CLIENTS[-1]
    pairs = zip(polled[most], streamed[most], strict=True)
    ratio = Finding(
        "ratio", "WebSockets save 500:1 of the header traffic, or more", "500:1",
        f"polling / streaming, {most:,} clients", tuple(a / b for a, b in pairs),
        agrees=(500.0, 1000.0),
    )  # fmt: skip
    rows = [
        (mechanism, clients, r, value)
        for mechanism, measured in (("polling", polled), ("streaming", streamed))
        for clients, values in measured.items()
        for r, value in enumerate(values)
    ]
    return Results(
        (*findings("polling", polled), *findings("streaming", streamed), ratio),
        {"runs": pd.DataFrame(rows, columns=["mechanism", "clients", "replication", "megabits_per_s"])},
        (
            "A Mbit is 2^20 bits, as in the article.",
            "These are header bytes only: a payload is the same both ways, and one of 50 bytes makes 435:1 "
            "into 18:1. TCP and IP add 40 bytes or more to every packet, so that 2 bytes are 42 on the wire.",
            "HTTP/2 and HTTP/3 compress repeated headers to some tens of bytes; polling less often costs "
            "proportionally less; a WebSocket holds a connection open for each client.",
        ),
        {f"{clients} clients": scenario(clients) for clients in CLIENTS},
    )
