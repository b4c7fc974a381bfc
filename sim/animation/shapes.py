"""A storyboard laid out: arrows, dots and bands in time and between lanes, for whatever draws them.

Lanes are counted from the top: the provider's is 0, the subscriber's the last, a broker's between them.
"""

from __future__ import annotations

from dataclasses import dataclass

from sim.animation.storyboard import Panel, Storyboard
from sim.passages import Kind, Passage

PROVIDER = 0

LEGEND: dict[str, str] = {
    "event": "an event happens at the provider",
    "push": "on its way: the event",
    "retry": "the event, sent again",
    "ask": "asks, and there is something",
    "empty": "asks in vain, and the answer “nothing new”",
    "ok": "“got it”",
    "bad": "refused, an error, or told to wait",
    "lost": "lost on the way",
    "visible": "the event is visible to the subscriber",
    "duplicate": "a duplicate, worked on for nothing",
    "given_up": "given up",
    "held": "the provider holds the request until there is news",
    "session": "a connection is open",
    "outage": "out of order",
}
"""Style -> what it means."""

_HELD_AT_LEAST = 0.004
"""A request that waits this share of the picture is drawn as held."""


@dataclass(frozen=True)
class Arrow:
    """Something on its way between two lanes; a lost one ends half-way, at a cross."""

    style: str
    from_s: float
    to_s: float
    from_lane: float
    to_lane: float
    is_lost: bool = False
    told: str = ""


@dataclass(frozen=True)
class Dot:
    """Something that happens at an instant on a lane."""

    style: str
    at_s: float
    lane: float
    event: int
    told: str = ""


@dataclass(frozen=True)
class Band:
    """A state that lasts, from one lane to another (the same for a bar on one lane)."""

    style: str
    from_s: float
    to_s: float
    from_lane: float
    to_lane: float
    told: str = ""


@dataclass(frozen=True)
class Layout:
    """One panel's shapes; `lanes` are the names of its lanes from the top, `finding` says what came of it."""

    mechanism: str
    title: str
    finding: str
    lanes: tuple[str, ...]
    bands: tuple[Band, ...]
    arrows: tuple[Arrow, ...]
    dots: tuple[Dot, ...]

    @property
    def styles(self) -> set[str]:
        """Every style that occurs in it."""
        lost = {"lost"} if any(arrow.is_lost for arrow in self.arrows) else set()
        of_each = (
            {band.style for band in self.bands},
            {arrow.style for arrow in self.arrows},
            {dot.style for dot in self.dots},
        )
        return lost.union(*of_each)


def layouts(board: Storyboard) -> list[Layout]:
    """The shapes of every panel of a storyboard."""
    return [_layout(board, panel) for panel in board.panels]


def legend(drawn: list[Layout]) -> dict[str, str]:
    """What the styles mean that occur in a picture."""
    used = set().union(*(each.styles for each in drawn))
    return {style: meaning for style, meaning in LEGEND.items() if style in used}


