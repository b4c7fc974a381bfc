"""What the runner does to a server in the middle of a run: stop it, kill it, restart it, slow it down.

A fault is written ``[ROLE:]KIND@START[+LENGTH][xFACTOR]``, times in seconds since the run's origin::

    pause@5+1.4             SIGSTOP, and SIGCONT 1.4 s later: the kernel takes connections, nobody answers
    kill@5+2                SIGKILL; a new process on the same port and inbox answers 2 s later (1 s unless
                            said), or as soon as it can
    restart@5+1             SIGTERM, so that it drains; a new process answers 1 s later, or as soon as it can
    slow@5+3x4              for 3 s it may run a quarter of the time (x4 unless said): it is stopped for the
                            rest of each 20 ms, which slows all that it does, not only its handlers
    provider:pause@5+1.4    the provider; without a role the receiver, or the only server there is
    outages                 those of the scenario's receiver: refuse by restart, black_hole by pause, slow so

Killed and restarted servers answer at the same port, are watched by the monitor as one, and their counts are
summed. What had failed meanwhile is failed; only what was acknowledged and then lost voids a run.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from loadtest.contract import now_us, sleep_until
from loadtest.runner.processes import Child
from sim.errors import HookbenchError, InputError

if TYPE_CHECKING:
    from sim.scenario import Scenario

ROLES = ("receiver", "provider")
KINDS = ("pause", "kill", "restart", "slow")
OUTAGES = "outages"

DEFAULT_DOWN_S = {"kill": 1.0, "restart": 0.0}
DEFAULT_FACTOR = 4.0
SLOW_PERIOD_S = 0.02
RESTART_TIMEOUT_S = 60.0

_FORM = re.compile(
    r"(?:(?P<role>[a-z_]+):)?(?P<kind>[a-z]+)@(?P<at>[^+x]+)(?:\+(?P<for>[^x]+))?(?:x(?P<factor>.+))?"
)


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        text: as it was written.
        role: of whom; None: the receiver, or the only server there is.
        kind: of `KINDS`.
        at_s: when it begins, seconds since the origin.
        for_s: how long it lasts; a process that takes longer to start lasts longer.
        factor: how many times as slow, of "slow".
    """

    text: str
    role: str | None
    kind: str
    at_s: float
    for_s: float
    factor: float = DEFAULT_FACTOR


