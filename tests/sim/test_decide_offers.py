"""Protects which ways are open: no offer without a source, none proposed that no source supports."""

from __future__ import annotations

import pytest

from sim.catalogue import MECHANISMS
from sim.decide.offers import INBOUND, all_offers, openness
from sim.scenario import part_names
from tests.sim.deciding import small


def test_every_provider_has_offers_and_every_offer_a_source() -> None:
    assert set(all_offers()) == set(part_names("provider"))
    for provider, ways in all_offers().items():
        assert "webhook" in ways, provider
        assert set(ways) <= set(MECHANISMS)
        for mechanism, offer in ways.items():
            assert offer.source, f"{provider} {mechanism}"
            small(provider=provider).with_values(**offer.settings)


@pytest.mark.parametrize("provider", part_names("provider"))
def test_what_no_source_supports_is_barred_and_says_so(provider: str) -> None:
    found = openness(small(provider=provider))
    assert found.open.keys() | found.barred.keys() == set(MECHANISMS)
    offered = set(all_offers()[provider])
    for mechanism, reason in found.barred.items():
        assert reason.kind == "not_offered"
        assert reason.value == provider
        assert mechanism not in offered
    assert "webhook" in found.open
    assert ("webhook_reconciled" in found.open) == ("polling" in offered)
    assert ("adaptive_polling" in found.open) == ("polling" in offered)


def test_known_facts() -> None:
    slack = openness(small(provider="slack")).open
    known, settings = slack["streaming"]
    assert known is not None
    assert known.kind == "offered"
    assert settings == {"streaming.replay": False}, "Socket Mode does not send again what was missed"
    assert "long_polling" not in slack
    assert "conditional_polling" in openness(small(provider="github")).open, "ETags"
    assert "broker_push" in openness(small(provider="shopify")).open, "Pub/Sub, EventBridge"
    assert "thin_webhook" in openness(small(provider="stripe")).open, "thin events"


def test_a_consumer_that_cannot_be_called_has_no_webhooks() -> None:
    found = openness(small(), no_inbound=True)
    assert found.barred.keys() == INBOUND
    assert {reason.kind for reason in found.barred.values()} == {"no_inbound"}


def test_without_a_provider_everything_is_open_and_what_it_takes_is_said() -> None:
    found = openness(small()).open
    assert set(found) == set(MECHANISMS)
    needing = {mechanism for mechanism, (known, _) in found.items() if known is not None}
    assert needing == set(MECHANISMS) - {"webhook", "webhook_reconciled", "polling", "adaptive_polling"}
    assert {known.kind for known, _ in found.values() if known is not None} == {"needs_provider"}


def test_what_the_user_knows_is_open() -> None:
    scenario = small(provider="mailchimp-transactional")
    assert "adaptive_polling" not in openness(scenario).open
    assert openness(scenario, offered=["polling"]).open.keys() >= {
        "polling",
        "adaptive_polling",
        "webhook_reconciled",
    }
    assert "long_polling" in openness(scenario, offered=["long_polling"]).open


def test_only_what_is_asked_about_is_sorted() -> None:
    found = openness(small(provider="slack"), ["polling", "broker_pull"])
    assert (set(found.open), set(found.barred)) == ({"polling"}, {"broker_pull"})
