"""The exceptions a caller may want to catch, and the exit code each one means.

One tree: `HookbenchError` at the root, one family for each exit code. The command line
turns any of them into a single line on standard error; nothing else is ever shown as a traceback.
"""

from __future__ import annotations


class HookbenchError(Exception):
    """Root of every error hookbench raises on purpose."""

    exit_code = 1


class InputError(HookbenchError):
    """What the user gave cannot be used; the message names the value and what would be accepted."""

    exit_code = 2


class ScenarioError(InputError):
    """A scenario is malformed or asks for something impossible."""


class TraceError(InputError):
    """A trace file is malformed; the message names the file and the line."""


class ConditionsViolated(InputError):
    """A closed form was asked about a scenario outside its conditions.

    Attributes:
        formula: the formula's name.
        violated: one sentence per condition that does not hold.
    """

    def __init__(self, formula: str, violated: list[str]) -> None:
        super().__init__(f"{formula} does not hold here: {'; '.join(violated)}")
        self.formula = formula
        self.violated = violated


class VoidRun(HookbenchError):
    """A measurement happened, but its figures are not to be trusted; the message says why."""

    exit_code = 3


class ThresholdMissed(HookbenchError):
    """A sound measurement missed a threshold the user set."""

    exit_code = 4
