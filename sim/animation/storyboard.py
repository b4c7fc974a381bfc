"""One stream of events, delivered by each mechanism: what moved, when, and what was said of it.

The reference models run on a scenario's first events and show everything they move (`sim.passages`); a
storyboard keeps what belongs into one picture. The first subscriber is alone in it: other subscribers would
only compete for the provider's API.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.catalogue import MECHANISMS
from sim.engine import check, run_once
from sim.errors import InputError
from sim.narration import Line
from sim.passages import Kind, Passage
from sim.policies import api_outages, receiver_outages
from sim.randomness import replication_seed
from sim.scenario import Scenario
from sim.workload import event_times

MOST_ARROWS = 240
"""So many on their way in one panel; with more of them none can be told from its neighbour."""

MOST_EVENTS = 40

_SETTLED = (Kind.VISIBLE, Kind.GIVEN_UP)
_FIRST_LOOK_S = 5.0


@dataclass(frozen=True)
class Outage:
    """When a server failed, and which: "receiver" or "api"."""

    server: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Panel:
    """What one mechanism made of the events.

    Attributes:
        mechanism: of `sim.catalogue.MECHANISMS`.
        title: what it does, in a few words.
        passages: everything that left before the picture ends, in the order in which it left.
        lines: the same in words.
    """

    mechanism: str
    title: str
    passages: tuple[Passage, ...]
    lines: tuple[Line, ...]

    @property
    def has_broker(self) -> bool:
        """Whether a broker stands between provider and subscriber."""
        return any(passage.kind == Kind.PUBLISH for passage in self.passages)

    def count(self, *kinds: Kind) -> int:
        """How many passages are of these kinds."""
        return sum(passage.kind in kinds for passage in self.passages)

    @property
    def empty_polls(self) -> frozenset[int]:
        """The numbers of the polls whose answer carried nothing, for there was nothing.

        Opening a stream is a request too, but asks for nothing yet.
        """
        if self.mechanism == "streaming":
            return frozenset()
        return frozenset(
            passage.number
            for passage in self.passages
            if passage.kind == Kind.GET_ANSWER and passage.good and not passage.lost and not passage.events
        )


@dataclass(frozen=True)
class Storyboard:
    """A picture's content.

    Attributes:
        scenario: what was simulated.
        created_s: when each event happened.
        start_s: where the picture begins.
        end_s: where it ends.
        outages: of the two servers, those within the picture.
        panels: one a mechanism, on the same events.
        cut_by: the mechanism that had so much under way that the picture ends early; empty otherwise.
    """

    scenario: Scenario
    created_s: tuple[float, ...]
    start_s: float
    end_s: float
    outages: tuple[Outage, ...]
    panels: tuple[Panel, ...]
    cut_by: str = ""


def storyboard(scenario: Scenario, mechanisms: Sequence[str], events: int = 8, seed: int = 1) -> Storyboard:
    """The story of a scenario's first events under each mechanism, until all of them have arrived.

    The events and all draws are those of replication 0 of ``simulate(scenario, mechanisms, seed=seed)`` at
    its first subscriber, but that all events are meant for it and that it has the API to itself.

    Args:
        scenario: what is studied.
        mechanisms: of `sim.catalogue.MECHANISMS`, a panel each.
        events: how many events, 1 to `MOST_EVENTS`.
        seed: the experiment's seed.

    Raises:
        InputError: a number or a name is not one of these, or the scenario has no event.
    """
    check(mechanisms, "simpy", seed, 1)
    if not 1 <= events <= MOST_EVENTS:
        raise InputError(f"events must be in [1, {MOST_EVENTS}], got {events}")
    run_seed = replication_seed(seed, 0)
    created = event_times(scenario, run_seed)[:events]
    if len(created) == 0:
        raise InputError(f"{scenario.name} has no event with seed {seed}: nothing to draw")
    horizon_s = float(created[-1]) + max(_FIRST_LOOK_S, float(created[-1] - created[0]))
    while True:
        horizon_s = min(horizon_s, scenario.world_end_s)
        world = _world_until(scenario, horizon_s)
        panels = [_panel(world, mechanism, created, run_seed) for mechanism in mechanisms]
        if horizon_s == scenario.world_end_s or all(_is_told(panel, len(created)) for panel in panels):
            return _composed(scenario, world, created, run_seed, panels)
        horizon_s *= 2


def _world_until(scenario: Scenario, horizon_s: float) -> Scenario:
    return scenario.with_values(
        **{
            "subscribers.count": 1,
            "subscribers.interest": 1.0,
            "run.duration_s": horizon_s,
            "run.drain_s": 0.0,
            "run.warmup_s": 0.0,
        }
    )


def _panel(world: Scenario, mechanism: str, created: NDArray[np.float64], seed: int) -> Panel:
    passages: list[Passage] = []
    lines = [Line(float(time_s), f"event {event} is created") for event, time_s in enumerate(created)]

    def listen(time_s: float, _subscriber: int, text: str) -> None:
        lines.append(Line(time_s, text))

    run_once(world, mechanism, created, seed, "simpy", listen, passages.append)
    lines.sort(key=lambda line: line.time_s)  # stable: the model's own order within an instant
    passages.sort(key=lambda passage: passage.left_s)
    return Panel(mechanism, MECHANISMS[mechanism].title, tuple(passages), tuple(lines))


def _is_told(panel: Panel, events: int) -> bool:
    """Whether a longer look would add nothing to the picture."""
    settled = {passage.events[0] for passage in panel.passages if passage.kind in _SETTLED}
    return len(settled) == events or len(panel.passages) > 2 * MOST_ARROWS


def _composed(
    scenario: Scenario, world: Scenario, created: NDArray[np.float64], seed: int, panels: list[Panel]
) -> Storyboard:
    """Choose where the picture begins and ends, and leave out what lies outside."""
    last_s = max(
        (
            passage.arrived_s
            for panel in panels
            for passage in panel.passages
            if passage.kind in (*_SETTLED, Kind.DUPLICATE, Kind.POST, Kind.POST_ANSWER, Kind.ACK)
        ),
        default=float(created[-1]),
    )
    first_s = float(created[0])
    margin_s = 0.04 * max(last_s - first_s, 1e-3)
    start_s, end_s, cut_by = max(0.0, first_s - margin_s), last_s + margin_s, ""
    for panel in panels:
        within = [passage.left_s for passage in panel.passages if passage.left_s >= start_s]
        if len(within) > MOST_ARROWS and within[MOST_ARROWS] < end_s:
            end_s, cut_by = within[MOST_ARROWS], panel.mechanism
    shown = tuple(
        Panel(
            panel.mechanism,
            panel.title,
            tuple(each for each in panel.passages if each.arrived_s >= start_s and each.left_s <= end_s),
            tuple(line for line in panel.lines if start_s <= line.time_s <= end_s),
        )
        for panel in panels
    )
    return Storyboard(
        scenario,
        tuple(float(time_s) for time_s in created if time_s <= end_s),
        start_s,
        end_s,
        tuple(each for each in _outages(world, seed) if each.end_s > start_s and each.start_s < end_s),
        shown,
        cut_by,
    )


def _outages(world: Scenario, seed: int) -> list[Outage]:
    compiled = (("receiver", receiver_outages(world, seed)), ("api", api_outages(world, seed)))
    return [
        Outage(server, float(start_s), float(end_s))
        for server, outages in compiled
        for start_s, end_s in zip(outages.start_s, outages.end_s, strict=True)
    ]
