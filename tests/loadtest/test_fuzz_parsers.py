"""Protects the parsers from whatever bytes come: only the documented refusal may come out.

The same properties (`tests.loadtest.fuzz.targets`) are tried with generated documents that are nearly right,
and by atheris, which looks for inputs that reach new lines of the code.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loadtest.retry import retry_after_s
from tests.loadtest.fuzz import targets
from tests.loadtest.fuzz.seeds import SEEDS, SEPARATOR
from tests.loadtest.fuzz.targets import TARGETS
from tests.loadtest.servers import ROOT

RUNS = 50_000
MANY_RUNS = 1_000_000
LEAST_COVERAGE = 5  # edges; the smallest parser shows 10, and without instrumentation there are at most 2
SINGLE = sorted(TARGETS.keys() - {"every"})


@pytest.mark.parametrize("name", SINGLE)
def test_the_seeds_pass(name: str) -> None:
    """atheris begins with them: a target without, or with one that fails, would look no further."""
    assert SEEDS[name]
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", SINGLE)
@settings(max_examples=200)
@given(data=st.binary(max_size=300))
def test_any_bytes(name: str, data: bytes) -> None:
    TARGETS[name](data)


TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)  # surrogates too
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from((-1, 0, 0.0, 1, 2**53, 2**63 - 1, 2**63, 2**64, 10**400, 1e308, 5e-324)),
)
WORDS = st.sampled_from(
    ("none", "fixed", "linear", "exponential", "schedule", "full", "equal", "proportional", "decorrelated")
)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS | WORDS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3)
)


def tables(*keys: str) -> st.SearchStrategy[bytes]:
    """JSON objects that have some of the keys, most with a value of no sense."""
    documents = VALUES | st.dictionaries(st.sampled_from(keys) | TEXTS, VALUES, max_size=len(keys))
    full = st.fixed_dictionaries(dict.fromkeys(keys, VALUES))
    return (documents | full).map(as_json)


def as_json(document: Any) -> bytes:
    return json.dumps(document).encode()


EVENTS = tables("id", "type", "index", "created_us", "data")


@given(EVENTS)
@example(b'{"id":"a","type":"b","index":1,"created_us":1,"data":1e999}')
@example(b'{"id":"a","type":"b","index":1,"created_us":1,"data":NaN}')
@example(b"[" * 100_000)
@example(b"9" * 5000)
def test_events(document: bytes) -> None:
    targets.envelope(document)
    targets.stream_block(document)


LISTS = st.lists(EVENTS, max_size=3).map(lambda items: b"[" + b",".join(items) + b"]")
FOREIGN = tables("id", "type", "event", "event_id", "challenge", "specversion", "source", "_id", "ts")
FORMS = st.lists(
    st.sampled_from(
        (
            *(b"type=a", b"fired_at=b", b"data[id]=%00", b"MessageSid=1", b"MessageStatus=s", b"payload={}"),
            *(b"mandrill_events=[]", b'mandrill_events=[{"event":"a"}]', b"command=/x", b"a", b"%", b"=%ff"),
        )
    ),
    max_size=5,
).map(b"&".join)
SHORT = st.binary(max_size=12) | st.sampled_from(
    (
        *(
            b"1760000000",
            b"1760000000" * 9,
            b"v1,AA==",
            b"v1a,AA==",
            b"t=1760000000,v1=0",
            b"sha256=0",
            b"v0=0",
        ),
        *(b"push", b"ping", b"Bearer x", b"application/json", b"application/x-www-form-urlencoded"),
        *(
            b"application/cloudevents+json",
            b"application/cloudevents-batch+json",
            b"1.0",
            b"\xe9",
            b"\xc2\xb2",
        ),
    )
)


@settings(max_examples=200)
@given(
    st.integers(0, 255),
    EVENTS | LISTS | FOREIGN | FORMS | st.binary(max_size=50),
    SHORT,
    st.lists(st.tuples(st.integers(0, 255), SHORT), max_size=7),
)
def test_requests_to_the_receiver(
    source: int, body: bytes, query: bytes, headers: list[tuple[int, bytes]]
) -> None:
    values = [bytes((header,)) + value for header, value in headers]
    data = SEPARATOR.join((bytes((source,)) + body, query, *values))
    targets.identity(data)
    targets.forgery(data)


RETRY = ("kind", "base_s", "factor", "cap_s", "gaps_s", "max_attempts", "max_duration_s", "jitter", "spread")
SOUND_RETRY = st.fixed_dictionaries(
    {"kind": WORDS, "max_attempts": st.integers(1, 2000), "jitter": WORDS},
    optional={
        "base_s": st.floats(0, 1e308) | NUMBERS,
        "factor": st.floats(1, 1e308) | NUMBERS,
        "cap_s": st.floats(0, 1e308) | NUMBERS,
        "gaps_s": st.lists(st.floats(0, 1e308) | NUMBERS, max_size=5),
        "spread": st.floats(0, 1),
    },
).map(as_json)


@settings(max_examples=300)
@given(tables(*RETRY) | SOUND_RETRY)
@example(b'{"kind":"fixed","max_attempts":2,"base_s":1' + b"0" * 400 + b"}")
def test_retry_tables(document: bytes) -> None:
    targets.retry_table(document)
    targets.webhook_table(b'{"retry":' + document + b"}")


DISABLING = (
    *("consecutive_failures", "failing_for_s", "failing_share", "share_window_s", "share_attempts"),
    "re_enable_after_s",
)
AMOUNTS = st.sampled_from((5e-324, 1e-9, 0.5, 1, 1.0, 60, 2**63, 1e300, 1e308, 10**400)) | NUMBERS
SOUND_DISABLING = st.dictionaries(st.sampled_from(DISABLING), AMOUNTS, min_size=1).map(as_json)
SOUND_REDELIVERY = st.fixed_dictionaries(
    {"every_s": AMOUNTS}, optional={"rounds": AMOUNTS, "within_s": AMOUNTS, "origin_us": AMOUNTS}
).map(as_json)


@settings(max_examples=200)
@given(
    tables("timeout_s", "max_in_flight", "retry", "disabling", "redelivery", "max_redirects", "preset"),
    SOUND_DISABLING,
    SOUND_REDELIVERY,
)
@example(b'{"timeout_s":1' + b"0" * 400 + b"}", b"{}", b"{}")
def test_webhook_tables(document: bytes, disabling: bytes, redelivery: bytes) -> None:
    targets.webhook_table(document)
    targets.webhook_table(b'{"disabling":' + disabling + b"}")
    targets.webhook_table(b'{"redelivery":' + redelivery + b"}")


@settings(max_examples=200)
@given(AMOUNTS, AMOUNTS, AMOUNTS, st.sampled_from(("events", "seconds")), AMOUNTS)
@example(5, 1e308, 0, "events", 1)
@example(5, 1, 1e308, "events", 1)
@example(5, 1, 0, "seconds", 1e308)
def test_api_tables(requests: object, per_s: object, lag_s: object, retained: str, most: object) -> None:
    limit = {"requests": requests, "per_s": per_s}
    for table in (
        {"rate_limit": limit},
        {"feed_lag_s": lag_s},
        {"retention": {retained: most}},
        {"rate_limit": limit, "feed_lag_s": lag_s, "retention": {retained: most}},
    ):
        targets.api_table(as_json(table))
    targets.rate_limit(f"{requests}/{per_s}".encode())


HOSTS = st.sampled_from(
    (
        *(
            "127.0.0.1",
            "localhost",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:10.0.0.1]",
            "0x7f.1",
            "2130706433",
        ),
        *(
            "127.1",
            "0177.0.0.1",
            "127.0.0.1.",
            "localhost.",
            "[::]",
            "0.0.0.0",
            "169.254.169.254",
            "[64:ff9b::7f00:1]",
        ),
        *(
            "127.0.0.1%00.example.com",
            "127.0.0.1@example.com",
            "example.com#@127.0.0.1",
            "\u2460.0.0.1",
            "LOCALHOST",
        ),
        *(
            "127.0.0.1\\@example.com",
            "example.com\\.127.0.0.1",
            "[::1%25eth0]",
            "[fe80::1%eth0]",
            "1.0.0.721",
        ),
    )
)
URLS = st.one_of(
    st.from_regex(r"\A(http|https|file|HTTP)://[a-z0-9.\[\]:@%\-]{0,30}[/?#]?[ -~]{0,10}\Z"),
    st.tuples(
        st.sampled_from(("http://", "https://", "http:/", "//", "HTTP://", "http://a@", "http:\\\\")),
        HOSTS,
        st.sampled_from(("", ":80", ":0", ":99999", ":", ":+80", ":80:80", "/x", "?x", "#x", "\\x", "/\t")),
    ).map("".join),
    TEXTS,
)


@settings(max_examples=200)
@given(URLS)
@example("https://[::1]@")
@example("http://[::ffff:831.0.0.0]/")
def test_urls_to_be_called(url: str) -> None:
    targets.outbound(url.encode("utf-8", "replace"))


@given(
    tables("url", "secret", "format", "policy"),
    st.lists(st.sampled_from((b"state=", b"limit=1", b"after=0", b"failed", b"&", b"9" * 5000, b"%31"))).map(
        b"".join
    ),
)
def test_subscriptions(document: bytes, query: bytes) -> None:
    targets.subscription(document)
    targets.subscription(query)


DIGITS = st.sampled_from(("", "0", "1760000000", "1" * 400, "²", "١", "-1", "1e9", "0x10", " 1")).map(
    str.encode
)


@given(
    st.from_regex(rb"\A[0-9a-f]{11,13}-[0-9]{0,20}\n?\Z") | DIGITS,
    st.from_regex(rb"\A[0-9]{0,12}\n?\Z") | DIGITS,
)
def test_cursors(after: bytes, limit: bytes) -> None:
    targets.cursor(after + SEPARATOR + limit)
    targets.question(b"after=" + after + b"&limit=" + limit + b"&wait=" + limit)


DATES = st.from_regex(
    rb"\A(Sun|Sunday|Xxx)?,? ?[0-9]{0,3}[ -](Nov|Xxx)[ -][0-9]{0,5} [0-9]{0,3}:[0-9]{0,3}(:[0-9]{0,3})? ?"
    rb"(GMT|EST|[+-][0-9]{0,8})?\Z"
)


@settings(max_examples=200)
@given(DATES | DIGITS | st.from_regex(rb"\A[0-9]{1,25}\Z"))
def test_retry_after(header: bytes) -> None:
    targets.retry_after(header)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_every_form_of_an_http_date_means_utc(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9110, section 5.6.7: a recipient must accept all three, and all are in UTC."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for date in (
            "Sun, 06 Nov 2094 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 2094",
        ):
            wanted = datetime(2094, 11, 6, 8, 49, 37, tzinfo=UTC).timestamp()
            if "-94" in date:  # two digits: a year more than 50 ahead is in the past
                wanted = 0.0
            assert retry_after_s(date, 0.0) == pytest.approx(wanted) or wanted == 0.0, date
    finally:
        monkeypatch.undo()
        time.tzset()


def run_atheris(name: str, runs: int, folder: Path) -> None:
    """Fuzz in a process of its own, which atheris instruments and ends."""
    if importlib.util.find_spec("atheris") is None:
        reason = "atheris is not installed: it has no wheel for this platform or this Python"
        assert os.environ.get("HOOKBENCH_REQUIRE_SERVICES") != "1", reason
        pytest.skip(reason)
    options = (f"-runs={runs}", "-seed=4", "-max_len=2048", "-timeout=10", f"-artifact_prefix={folder}/")
    answer = subprocess.run(
        [sys.executable, "-m", "tests.loadtest.fuzz", name, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-4000:]
    done = re.search(r"^Done ([0-9]+) runs", answer.stderr, re.MULTILINE)
    assert done is not None, answer.stderr[-4000:]
    assert int(done[1]) >= runs
    coverage = re.findall(r"cov: ([0-9]+)", answer.stderr)
    assert int(coverage[-1]) > LEAST_COVERAGE, "nothing of ours is instrumented"


def test_atheris_on_every_parser(tmp_path: Path) -> None:
    run_atheris("every", RUNS, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SINGLE)
def test_atheris_on_each_parser_at_length(name: str, tmp_path: Path) -> None:
    run_atheris(name, MANY_RUNS, tmp_path)
