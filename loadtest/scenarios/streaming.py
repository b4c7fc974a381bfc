"""Streams: N connections of server-sent events at the provider, while events are published to it.

The stream is read as the WHATWG HTML Living Standard, "Server-sent events", has it, as far as our provider
speaks: a block's ``id`` is where to come back to, its ``data`` the event. A connection that is cut comes back
with its last id.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from geventhttpclient.response import HTTPParseError, HTTPSocketResponse

from loadtest.contract import now_us
from loadtest.scenarios.listeners import Connection, Listeners, ListenerUser
from loadtest.scenarios.open_loop import OpenLoop, OpenLoopUser
from loadtest.scenarios.requests import publications
from loadtest.schedule import Plan


def listen(connection: Connection, plan: Plan) -> None:
    """Open the stream, and open it again whenever it ends; for ever."""
    place = _Place()
    while True:
        headers = {"accept": "text/event-stream", "accept-encoding": "identity"}
        if place.last_id:
            headers["last-event-id"] = place.last_id.decode("latin-1")
        connection.counts["requests"] += 1
        with connection.user.client.request(
            "GET", "/events/stream", name="stream", headers=headers, stream=True, catch_response=True
        ) as response:
            opened = response.status_code == 200
            stream: HTTPSocketResponse | None = response._response if opened else None
        if stream is None:
            connection.failed()
            continue
        connection.ready()
        try:
            _read(stream, connection, place)
        except (OSError, ValueError, HTTPParseError):
            connection.failed()
        finally:
            stream.release()


@dataclass
class _Place:
    """How far a connection has come."""

    last_id: bytes = b""


def _read(stream: HTTPSocketResponse, connection: Connection, place: _Place) -> None:
    """Take events until the stream ends.

    `readline` hands a line on as soon as it is there, where Locust's own `iter_lines` waits for a full block.
    """
    data = b""
    while line := bytes(stream.readline(b"\n")):
        when_us = now_us()
        connection.counts["response_bytes"] += len(line)
        name, _, value = line.rstrip(b"\n").partition(b": ")
        if name == b"id":
            place.last_id = value
        elif name == b"data":
            data = value
        elif not name and data:
            event = orjson.loads(data)
            if "id" in event:  # else it tells of events that retention has taken away
                connection.took(event, when_us, len(data))
            data = b""


class Stream(ListenerUser):
    """Listens to the stream."""

    listeners = Listeners("Stream", listen)


class Publisher(OpenLoopUser):
    """Publishes what the others listen for."""

    open_loop = OpenLoop("streaming", publications, Stream.listeners)
