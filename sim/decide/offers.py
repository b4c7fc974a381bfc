"""Who offers which way: facts about providers with their sources (`offers.toml`), and what follows from them.

A scenario that names a provider is bound by what that one offers; one that names none is about a provider
that might be asked for anything, or be one's own.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from sim.catalogue import MECHANISMS
from sim.decide.reasons import Reason
from sim.scenario import Scenario

OFFERS = Path(__file__).parent / "offers.toml"

INBOUND = frozenset({"webhook", "webhook_reconciled", "thin_webhook"})
"""The ways in which the provider calls the consumer."""

COMMON = frozenset({"webhook", "webhook_reconciled", "polling", "adaptive_polling"})
"""The ways that need no more of a provider than webhooks and a list of events."""

_MADE_OF: Mapping[str, tuple[str, ...]] = {
    "webhook_reconciled": ("webhook", "polling"),
    "adaptive_polling": ("polling",),
}


@dataclass(frozen=True)
class Offer:
    """That a provider has a way.

    Attributes:
        source: where that is published.
        settings: values that hold for it there.
        caveat: what the source says against it.
    """

    source: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    caveat: str = ""


@dataclass(frozen=True)
class Openness:
    """Which ways are open in a scenario.

    Attributes:
        open: mechanism -> what is known about its being offered, and the settings that come with it.
        barred: mechanism -> why it is out before anything is simulated.
    """

    open: dict[str, tuple[Reason | None, Mapping[str, Any]]]
    barred: dict[str, Reason]


@lru_cache(maxsize=1)
def all_offers() -> dict[str, dict[str, Offer]]:
    """Provider -> mechanism -> what is published about it."""
    document = tomllib.loads(OFFERS.read_text(encoding="utf-8"))
    return {
        provider: {mechanism: Offer(**fact) for mechanism, fact in ways.items()}
        for provider, ways in document.items()
    }


def openness(
    scenario: Scenario,
    mechanisms: Collection[str] = tuple(MECHANISMS),
    *,
    no_inbound: bool = False,
    offered: Collection[str] = (),
) -> Openness:
    """Sort mechanisms into those that are open and those that are not, and why.

    Args:
        scenario: names the provider, or none.
        mechanisms: which to consider.
        no_inbound: the consumer cannot accept connections.
        offered: mechanisms that the user knows the provider to have.
    """
    found = Openness({}, {})
    for mechanism in mechanisms:
        if no_inbound and mechanism in INBOUND:
            text = "the consumer cannot accept connections, and this way the provider makes them"
            found.barred[mechanism] = Reason("no_inbound", text)
            continue
        parts = _MADE_OF.get(mechanism, (mechanism,))
        if scenario.provider is None or mechanism in offered or set(parts) <= set(offered):
            found.open[mechanism] = (_asked_for(mechanism, scenario, offered), {})
            continue
        offers = all_offers().get(scenario.provider, {})
        missing = [part for part in parts if part not in offers and part not in offered]
        if missing:
            found.barred[mechanism] = Reason(
                "not_offered",
                f"no source that we know says that {scenario.provider} offers {' and '.join(missing)}; "
                f"say --offers {missing[0]} if it does",
                value=scenario.provider,
            )
            continue
        found.open[mechanism] = _taken_up(
            scenario.provider, mechanism, [offers[p] for p in parts if p in offers]
        )
    return found


def _asked_for(mechanism: str, scenario: Scenario, offered: Collection[str]) -> Reason | None:
    if mechanism in offered or mechanism in COMMON:
        return None
    return Reason(
        "needs_provider",
        f"needs a provider that offers {mechanism}: {MECHANISMS[mechanism].title}",
        value=scenario.provider,
    )


def _taken_up(provider: str, mechanism: str, offers: list[Offer]) -> tuple[Reason | None, Mapping[str, Any]]:
    settings = {key: value for offer in offers for key, value in offer.settings.items()}
    if mechanism in COMMON and not any(offer.caveat for offer in offers):
        return None, settings
    sources = "; ".join(offer.source for offer in offers)
    caveats = "".join(f"; {offer.caveat}" for offer in offers if offer.caveat)
    return Reason("offered", f"{provider} offers it ({sources}){caveats}", value=provider), settings