def parse_fault(text: str) -> Fault:
    """Read a fault.

    Raises:
        InputError: another form, an unknown kind or role, or a time that cannot be.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise InputError(f"--fault {text!r}: expected [ROLE:]KIND@SECONDS[+SECONDS], as pause@5+1.4")
    role, kind = match["role"], match["kind"]
    if kind not in KINDS:
        raise InputError(
            f"--fault {text!r}: no fault is called {kind!r}; faults: {', '.join(KINDS)}, {OUTAGES}"
        )
    if role is not None and role not in ROLES:
        raise InputError(f"--fault {text!r}: no server is called {role!r}; servers: {', '.join(ROLES)}")
    if match["factor"] is not None and kind != "slow":
        raise InputError(f"--fault {text!r}: only slow has a factor, as slow@5+3x4")
    at_s = _number(text, match["at"], least=0.0)
    if match["for"] is None and kind not in DEFAULT_DOWN_S:
        raise InputError(f"--fault {text!r}: for how long? As {kind}@{match['at']}+1.4")
    for_s = DEFAULT_DOWN_S[kind] if match["for"] is None else _number(text, match["for"], least=0.0)
    factor = DEFAULT_FACTOR if match["factor"] is None else _number(text, match["factor"], least=1.0)
    return Fault(text.strip(), role, kind, at_s, for_s, factor)


def _number(text: str, word: str, least: float) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < least:
        raise InputError(f"--fault {text!r}: expected a number from {least:g} on, got {word!r}")
    return value


def faults_of(texts: Sequence[str], scenario: Scenario) -> Faults | None:
    """The faults of a run of a scenario; None without any.

    Raises:
        InputError: see `parse_fault`; or one does not end within the run.
    """
    wanted: list[Fault] = []
    for text in texts:
        wanted += _outages(scenario) if text.strip() == OUTAGES else [parse_fault(text)]
    duration_s = scenario.run.duration_s
    for fault in wanted:
        if fault.at_s + fault.for_s > duration_s:
            raise InputError(
                f"--fault {fault.text}: it ends at {fault.at_s + fault.for_s:g} s, "
                f"after the run's {duration_s:g} s"
            )
    return Faults(wanted, outages_enacted=OUTAGES in (text.strip() for text in texts)) if wanted else None


def _outages(scenario: Scenario) -> list[Fault]:
    kinds = {"refuse": "restart", "black_hole": "pause", "slow": "slow"}
    if scenario.receiver.random_outages is not None:
        raise InputError("--fault outages: random_outages cannot be enacted, only receiver.outages")
    inside = [outage for outage in scenario.receiver.outages if outage.start_s < scenario.run.duration_s]
    if not inside:
        raise InputError(
            f"--fault outages: no outage of {scenario.name}'s receiver begins within "
            f"{scenario.run.duration_s:g} s"
        )
    found = []
    for outage in inside:
        if outage.kind not in kinds:
            raise InputError(f'--fault outages: an outage of kind "{outage.kind}" cannot be enacted')
        kind = kinds[outage.kind]
        text = f"{kind}@{outage.start_s:g}+{outage.duration_s:g}"
        text += f"x{outage.slowdown:g}" if kind == "slow" else ""
        found.append(Fault(text, "receiver", kind, outage.start_s, outage.duration_s, outage.slowdown))
    return found


class Faults:
    """A disturbance (see `loadtest.runner.session.disturb`) that does to the servers what was asked for.

    Args:
        faults: what is to happen.
        outages_enacted: whether they are the scenario's own.
    """

    def __init__(self, faults: Sequence[Fault], *, outages_enacted: bool = False) -> None:
        self.faults = tuple(faults)
        self.outages_enacted = outages_enacted
        self._threads: list[threading.Thread] = []
        self._told: list[dict[str, Any]] = []
        self._errors: list[str] = []

    def require_servers(self, roles: Sequence[str]) -> None:
        """Check that there is a server for each fault, and never two for one server at a time.

        Raises:
            InputError: there is none of that role, or one fault begins before another is over.
        """
        for fault in self.faults:
            if not roles:
                raise InputError(
                    f"--fault {fault.text}: a server that is not ours cannot be disturbed (--host)"
                )
            if fault.role is not None and fault.role not in roles:
                raise InputError(
                    f"--fault {fault.text}: no {fault.role} takes part, only: {', '.join(roles)}"
                )
        for role in roles:
            mine = sorted((f for f in self.faults if _victim(f, roles) == role), key=lambda f: f.at_s)
            for earlier, later in pairwise(mine):
                if later.at_s < earlier.at_s + earlier.for_s:
                    raise InputError(f"--fault {later.text}: begins before {earlier.text} is over")

    def __call__(self, children: Mapping[str, Child], origin_us: int) -> None:
        """Enact every fault at its time; returns when all are over."""
        self._told, self._errors = [], []
        self._threads = [
            threading.Thread(target=self._enact, args=(fault, children, origin_us), daemon=True)
            for fault in self.faults
        ]
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()

    def result(self) -> tuple[list[dict[str, Any]], list[str]]:
        """What was done to whom and when, for run.json; and what went wrong, as reasons to void the run."""
        for thread in self._threads:
            thread.join(RESTART_TIMEOUT_S)
            if thread.is_alive():
                self._errors.append("a fault did not come to its end")
        return sorted(self._told, key=lambda told: float(told["begun_s"])), self._errors

    def _enact(self, fault: Fault, children: Mapping[str, Child], origin_us: int) -> None:
        role = _victim(fault, list(children))
        child = children[role]
        sleep_until(origin_us + round(fault.at_s * 1e6))
        begun_us = now_us()
        try:
            {"pause": _pause, "kill": _kill, "restart": _restart, "slow": _slow}[fault.kind](child, fault)
        except (HookbenchError, OSError) as error:
            self._errors.append(f"{fault.text}: {error}")
        self._told.append(
            {
                "text": fault.text,
                "role": role,
                "kind": fault.kind,
                "begun_s": (begun_us - origin_us) / 1e6,
                "ended_s": (now_us() - origin_us) / 1e6,
            }
        )


def _victim(fault: Fault, roles: Sequence[str]) -> str:
    return fault.role or ("receiver" if "receiver" in roles else roles[0])


def _pause(child: Child, fault: Fault) -> None:
    begun_us = now_us()
    _signal(child, signal.SIGSTOP)
    sleep_until(begun_us + round(fault.for_s * 1e6))
    _signal(child, signal.SIGCONT)


def _slow(child: Child, fault: Fault) -> None:
    end_us = now_us() + round(fault.for_s * 1e6)
    runs_s = SLOW_PERIOD_S / fault.factor
    try:
        while now_us() < end_us:
            _signal(child, signal.SIGSTOP)
            time.sleep(SLOW_PERIOD_S - runs_s)
            _signal(child, signal.SIGCONT)
            time.sleep(runs_s)
    finally:
        _signal(child, signal.SIGCONT)


def _kill(child: Child, fault: Fault) -> None:
    _replace(child, signal.SIGKILL, fault.for_s)


def _restart(child: Child, fault: Fault) -> None:
    _replace(child, signal.SIGTERM, fault.for_s)


def _replace(child: Child, number: signal.Signals, for_s: float) -> None:
    """End the process and start its successor in time for it to answer after `for_s`."""
    begun_us = now_us()
    if child.take_down(number, RESTART_TIMEOUT_S):
        sleep_until(begun_us + round((for_s - child.start_s) * 1e6))
        child.bring_back()


def _signal(child: Child, number: signal.Signals) -> None:
    """A signal to the process and all it has started; nothing to one that was stopped for good."""
    if child.over:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
