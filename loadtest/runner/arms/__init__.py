"""The arms of a race, in one table. Adding one takes a row here, and a file for a family of its own."""

from __future__ import annotations

from collections.abc import Iterable

from loadtest.runner.arms.arm import Arm, Course
from loadtest.runner.arms.brokers import BROKER_ARMS
from loadtest.runner.arms.lasting import LongPollingArm, StreamingArm
from loadtest.runner.arms.pull import AdaptiveArm, FixedRateArm
from loadtest.runner.arms.push import PushArm, ReconciledArm, ThinArm
from sim.catalogue import EVERY

__all__ = ["DEFAULT_ARMS", "RACE_ARMS", "Arm", "Course", "named"]

DEFAULT_ARMS = ("webhook", "polling")

RACE_ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        PushArm("webhook"),
        ReconciledArm("webhook_reconciled"),
        ThinArm("thin_webhook"),
        FixedRateArm("polling"),
        FixedRateArm("conditional_polling", conditional=True),
        AdaptiveArm("adaptive_polling"),
        LongPollingArm("long_polling"),
        StreamingArm("streaming"),
        *BROKER_ARMS,
    )
}


def named(names: Iterable[str]) -> tuple[str, ...]:
    """The arms that names stand for: `EVERY` for all that need no server but ours, else each for itself."""
    ours = tuple(name for name, arm in RACE_ARMS.items() if arm not in BROKER_ARMS)
    return tuple(each for name in names for each in (ours if name == EVERY else (name,)))
