"""In which order simultaneous happenings take place, in both engines.

At equal times: the kinds below in their order; then the subscriber, then the event or poll number,
then the attempt. Consequences without delay follow their cause at once, before the next happening.
"""

from __future__ import annotations

from enum import IntEnum


class Happening(IntEnum):
    """What can happen, in the order of simultaneous happenings.

    `ATTEMPT_READY` is an event's creation (its first attempt is ready) or the end of a back-off.
    An outage's edges are not scheduled: whether the door is open is a function of the time
    (`sim.policies.outage_at`), which makes an edge precede everything else at its instant.
    """

    CONNECTION_LOST = 0
    SERVICE_END = 1
    RESPONSE_ARRIVAL = 2
    TIMEOUT = 3
    ATTEMPT_READY = 4
    REQUEST_ARRIVAL = 5
    TICK = 6
