"""Protects the senders: what they send is what the receiver's own sources take, and forgeries are not."""

from __future__ import annotations

import time

import pytest

from loadtest.contract import MISSING
from loadtest.receiver.identities import Events
from loadtest.receiver.sources import SOURCES, Settings, Source
from loadtest.senders import (
    PUBLIC_URL,
    SENDERS,
    Delivery,
    Post,
    delivery_of,
    identities,
    new_secret,
    path_of,
    secrets_in_environment,
    source_of,
    thin_sender,
)
from loadtest.signatures import SignatureRefused, SignedRequest
from sim.errors import InputError
from sim.scenario import load_scenario

SECRET = new_secret()
NOW_S = int(time.time())


def delivery(index: int, size: int = 1200, timestamp_s: int = NOW_S) -> Delivery:
    return delivery_of("ab12", index, 5_000_000, size, created_s=NOW_S - 1, timestamp_s=timestamp_s)


def opened(name: str) -> Source:
    return SOURCES[name]([SECRET], Settings(public_url=PUBLIC_URL))


def taken(source: Source, post: Post) -> Events:
    """The events that a receiver sees in a request, once it is verified."""
    headers = {name.encode(): value.encode() for name, value in post.headers.items()}
    request = SignedRequest(headers, post.body, post.target.encode())
    source.scheme.verify(request, NOW_S)
    return source.events(request)


def test_every_source_of_the_receiver_has_a_sender():
    assert list(SENDERS) == list(SOURCES)


@pytest.mark.parametrize("name", SENDERS)
def test_a_receiver_takes_what_a_sender_sends_and_knows_the_event_again(name):
    send, source = SENDERS[name]([SECRET], PUBLIC_URL), opened(name)
    known = identities(name, [delivery(index) for index in range(20)], "ab12")
    for index in (0, 1, 17):
        post = send(delivery(index))
        assert post.target.partition("?")[0] == path_of(name) == source.path
        ((envelope, _),) = taken(source, post)
        assert index in (envelope.index, known.index(envelope.id))
    # Somebody else's event in the same inbox is none of ours.
    ((foreign, _),) = taken(source, send(delivery(17)._replace(run_id="zz", id="evt_zz_17", size=1500)))
    assert known.index(foreign.id) is None


@pytest.mark.parametrize("name", SENDERS)
def test_a_copy_sent_later_is_the_same_event_signed_afresh(name):
    send, source = SENDERS[name]([SECRET], PUBLIC_URL), opened(name)
    first, copy = send(delivery(3)), send(delivery(3, timestamp_s=NOW_S + 7))
    assert first.body == copy.body
    assert taken(source, first)[0][0].id == taken(source, copy)[0][0].id
    assert taken(source, first)[0][0].id != taken(source, send(delivery(4)))[0][0].id


@pytest.mark.parametrize("name", SENDERS)
def test_a_forgery_is_refused(name):
    forged = SENDERS[name]([new_secret()], PUBLIC_URL)(delivery(1))
    with pytest.raises(SignatureRefused):
        taken(opened(name), forged)


@pytest.mark.parametrize("name", SENDERS)
@pytest.mark.parametrize("size", [3000, 20_011])
def test_bodies_have_the_size_asked_for(name, size):
    assert len(SENDERS[name]([SECRET], PUBLIC_URL)(delivery(12, size)).body) == size


def test_a_thin_webhook_is_small_and_says_which_event_it_is():
    post = thin_sender([SECRET])(delivery(7, size=200))
    assert len(post.body) == 200
    ((envelope, _),) = taken(opened("standard"), post)
    assert (envelope.index, envelope.created_us) == (7, 5_000_000)


def test_indexed_sources_carry_the_index_and_the_others_do_not():
    from loadtest.senders import INDEXED

    for name in SENDERS:
        ((envelope, _),) = taken(opened(name), SENDERS[name]([SECRET], PUBLIC_URL)(delivery(5)))
        assert (envelope.index != MISSING) == (name in INDEXED)


@pytest.mark.parametrize(
    ("provider", "source"),
    [(None, "standard"), ("stripe", "stripe"), ("mailchimp-transactional", "mandrill"), ("github", "github")],
)
def test_a_scenarios_provider_chooses_the_source(provider, source):
    scenario = load_scenario("shop-orders-rush").model_copy(update={"provider": provider})
    assert source_of(scenario) == source


def test_a_missing_secret_names_its_variable(monkeypatch):
    monkeypatch.delenv("HOOKBENCH_STRIPE_SECRET", raising=False)
    with pytest.raises(InputError, match="set HOOKBENCH_STRIPE_SECRET to the receiver's secret"):
        secrets_in_environment("stripe")
