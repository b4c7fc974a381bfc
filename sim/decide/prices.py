"""Prices: a scenario's own, those of a file in their place, and single ones from the command line.

No price is built in. Two files come with hookbench as examples (`sim/presets/prices`): invented round
numbers, and figures of a cloud's public price pages with their dates.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sim.decide.requirement import has_prices
from sim.errors import InputError
from sim.metrics.cost import COST_ITEMS
from sim.scenario import Scenario
from sim.scenario.presets import PRESET_DIR

PRICES = PRESET_DIR / "prices"


def price_names() -> list[str]:
    """The names of the price files that come with hookbench, sorted."""
    return sorted(path.stem for path in PRICES.glob("*.toml"))


def priced(scenario: Scenario, source: str | None = None, prices: Sequence[str] = ()) -> Scenario:
    """A scenario with the prices of a file in place of its own, and single ones in place of either.

    Args:
        scenario: with or without prices.
        source: the name of a price file that comes with hookbench, or the path of one with a [cost] table.
        prices: ``per_million_requests=0.2`` and the like.

    Raises:
        InputError: no such file or price, or a price that is no number from 0 on.
    """
    changes: dict[str, Any] = {}
    if source is not None:
        changes |= dict.fromkeys(f"cost.{name}" for name in COST_ITEMS)
        changes |= {f"cost.{name}": price for name, price in _read(source).items()}
    changes |= dict(_single(text) for text in prices)
    return scenario.with_values(**changes) if changes else scenario


def require_prices(scenario: Scenario) -> None:
    """Refuse a scenario in which nothing has a price.

    Raises:
        InputError: saying how to state one.
    """
    if not has_prices(scenario.cost):
        raise InputError(
            f"{scenario.name} states no price: give --price per_million_requests=0.2, "
            f"--prices NAME ({', '.join(price_names())}), or a [cost] table"
        )


def _read(source: str) -> dict[str, float]:
    path = PRICES / f"{source}.toml" if source in price_names() else Path(source)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        known = ", ".join(price_names())
        raise InputError(
            f"--prices {source}: {error.strerror}; there are {known}, or a file's path"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"--prices {source}: not a TOML file: {error}") from None
    cost = document.get("cost")
    if not isinstance(cost, dict) or not cost:
        raise InputError(f"--prices {source}: it has no [cost] table")
    return {name: _amount(f"--prices {source}", name, value) for name, value in cost.items()}


def _single(text: str) -> tuple[str, float]:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals:
        raise InputError(f"--price {text!r}: expected NAME=AMOUNT, as per_million_requests=0.2")
    try:
        amount: object = float(value)
    except ValueError:
        amount = value
    return f"cost.{name}", _amount(f"--price {text!r}", name, amount)


def _amount(where: str, name: str, value: object) -> float:
    if name not in COST_ITEMS:
        nearest = difflib.get_close_matches(name, list(COST_ITEMS), n=1, cutoff=0.4)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(COST_ITEMS)}"
        raise InputError(f"{where}: no price is called {name!r}; {hint}")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(float(str(value))) or float(str(value)) < 0:
        raise InputError(f"{where}: {name} must be a number from 0 on, got {value!r}")
    return float(str(value))
