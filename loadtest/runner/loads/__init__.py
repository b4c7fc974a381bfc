"""The arms of a load, in one table: which server each loads, and the function that runs it once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from loadtest.plans import CROWDS, LISTENERS, SENDERS
from loadtest.runner.loads.crowd import crowd
from loadtest.runner.loads.listeners import listeners
from loadtest.runner.loads.senders import senders
from loadtest.runner.results import ArmRun
from loadtest.runner.session import Session, Settings

if TYPE_CHECKING:
    from sim.scenario import Scenario

__all__ = ["LOADS"]

LOADS: Mapping[str, Callable[[Session, str, Scenario, Settings], ArmRun]] = (
    dict.fromkeys(SENDERS, senders) | dict.fromkeys(CROWDS, crowd) | dict.fromkeys(LISTENERS, listeners)
)
"""By arm. Each takes the session, its own name, the scenario as it is run and the settings."""
