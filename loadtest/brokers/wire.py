"""How many bytes went to a broker and came from it, as the kernel counts them for each connection.

Client libraries do not count their frames. Linux does, without TCP's own headers: the payload that the peer
has acknowledged and what was received from it, in struct tcp_info (linux/tcp.h: tcpi_bytes_acked and
tcpi_bytes_received; RFC 4898). It is asked when somebody wants to know, so it costs nothing meanwhile; a
connection that was opened and closed between two looks is not seen.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Collection

_TCP_INFO = 11
_BYTES = struct.Struct("=QQ")
_BYTES_AT = 120  # 8 one-byte fields, 24 of four bytes and two of eight lie before them
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class Wire:
    """The traffic of this process with servers at certain ports, since it was first looked at."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[int, int]] = {}  # local and peer port: sent, received
        self._former = (0, 0)

    def read(self, peer_ports: Collection[int]) -> tuple[int, int] | None:
        """Bytes sent and received so far; None where the system does not tell."""
        if sys.platform != "linux":
            return None
        seen: dict[tuple[int, int], tuple[int, int]] = {}
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - a tenth of pathlib's cost
            counted = _counted(int(name), peer_ports)
            if counted is not None:
                seen[counted[0]] = counted[1]
        for ends, before in self._known.items():
            # A connection that has gone; or, with fewer bytes than before, another one of the same ports.
            if ends not in seen or seen[ends] < before:
                self._former = self._former[0] + before[0], self._former[1] + before[1]
        self._known = seen
        totals = (self._former, *seen.values())
        return sum(sent for sent, _ in totals), sum(received for _, received in totals)


def _counted(fd: int, peer_ports: Collection[int]) -> tuple[tuple[int, int], tuple[int, int]] | None:
    # The descriptor is only looked at. A copy would have to be closed, and to close a copy of what by now may
    # be a database would drop the process's locks on it (fcntl(2)).
    try:
        if not os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):  # noqa: PTH115 - as above
            return None
        looked_at = socket.socket(fileno=fd)
    except OSError:
        return None  # it was closed meanwhile
    try:
        if looked_at.family not in _FAMILIES or looked_at.type != socket.SOCK_STREAM:
            return None
        local, peer = looked_at.getsockname()[1], looked_at.getpeername()[1]
        if peer not in peer_ports:
            return None
        info = looked_at.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _BYTES_AT + _BYTES.size)
        sent, received = _BYTES.unpack_from(info, _BYTES_AT)
    except (OSError, struct.error):
        return None
    finally:
        looked_at.detach()
    return (local, peer), (max(0, sent - 1), received)  # the first to be acknowledged is our SYN
