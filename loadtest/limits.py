"""What one server takes from its clients, in bytes, seconds and counts; beyond it a client is refused.

The times follow Apache's mod_reqtimeout (``body=20,MinRate=500``): a first allowance, and more as long as
bytes come at a minimum rate, so that a large body over a slow line passes and one dripped in does not.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass

from sim.errors import InputError

CONNECTIONS = 10_000
RESERVED_FILES = 128
"""File descriptors kept for what is no client: inbox, loop, outgoing connections, the admin port."""

_ALL = resource.RLIM_INFINITY


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one listener.

    Attributes:
        connections: open at once; for one more the longest-idle connection is closed.
        url_bytes: of a request's target (RFC 9112, section 3, asks for 8000 at least).
        header_bytes: of request line and headers together.
        header_count: headers of one request.
        pipelined: requests that may wait behind one in progress on a connection.
        body_bytes: of all request bodies held at once, from their arrival until their requests end.
        unsent_bytes: of all answers that wait for their clients to read.
        header_timeout_s: from the connection, or from a later request's first byte, to its last header; a
            TLS handshake has as long.
        body_timeout_s: for a body, and a second more for each `min_bytes_per_s` that came.
        send_timeout_s: for a client to take an answer, and more at the same rate.
        keep_alive_s: how long a connection may be idle between requests.
        linger_s: how long a closing connection is given to end in order.
    """

    connections: int = CONNECTIONS
    url_bytes: int = 8 * 1024
    header_bytes: int = 32 * 1024
    header_count: int = 100
    pipelined: int = 16
    body_bytes: int = 64 * 2**20
    unsent_bytes: int = 64 * 2**20
    header_timeout_s: float = 10.0
    body_timeout_s: float = 20.0
    send_timeout_s: float = 20.0
    min_bytes_per_s: int = 8 * 1024
    keep_alive_s: float = 75.0  # longer than senders pause, so that none is closed under a request
    linger_s: float = 2.0

    @property
    def sweep_s(self) -> float:
        """How often to look for what is overdue: each second, oftener where a time is short."""
        shortest = min(
            self.header_timeout_s, self.body_timeout_s, self.send_timeout_s, self.keep_alive_s, self.linger_s
        )
        return min(1.0, shortest / 4)


def room_for_connections(wanted: int | None) -> int:
    """How many connections may be open: `wanted`, or by default 10,000 where the system allows as many.

    The soft limit of open files is raised as far as that needs and the hard one allows.

    Raises:
        InputError: the system does not allow `wanted`.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = CONNECTIONS if wanted is None else wanted
    needed = connections + RESERVED_FILES
    if soft != _ALL and soft < needed:
        raised = needed if hard == _ALL else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        if raised < needed:
            allowed = raised - RESERVED_FILES
            if wanted is not None or allowed < 1:
                raise InputError(
                    f"--max-connections {connections} needs {needed} open files, but the system allows "
                    f"{raised}; at most {max(allowed, 0)} connections fit (see ulimit -Hn)"
                )
            connections = allowed
    return connections
