"""Protects the register of connections: it forgets none that is open, and keeps none that is gone."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from loadtest.connections import SLOW_BODY, SLOW_HEADERS, Connections, Refusal, Stalled
from loadtest.limits import Limits

LIMITS = Limits(
    connections=4, header_timeout_s=10, body_timeout_s=20, send_timeout_s=20, keep_alive_s=75,
    min_bytes_per_s=100, unsent_bytes=1000, linger_s=2,
)  # fmt: skip


class Fake:
    """A connection that notes what is done to it."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self.received = 0
        self.unsent = 0
        self.held_back = False
        self.fate = ""
        self.now = 0.0

    def refuse(self, refusal: Refusal) -> None:
        self.fate = refusal.reason
        self._connections.close(self, self.now)

    def hang_up(self) -> None:
        self.fate = "hung up"
        self._connections.close(self, self.now)

    def cut(self) -> None:
        self.fate = "cut"

    def shutdown(self) -> None:
        self.fate = "shut down"


@pytest.fixture
def connections() -> Connections:
    return Connections(LIMITS)


def sweep(connections: Connections, now: float) -> None:
    for fake in connections.open:
        assert isinstance(fake, Fake)
        fake.now = now
    connections.sweep(now)


def admitted(connections: Connections, now: float) -> Fake:
    fake = Fake(connections)
    assert connections.admit(fake, now)
    return fake


def busy(connections: Connections, now: float) -> Fake:
    """One in the middle of a request."""
    fake = admitted(connections, now)
    del connections.fresh[fake]
    return fake


def test_a_crowd_drives_out_itself_its_longest_idle_first(connections: Connections) -> None:
    kept = busy(connections, 0.0)
    connections.idle[kept] = 0.0
    first, second, third = (admitted(connections, now) for now in (1.0, 2.0, 3.0))
    fourth = admitted(connections, 4.0)
    assert [fake.fate for fake in (kept, first, second, third, fourth)] == ["", "cut", "", "", ""]
    for fake in (second, third):
        del connections.fresh[fake]
        connections.idle[fake] = 5.0
    fifth = admitted(connections, 6.0)
    assert [fake.fate for fake in (kept, second, third, fourth, fifth)] == ["cut", "", "", "", ""]


def test_a_request_that_has_only_begun_never_goes(connections: Connections) -> None:
    reader = busy(connections, 0.0)
    connections.reading[reader] = 9.5
    for _ in range(3):
        busy(connections, 0.0)
    assert not connections.admit(Fake(connections), 10.0)
    assert connections.ended["connections"] == 1
    assert connections.admit(Fake(connections), 11.0)
    assert reader.fate == "cut"


def test_times(connections: Connections) -> None:
    fresh, half = admitted(connections, 0.0), admitted(connections, 0.0)
    connections.heads[half] = 0.0
    kept = busy(connections, 0.0)
    connections.idle[kept] = 0.0
    sweep(connections, 10.0)
    assert (fresh.fate, half.fate, kept.fate) == ("", "", "")
    sweep(connections, 10.1)
    assert (fresh.fate, half.fate, kept.fate) == ("hung up", SLOW_HEADERS.reason, "")
    sweep(connections, 75.1)
    assert kept.fate == "hung up"


def test_an_idle_connection_in_the_middle_of_headers_has_the_time_of_headers(
    connections: Connections,
) -> None:
    kept = busy(connections, 0.0)
    connections.idle[kept] = 0.0
    connections.heads[kept] = 70.0
    sweep(connections, 79.0)
    assert kept.fate == ""
    sweep(connections, 80.1)
    assert kept.fate == SLOW_HEADERS.reason


def test_bytes_buy_time(connections: Connections) -> None:
    reader = busy(connections, 0.0)
    connections.reading[reader] = 0.0
    reader.received = 1000  # ten seconds' worth
    sweep(connections, 29.9)
    assert reader.fate == ""
    reader.held_back = True
    sweep(connections, 40.0)
    assert reader.fate == ""
    reader.held_back = False
    sweep(connections, 70.1)
    assert reader.fate == SLOW_BODY.reason


def test_bytes_taken_buy_time(connections: Connections) -> None:
    writer = busy(connections, 0.0)
    connections.stalled[writer] = Stalled(0.0, 2000)
    writer.unsent = 1000
    sweep(connections, 29.9)
    assert writer.fate == ""
    sweep(connections, 30.1)
    assert writer.fate == "cut"


def test_a_closing_connection_has_its_time_longer_while_its_answer_is_not_taken(
    connections: Connections,
) -> None:
    done, taking = busy(connections, 0.0), busy(connections, 0.0)
    connections.close(done, 0.0)
    connections.close(taking, 0.0)
    taking.unsent = 10
    sweep(connections, 2.1)
    assert (done.fate, taking.fate) == ("cut", "")
    sweep(connections, 20.1)
    assert taking.fate == "cut"


class Life(RuleBasedStateMachine):
    """Connections in any order of things."""

    def __init__(self) -> None:
        super().__init__()
        self.connections = Connections(LIMITS)
        self.now = 0.0
        self.fakes: list[Fake] = []

    @rule(seconds=st.floats(0.0, 30.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        sweep(self.connections, self.now)

    @rule()
    def connects(self) -> None:
        fake = Fake(self.connections)
        fake.now = self.now
        if self.connections.admit(fake, self.now):
            self.fakes.append(fake)

    def live(self) -> list[Fake]:
        return [fake for fake in self.fakes if not fake.fate]

    @precondition(lambda self: self.live())
    @rule(data=st.data(), what=st.sampled_from(("begin", "idle", "head", "read", "stall", "take", "gone")))
    def happens(self, data: st.DataObject, what: str) -> None:
        fake = data.draw(st.sampled_from(self.live()))
        c = self.connections
        if what in ("begin", "read", "stall"):
            for register in (c.fresh, c.idle, c.heads, c.reading):
                register.pop(fake, None)
        if what == "read":
            c.reading[fake] = self.now
        elif what == "stall":
            fake.unsent = data.draw(st.integers(1, 2000))
            c.stalled[fake] = Stalled(self.now, fake.unsent)
            c.bound_unsent()
        elif what == "take":
            fake.unsent = 0
            c.stalled.pop(fake, None)
        elif what == "idle" and fake not in c.fresh and fake not in c.reading:
            c.idle[fake] = self.now
            c.idle.move_to_end(fake)
        elif what == "head" and (fake in c.fresh or fake in c.idle):
            c.heads.setdefault(fake, self.now)
        elif what == "gone":
            c.forget(fake)
            fake.fate = "gone"

    @invariant()
    def none_is_kept_that_is_gone(self) -> None:
        c = self.connections
        registered = {*c.fresh, *c.idle, *c.heads, *c.reading, *c.stalled, *c.closing}
        assert registered <= c.open
        assert all(fake in c.open for fake in self.live())
        assert not any(fake.fate in ("cut", "gone") for fake in self.fakes if fake in c.open)

    @invariant()
    def the_limits_hold(self) -> None:
        c = self.connections
        assert len(c.open) <= LIMITS.connections
        assert len(c.stalled) <= 1 or sum(fake.unsent for fake in c.stalled) <= LIMITS.unsent_bytes
        assert list(c.fresh.values()) == sorted(c.fresh.values())
        assert list(c.idle.values()) == sorted(c.idle.values())


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
