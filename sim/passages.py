"""What went where, and when: the reference models' own account of a run, for pictures.

A narrator hears words; a witness sees these. Everything is stated by the model that moves it
(`World.carried`), so a picture shows what was simulated and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a passage is: on its way between provider and subscriber, or at one of them."""

    POST = "post"
    POST_ANSWER = "post_answer"
    GET = "get"
    GET_ANSWER = "get_answer"
    PUBLISH = "publish"
    MESSAGE = "message"
    ACK = "ack"
    SESSION = "session"
    VISIBLE = "visible"
    DUPLICATE = "duplicate"
    GIVEN_UP = "given_up"


@dataclass(frozen=True)
class Passage:
    """Something on its way, or for a session, for as long as it lasts.

    Attributes:
        kind: what it is.
        subscriber: whose.
        left_s: when it left.
        arrived_s: when it arrived, or was found to be lost; equal to `left_s` for what happens at an instant.
        events: what it carries, or is about.
        number: the attempt of a POST or message, the number of a poll or fetch; an answer has that of its
            question.
        good: whether an answer says that all is well.
        lost: whether it never arrived.
        told: an answer in words.
    """

    kind: Kind
    subscriber: int
    left_s: float
    arrived_s: float
    events: tuple[int, ...] = ()
    number: int = 0
    good: bool = True
    lost: bool = False
    told: str = ""


Witness = Callable[[Passage], None]
