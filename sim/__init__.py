"""hookbench's models: what would webhooks, polling and their alternatives do, and how sure are we?

    >>> import sim
    >>> scenario = sim.load_scenario("shop-orders")
    >>> outcome = sim.simulate(scenario, mechanisms=["webhook", "polling"], seed=1)
    >>> outcome.summary()  # doctest: +SKIP

Importing `sim` is quick: each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sim.engine import Outcome as Outcome
    from sim.engine import simulate as simulate
    from sim.errors import HookbenchError as HookbenchError
    from sim.scenario import Scenario as Scenario
    from sim.scenario import load_scenario as load_scenario

_HOMES = {
    "HookbenchError": "sim.errors",
    "Outcome": "sim.engine",
    "Scenario": "sim.scenario",
    "load_scenario": "sim.scenario",
    "simulate": "sim.engine",
}

__all__ = ["HookbenchError", "Outcome", "Scenario", "load_scenario", "simulate"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    try:
        return import_module(f"sim.{name}")  # sim.theory, sim.figures, …
    except ModuleNotFoundError as error:
        if error.name != f"sim.{name}":
            raise
    raise AttributeError(f"module 'sim' has no attribute {name!r}")
