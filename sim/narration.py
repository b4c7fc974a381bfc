"""A run told happening by happening, for class and for debugging.

The reference model tells its own story (`World.tell`); here it is run on the first few events of a
scenario, and what repeats (an empty poll after an empty poll) is told once and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sim.engine import run_once
from sim.errors import InputError
from sim.randomness import replication_seed
from sim.scenario import Scenario
from sim.workload import event_times


@dataclass(frozen=True)
class Line:
    """What happened at a time."""

    time_s: float
    text: str


def narrate(scenario: Scenario, mechanism: str, events: int = 10, seed: int = 1) -> list[Line]:
    """The story of a scenario's first events at its first subscriber, to the end of the world.

    It is replication 0 of ``simulate(scenario, [mechanism], seed=seed)`` with only these events in it.

    Args:
        scenario: what is studied.
        mechanism: one of `sim.catalogue.MECHANISMS`.
        events: how many events, at least 1.
        seed: the experiment's seed.

    Raises:
        InputError: fewer than one event asked for, or the scenario's replication has none.
    """
    if events < 1:
        raise InputError(f"events must be at least 1, got {events}")
    run_seed = replication_seed(seed, 0)
    created = event_times(scenario, run_seed)[:events]
    if len(created) == 0:
        raise InputError(f"{scenario.name} has no event with seed {seed}: nothing to tell")
    story = [Line(float(time_s), f"event {event} is created") for event, time_s in enumerate(created)]

    def listen(time_s: float, subscriber: int, text: str) -> None:
        if subscriber == 0:
            story.append(Line(time_s, text))

    run_once(scenario, mechanism, created, run_seed, "simpy", listen)
    story.sort(key=lambda line: line.time_s)  # stable: the model's own order within an instant
    return list(_without_repetition(story))


def _without_repetition(story: list[Line]) -> Iterator[Line]:
    """Tell lines that repeat (a request, its being held, its answer) once, then only how often."""
    texts = [line.text for line in story]
    position = 0
    while position < len(story):
        for length in (2, 3):
            end = _end_of_repetition(texts, position, length)
            repeats = (end - position) // length - 1
            if repeats >= 2:
                yield from story[position : position + length]
                yield Line(story[end - 1].time_s, f"… the same {repeats:,} more times")
                position = end
                break
        else:
            yield story[position]
            position += 1


def _end_of_repetition(texts: list[str], position: int, length: int) -> int:
    """Where the lines from `position` on, repeated as often as they are, end."""
    lines = texts[position : position + length]
    end = position + length
    while texts[end : end + length] == lines:
        end += length
    return end
