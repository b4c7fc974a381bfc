"""Sending a schedule of webhooks through the model of the reference receiver, by either engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sim.reference_receiver.stages import Stages

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Passage:
    """What became of each webhook of a schedule, and what that cost.

    Attributes:
        intended_s: when each was to be sent, ascending.
        sent_s: when its sender took it up.
        received_s: when the receiver had parsed it.
        stored_s: when its event loop knew it stored.
        begun_s: when a worker began to serve it.
        acknowledged_s: when its sender had read the answer.
        visible_s: when it was visible.
        groups: commits that stored events.
        settles: commits that recorded what was visible.
        busy_s: work of the receiver's core. sender_busy_s: of the sender's.
        wakes: how often the receiver's core was woken.
        end_s: when the last of it all was over.
    """

    intended_s: _Floats
    sent_s: _Floats
    received_s: _Floats
    stored_s: _Floats
    begun_s: _Floats
    acknowledged_s: _Floats
    visible_s: _Floats
    groups: int
    settles: int
    busy_s: float
    sender_busy_s: float
    wakes: int
    end_s: float

    @property
    def work_per_event_s(self) -> float:
        """The receiver's work an event."""
        return self.busy_s / self.intended_s.size

    def queue_mean(self, start_s: float, end_s: float) -> float:
        """Events that waited for a worker, averaged over [start_s, end_s)."""
        waited_s = np.clip(self.begun_s, start_s, end_s) - np.clip(self.stored_s, start_s, end_s)
        return float(waited_s.sum()) / (end_s - start_s)

    @property
    def groups_per_event(self) -> float:
        """Commits an event: 1 for one commit each, less when commits are shared."""
        return self.groups / self.intended_s.size


def pass_through(
    stages: Stages, intended_s: _Floats, seed: int, engine: Literal["fast", "simpy"] = "fast"
) -> Passage:
    """Send webhook i at `intended_s[i]`; its service is draw i of the scenario's (`sim.distributions`).

    Args:
        stages: what each part costs.
        intended_s: ascending, at least one.
        seed: of every draw.
        engine: the compiled model, or the readable one.

    Raises:
        ValueError: no webhook, or times that do not ascend.
    """
    intended_s = np.ascontiguousarray(intended_s, dtype=np.float64)
    if intended_s.size == 0 or np.any(np.diff(intended_s) < 0) or not np.isfinite(intended_s).all():
        raise ValueError("a schedule has at least one webhook, and its times ascend")
    if engine == "simpy":
        from sim.reference_receiver.model import run  # noqa: PLC0415 - SimPy, only when it is asked for
    else:
        from sim.kernels.reference_receiver import run  # noqa: PLC0415 - compiled code
    return Passage(intended_s, *run(stages, intended_s, seed))
