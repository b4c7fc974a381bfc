"""The arms of a race, in one table. Adding one takes a row here, and a file for a family of its own."""

from __future__ import annotations

from loadtest.runner.arms.arm import Arm, Course
from loadtest.runner.arms.pull import PullArm
from loadtest.runner.arms.push import PushArm

__all__ = ["DEFAULT_ARMS", "RACE_ARMS", "Arm", "Course"]

DEFAULT_ARMS = ("webhook", "polling")

RACE_ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        PushArm("webhook"),
        PullArm("polling"),
    )
}
