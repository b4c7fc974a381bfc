"""What is said of a delivery in one word: how it stands, and the way it came."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """How a delivery stood when the world ended."""

    DELIVERED = 0
    LOST = 1
    PENDING = 2


class Via(IntEnum):
    """The way an event came."""

    WEBHOOK = 0
    POLL = 1
    STREAM = 2
    QUEUE = 3
    LOG = 4