def _layout(board: Storyboard, panel: Panel) -> Layout:
    lanes = ("provider", "broker", "subscriber") if panel.has_broker else ("provider", "subscriber")
    bottom = len(lanes) - 1
    speaker = bottom - 1  # who talks to the subscriber: the broker, or the provider itself
    empty = panel.empty_polls
    arrows, dots = [], []
    bands = [_outage(each.server, each.start_s, each.end_s, bottom) for each in board.outages]
    asked = {each.number: each for each in panel.passages if each.kind == Kind.GET}
    held_s = _HELD_AT_LEAST * (board.end_s - board.start_s)
    dots += [
        Dot("event", time_s, PROVIDER, event, f"event {event} happens")
        for event, time_s in enumerate(board.created_s)
    ]
    for each in panel.passages:
        match each.kind:
            case Kind.POST | Kind.MESSAGE:
                style = "retry" if _is_again(panel, each) else "push"
                arrows.append(_arrow(style, each, speaker, bottom))
            case Kind.POST_ANSWER | Kind.ACK:
                arrows.append(_arrow("ok" if each.good else "bad", each, bottom, speaker))
            case Kind.GET:
                arrows.append(_arrow("empty" if each.number in empty else "ask", each, bottom, speaker))
            case Kind.GET_ANSWER:
                question = asked.get(each.number)
                if question is not None and each.left_s - question.arrived_s > held_s:
                    told = "held until there is news"
                    bands.append(Band("held", question.arrived_s, each.left_s, speaker, speaker, told))
                style = "push" if each.events else "empty" if each.number in empty else "ok"
                if not each.good:
                    style = "bad"
                arrows.append(_arrow(style, each, speaker, bottom))
            case Kind.PUBLISH:
                arrows.append(_arrow("push", each, PROVIDER, speaker))
            case Kind.SESSION:
                bands.append(
                    Band("session", each.left_s, each.arrived_s, speaker, bottom, "a connection is open")
                )
            case Kind.VISIBLE | Kind.DUPLICATE:
                dots.append(Dot(each.kind.value, each.arrived_s, bottom, each.events[0], _told(each)))
            case Kind.GIVEN_UP:
                lane = bottom if panel.has_broker else PROVIDER
                dots.append(Dot("given_up", each.arrived_s, lane, each.events[0], _told(each)))
    return Layout(
        panel.mechanism, panel.title, _finding(board, panel), lanes, tuple(bands), tuple(arrows), tuple(dots)
    )


def _is_again(panel: Panel, passage: Passage) -> bool:
    """Whether a POST or a message has been sent before; a stream's number is its session, not an attempt."""
    return passage.number > 1 and panel.mechanism != "streaming"


def _arrow(style: str, passage: Passage, from_lane: int, to_lane: int) -> Arrow:
    return Arrow(style, passage.left_s, passage.arrived_s, from_lane, to_lane, passage.lost, _told(passage))


def _outage(server: str, start_s: float, end_s: float, bottom: int) -> Band:
    lane, who = (bottom, "the subscriber's receiver") if server == "receiver" else (PROVIDER, "the API")
    return Band("outage", start_s, end_s, lane, lane, f"{who} is out of order")


def _told(passage: Passage) -> str:
    """A passage in a few words."""
    what = f"event {_listed(passage.events)}"
    match passage.kind:
        case Kind.POST:
            words = f"POST {what}, attempt {passage.number}"
        case Kind.MESSAGE:
            words = f"message: {what}"
        case Kind.PUBLISH:
            words = f"{what} is published"
        case Kind.GET:
            words = f"GET {what}" if passage.events else "GET what is new"
        case Kind.GET_ANSWER if passage.good:
            words = f"answer: {what}" if passage.events else passage.told or "answer: nothing new"
        case Kind.POST_ANSWER | Kind.ACK | Kind.GET_ANSWER:
            words = f"answer to {what}: {passage.told or ('acknowledged' if passage.good else 'failed')}"
        case Kind.VISIBLE:
            words = f"{what} is visible"
        case Kind.DUPLICATE:
            words = f"a duplicate of {what}, worked on for nothing"
        case _:
            words = f"{what} is given up"
    return f"{words}; lost on the way" if passage.lost else words


def _listed(events: tuple[int, ...]) -> str:
    return ", ".join(map(str, events))


def _finding(board: Storyboard, panel: Panel) -> str:
    """What came of it: how late, how much asked for nothing."""
    visible = {
        passage.events[0]: passage.arrived_s for passage in panel.passages if passage.kind == Kind.VISIBLE
    }
    late_s = [visible[event] - time_s for event, time_s in enumerate(board.created_s) if event in visible]
    told = [f"{len(late_s)} of {len(board.created_s)} events visible"]
    if late_s:
        told[0] += f", {_seconds(sum(late_s) / len(late_s))} late on average"
    requests = panel.count(Kind.POST, Kind.GET, Kind.PUBLISH)
    told.append(f"{requests} request{'' if requests == 1 else 's'}")
    if panel.empty_polls:
        told.append(f"{len(panel.empty_polls)} in vain")
    repeated = panel.count(Kind.DUPLICATE)
    if repeated:
        told.append(f"{repeated} duplicate{'' if repeated == 1 else 's'}")
    return "; ".join(told)


def _seconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
