"""Protects the feed: what is shown and retained when, as the model has it; pages; ids; bounded memory."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.contract import Envelope
from loadtest.provider.api_policy import ApiPolicy, RateLimit, Retention
from loadtest.provider.feed import (
    DEDUPLICATION_WINDOW,
    MOST_SCANNED,
    CursorGone,
    Feed,
    FeedFull,
)
from loadtest.provider.page import BadQuery
from loadtest.provider.quota import MOST_CLIENTS, RateLimiter, client_of
from sim.errors import InputError
from sim.policies import window_of, window_retry_after


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, at_us: int = 1_000_000) -> None:
        self.at_us = at_us

    def __call__(self) -> int:
        return self.at_us


def put(feed: Feed, *indices: int, kind: str = "t", size: int = 0) -> int:
    """Publish events; returns how many were new."""
    return len(
        feed.publish_all(
            [(Envelope(f"e{i}", kind, i, 0), json.dumps({"n": i, "p": "." * size}).encode()) for i in indices]
        )
    )


def numbers(body: bytes) -> list[int]:
    return [event["n"] for event in json.loads(body)["events"]]


# The model: "events created up to time - lag", "no older than the feed retains".


@settings(deadline=None, max_examples=200)
@given(
    gaps=st.lists(st.integers(0, 4), max_size=30),
    lag=st.integers(0, 5),
    retention=st.one_of(
        st.none(),
        st.builds(Retention, events=st.integers(1, 5)),
        st.builds(Retention, seconds=st.integers(1, 8)),
    ),
    cursor=st.integers(0, 30),
    later=st.integers(0, 12),
    size=st.integers(1, 7),
)
def test_a_page_is_what_the_model_shows(
    gaps: list[int], lag: int, retention: Retention | None, cursor: int, later: int, size: int
) -> None:
    """Semantics, Polling: first = max(cursor, oldest); end = min(shown, first + size)."""
    clock = Clock()
    feed = Feed(lag_s=lag, retention=retention, clock=clock)
    created = []
    for index, gap in enumerate(gaps):
        clock.at_us += gap * 1_000_000
        created.append(clock.at_us)
        put(feed, index)
    clock.at_us += later * 1_000_000
    now = clock.at_us
    shown = sum(at <= now - lag * 1_000_000 for at in created)
    oldest = 0
    if retention is not None and retention.events is not None:
        oldest = max(shown - retention.events, 0)
    elif retention is not None and retention.seconds is not None:
        oldest = sum(at < now - retention.seconds * 1_000_000 for at in created)
    place = min(cursor, shown)
    first = max(place, oldest)
    expected = list(range(first, max(first, min(shown, first + size))))
    page = feed.page(feed.cursor(place), str(size))
    assert numbers(page.body) == expected
    assert page.missed == max(oldest - place, 0)
    assert page.more == (first + len(expected) < shown)
    assert json.loads(page.body)["cursor"] == feed.cursor(first + len(expected))
    following = feed.page(page.cursor, str(size))  # its own cursor is always good
    assert following.missed == 0


@settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(st.integers(0, 3), max_size=120),
    retained=st.integers(1, 200),
    limit=st.integers(1, 9),
)
def test_following_the_cursor_tells_every_event_once_or_missed(
    steps: list[int], retained: int, limit: int
) -> None:
    """However publications and reads alternate: what was read and what is told as missed is everything."""
    feed = Feed(retention=Retention(events=retained), max_events=200)
    cursor, told, published = feed.cursor(0), 0, 0
    for step in [*steps, *[0] * 400]:
        if step:
            put(feed, *range(published, published + step * 40))
            published += step * 40
            continue
        page = feed.page(cursor, str(limit))
        told += page.missed
        assert numbers(page.body) == list(range(told, told + len(page.payloads)))
        told += len(page.payloads)
        cursor = page.cursor
    assert told == published
    assert feed.held <= retained + max(64, retained // 4) + 64


def test_an_event_too_old_before_it_is_shown_never_is() -> None:
    clock = Clock()
    feed = Feed(lag_s=10, retention=Retention(seconds=5), clock=clock)
    put(feed, *range(200))
    clock.at_us += 7_000_000
    put(feed, 200)
    assert feed.held == 1
    assert feed.page(None, None).payloads == ()
    assert feed.next_shown_us() == clock.at_us + 10_000_000
    assert feed.page(feed.page(None, None).cursor, None).payloads == ()


def test_a_lagging_feed_says_when_it_shows_the_next() -> None:
    clock = Clock(0)
    feed = Feed(lag_s=2, clock=clock)
    assert feed.next_shown_us() is None
    put(feed, 0)
    clock.at_us = 500_000
    put(feed, 1)
    assert feed.next_shown_us() == 2_000_000
    clock.at_us = 2_000_000
    assert numbers(feed.page(None, None).body) == [0]
    assert feed.next_shown_us() == 2_500_000
    with pytest.raises(BadQuery):
        feed.page(feed.cursor(2), None)  # nobody can have been there yet


# Pages.


@settings(deadline=None, max_examples=100)
@given(
    kinds=st.lists(st.sampled_from("abc"), max_size=40),
    wanted=st.sets(st.sampled_from("abc")),
    size=st.integers(1, 10),
)
def test_a_filtered_walk_finds_what_it_looks_for(kinds: list[str], wanted: set[str], size: int) -> None:
    feed = Feed(max_page_bytes=100)
    for index, kind in enumerate(kinds):
        put(feed, index, kind=kind)
    found, tags, page = [], set(), feed.page(None, str(size), wanted)
    while True:
        found += numbers(page.body)
        assert len(page.payloads) <= size
        assert page.etag not in tags
        tags.add(page.etag)
        if not page.more:
            break
        page = feed.page(page.cursor, str(size), wanted)
    assert found == [i for i, kind in enumerate(kinds) if not wanted or kind in wanted]


def test_a_rare_type_is_searched_for_in_portions() -> None:
    feed = Feed()
    put(feed, *range(MOST_SCANNED))
    put(feed, MOST_SCANNED, kind="rare")
    page = feed.page(None, None, ["rare"])
    assert (page.payloads, page.more) == ((), True)
    assert numbers(feed.page(page.cursor, None, ["rare"]).body) == [MOST_SCANNED]
    assert numbers(feed.page_now(page).body) == [MOST_SCANNED]


@pytest.mark.parametrize("types", [(), ("t",)])
def test_a_page_is_bounded_in_bytes_but_holds_an_event(types: tuple[str, ...]) -> None:
    feed = Feed(max_page_bytes=1000)
    put(feed, *range(10), size=300)
    put(feed, 10, size=5000)
    put(feed, 11)
    walk, page = [], feed.page(None, None, types)
    while True:
        walk.append(numbers(page.body))
        assert sum(len(payload) + 1 for payload in page.payloads) <= 1000 or len(page.payloads) == 1
        if not page.more:
            break
        page = feed.page(page.cursor, None, types)
    assert walk == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9], [10], [11]]


def test_the_bytes_of_a_page_are_bounded_after_something_was_forgotten_too() -> None:
    feed = Feed(max_page_bytes=1000, retention=Retention(events=6))
    for index in range(500):
        put(feed, index, size=300)
    assert numbers(feed.page(None, None).body) == [494, 495, 496]


def test_equal_tags_mean_equal_bytes_and_readers_share_them() -> None:
    feed = Feed()
    put(feed, 0, 1)
    page = feed.page(None, "1")
    assert feed.page(None, "1").body is page.body
    both = feed.page(None, "2")
    put(feed, 2)
    assert feed.page(None, "1").etag == page.etag  # there was more before, and there is more now
    assert feed.page(None, "2").etag != both.etag  # the same events, but now there is more
    everything = [feed.page(None, None), feed.page(None, None, ["t"]), feed.page(feed.cursor(1), None)]
    assert len({each.etag for each in [page, *everything]}) == 4
    assert not page.etag.startswith("W/")


def test_a_cursor_of_another_run_is_gone() -> None:
    feed, other = Feed(), Feed()
    put(feed, 0)
    with pytest.raises(CursorGone, match="start over without one"):
        feed.page(other.cursor(0), None)


# Memory.


def test_an_id_is_published_once_even_within_a_batch() -> None:
    feed = Feed()
    assert put(feed, 5, 3, 5, 4) == 3
    assert numbers(feed.page(None, None).body) == [5, 3, 4]
    assert put(feed, 3) == 0


def test_ids_are_remembered_beyond_the_retention_and_not_for_ever() -> None:
    feed = Feed(retention=Retention(events=3))
    put(feed, *range(DEDUPLICATION_WINDOW))
    assert put(feed, 0) == 0
    assert put(feed, DEDUPLICATION_WINDOW) == 1
    assert put(feed, 0) == 1
    assert len(feed._positions) == DEDUPLICATION_WINDOW
    assert feed.held < 200


def test_a_full_feed_refuses_a_batch_whole() -> None:
    feed = Feed(max_events=5)
    put(feed, 0, 1, 2)
    with pytest.raises(FeedFull, match="no retention is set"):
        put(feed, 2, 3, 4, 5)
    assert len(feed) == 3
    assert put(feed, 2, 3, 4) == 2
    assert put(feed, 4) == 0  # a duplicate needs no room


def test_a_full_feed_is_full_until_something_is_too_old() -> None:
    clock = Clock()
    feed = Feed(max_events=5, retention=Retention(seconds=10), clock=clock)
    put(feed, *range(3))
    clock.at_us += 4_000_000
    put(feed, 3, 4)
    with pytest.raises(FeedFull) as full:
        put(feed, 5)
    assert full.value.retry_after_s == 6
    clock.at_us += 6_000_001
    assert put(feed, 5, 6, 7) == 3
    assert numbers(feed.page(None, None).body) == [3, 4, 5, 6, 7]


def test_bytes_count_too() -> None:
    feed = Feed(max_bytes=10_000)
    put(feed, *range(6), size=1000)
    with pytest.raises(FeedFull, match="of at most 10000"):
        put(feed, 6, size=1000)
    assert len(feed) == 6
    assert feed.held_bytes <= 10_000
    newest = Feed(max_bytes=10_000, retention=Retention(events=3))
    for index in range(100):
        put(newest, index, size=1000)
        assert newest.held_bytes <= 10_000
    assert numbers(newest.page(None, None).body) == [97, 98, 99]


def test_a_retention_that_cannot_be_kept_is_refused() -> None:
    with pytest.raises(InputError, match="more than the 10"):
        Feed(max_events=10, retention=Retention(events=11))


# The rate limit.


@settings(deadline=None)
@given(
    gaps_us=st.lists(st.integers(0, 700_000), max_size=40),
    requests=st.integers(1, 4),
    per_s=st.sampled_from([0.5, 1.0, 2.5]),
    clients=st.lists(st.booleans(), min_size=40, max_size=40),
)
def test_windows_are_the_models(gaps_us: list[int], requests: int, per_s: float, clients: list[bool]) -> None:
    """Semantics, Rate limit: fixed windows aligned at 0, per subscriber; a 429 uses no quota."""
    clock = Clock(0)
    limiter = RateLimiter(RateLimit(requests, per_s), clock)
    windows, used = [-1, -1], [0, 0]
    for gap_us, other in zip(gaps_us, clients, strict=False):
        clock.at_us += gap_us
        window = window_of(clock.at_us / 1e6, per_s)
        if window != windows[other]:
            windows[other], used[other] = window, 0
        refused = used[other] >= requests
        used[other] += not refused
        quota = limiter.arrives(b"b" if other else b"a")
        assert (quota.exceeded, quota.remaining) == (refused, requests - used[other])
        assert quota.left_s == pytest.approx(window_retry_after(clock.at_us / 1e6, per_s))
        assert quota.left_s <= quota.retry_after_s < quota.left_s + 1 or quota.retry_after_s == 1


def test_what_is_free_needs_no_quota_and_uses_none() -> None:
    limiter = RateLimiter(RateLimit(1, 60), Clock(0))
    assert not limiter.arrives(b"a", free=True).exceeded
    assert not limiter.arrives(b"a").exceeded
    assert limiter.arrives(b"a").exceeded
    assert not limiter.arrives(b"a", free=True).exceeded


def test_clients_that_are_told_apart_are_bounded() -> None:
    clock = Clock(0)
    limiter = RateLimiter(RateLimit(1, 60), clock)
    for number in range(MOST_CLIENTS):
        assert not limiter.arrives(b"%d" % number).exceeded
    assert not limiter.arrives(b"one more").exceeded
    assert limiter.arrives(b"yet another").exceeded
    assert len(limiter._used) == MOST_CLIENTS + 1
    clock.at_us = 60_000_000
    assert not limiter.arrives(b"yet another").exceeded
    assert len(limiter._used) == 1


def test_who_is_who() -> None:
    """Credentials tell clients apart, and are not kept."""
    scope: dict[str, Any] = {"client": ("127.0.0.1", 4)}
    secret = client_of(scope, {b"authorization": b"Bearer hunter2"})
    assert b"hunter2" not in secret
    assert secret == client_of({"client": ("::1", 9)}, {b"authorization": b"Bearer hunter2"})
    assert secret != client_of(scope, {b"authorization": b"Bearer hunter3"})
    assert client_of(scope, {}) == b"127.0.0.1"


# The table.


def test_the_scenarios_table_is_read() -> None:
    table = {"rate_limit": {"requests": 5, "per_s": 2}, "feed_lag_s": 1.5, "retention": {"events": 3}}
    assert ApiPolicy.from_table(table) == ApiPolicy(RateLimit(5, 2), 1.5, Retention(events=3))
    assert ApiPolicy.from_table(
        {"rate_limit": None, "retention": {"seconds": 2, "events": None}}
    ) == ApiPolicy(retention=Retention(seconds=2))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ([], "must be a table"),
        ({"workers": 8}, "unknown key 'workers'"),
        ({"feed_lag_s": -1}, "feed_lag_s must be a finite number from 0, got -1"),
        ({"rate_limit": {"requests": 5}}, "rate_limit.per_s is missing"),
        ({"rate_limit": {"requests": 0, "per_s": 1}}, "requests must be a whole number from 1, got 0"),
        ({"rate_limit": {"requests": 1, "per_s": 0}}, "per_s must be above 0"),
        ({"rate_limit": {"requests": 1, "per_s": 1, "not_modified_free": 1}}, "must be true or false"),
        ({"retention": {}}, "state either events or seconds"),
        ({"retention": {"events": 1, "seconds": 1}}, "state either events or seconds"),
        ({"retention": {"events": 1.5}}, "must be a whole number from 1, got 1.5"),
        ({"retention": {"seconds": True}}, "must be a finite number"),
    ],
)  # fmt: skip
def test_an_impossible_table_is_refused_in_words(table: object, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        ApiPolicy.from_table(table)


@pytest.mark.parametrize("words", ["", "5", "5/", "/5", "a/b", "5/3600/2", "0/5", "1/nan", "1.5/2"])
def test_a_rate_limit_in_words(words: str) -> None:
    with pytest.raises(InputError):
        RateLimit.from_words(words)
    assert RateLimit.from_words("5000/3600") == RateLimit(5000, 3600.0)
