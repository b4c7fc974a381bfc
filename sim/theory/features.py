"""What a scenario may have at work beside what a formula is about, named so that it can be refused.

Each formula says which features would spoil it with one condition, `nothing_of`; a feature that changes
nothing it promises is not among them (an API's outage leaves webhooks alone).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from sim.scenario import Scenario
from sim.theory.conditions import Condition


@dataclass(frozen=True)
class Feature:
    """Something that may be at work in a scenario.

    Attributes:
        key: the scenario's key that switches it on.
        at_work: whether a scenario does.
    """

    key: str
    at_work: Callable[[Scenario], bool]


LOSS = (
    Feature("network.request_loss", lambda s: s.network.request_loss > 0),
    Feature("network.response_loss", lambda s: s.network.response_loss > 0),
)
SETUP = (Feature("network.setup_round_trips", lambda s: s.network.setup_round_trips > 0),)
INTEREST = (Feature("subscribers.interest", lambda s: s.subscribers.interest < 1),)
RECEIVER = (
    Feature("receiver.outages", lambda s: bool(s.receiver.outages)),
    Feature("receiver.random_outages", lambda s: s.receiver.random_outages is not None),
    Feature("receiver.discipline", lambda s: s.receiver.discipline != "fcfs"),
)
ERRORS = (Feature("receiver.error_probability", lambda s: s.receiver.error_probability > 0),)
ENDPOINT = (
    Feature("receiver.signature_tolerance_s", lambda s: s.receiver.signature_tolerance_s is not None),
    Feature("webhook.disabling", lambda s: s.webhook.disabling is not None),
    Feature("webhook.redelivery", lambda s: s.webhook.redelivery is not None),
)
API = (
    Feature("provider_api.outages", lambda s: bool(s.provider_api.outages)),
    Feature("provider_api.random_outages", lambda s: s.provider_api.random_outages is not None),
    Feature("provider_api.rate_limit", lambda s: s.provider_api.rate_limit is not None),
    Feature("provider_api.retention", lambda s: s.provider_api.retention is not None),
    Feature("provider_api.feed_lag_s", lambda s: s.provider_api.feed_lag_s > 0),
)
CONTENT = (Feature("workload.content", lambda s: s.workload.content == "last_value"),)

PUSHING = (*LOSS, *SETUP, *INTEREST, *RECEIVER, *ERRORS, *ENDPOINT)
"""All that bears on webhooks."""

ASKING = (*LOSS, *SETUP, *INTEREST, *RECEIVER, *API, *CONTENT)
"""All that bears on polls."""


def nothing_of(features: Collection[Feature], but: Collection[str] = ()) -> Condition:
    """None of these features is at work, other than those whose keys are in `but`."""
    spoiling = [feature for feature in features if feature.key not in but]
    unknown = set(but) - {feature.key for feature in features}
    if unknown:
        raise ValueError(f"no such feature: {', '.join(sorted(unknown))}")

    def found(scenario: Scenario) -> list[str]:
        return [feature.key for feature in spoiling if feature.at_work(scenario)]

    return Condition(
        f"nothing is at work of {', '.join(feature.key for feature in spoiling)}",
        lambda s: not found(s),
        lambda s: ", ".join(found(s)),
    )
