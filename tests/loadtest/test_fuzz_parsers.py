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
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.loadtest.fuzz import targets
from tests.loadtest.fuzz.targets import SEEDS, SEPARATOR, TARGETS
from tests.loadtest.servers import ROOT

RUNS = 100_000
MANY_RUNS = 1_000_000
SINGLE = sorted(TARGETS.keys() - {"every"})


@pytest.mark.parametrize("name", SINGLE)
def test_the_seeds_pass(name: str) -> None:
    """atheris begins with them: a target without, or with one that fails, would look no further."""
    assert SEEDS[name]
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", SINGLE)
@settings(max_examples=300)
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


@given(tables("id", "type", "index", "created_us", "data"), st.binary(max_size=20))
@example(b'{"id":"a","type":"b","index":1,"created_us":1,"data":1e999}', b"a")
@example(b'{"id":"a","type":"b","index":1,"created_us":1,"data":NaN}', b"a")
@example(b"[" * 100_000, b"a")
@example(b"9" * 5000, b"a")
def test_events(document: bytes, name: bytes) -> None:
    targets.envelope(document)
    targets.standard(name + SEPARATOR + document)
    targets.github(SEPARATOR.join((b"push", name, document)))


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


@settings(max_examples=1000)
@given(tables(*RETRY) | SOUND_RETRY)
@example(b'{"kind":"fixed","max_attempts":2,"base_s":1' + b"0" * 400 + b"}")
def test_retry_tables(document: bytes) -> None:
    targets.retry_table(document)
    targets.webhook_table(b'{"retry":' + document + b"}")


@given(tables("timeout_s", "max_in_flight", "retry"))
@example(b'{"timeout_s":1' + b"0" * 400 + b"}")
def test_webhook_tables(document: bytes) -> None:
    targets.webhook_table(document)


URLS = st.from_regex(r"\A(http|https|file|HTTP)://[a-z0-9.\[\]:@%\-]{0,30}[/?#]?[ -~]{0,10}\Z") | TEXTS


@given(st.fixed_dictionaries({"url": URLS}, optional={"secret": TEXTS}).map(as_json))
def test_subscriptions(document: bytes) -> None:
    targets.subscription(document)


DIGITS = st.sampled_from(("", "0", "1760000000", "1" * 400, "²", "١", "-1", "1e9", "0x10", " 1")).map(
    str.encode
)
TOKENS = st.lists(
    st.sampled_from((b"v1,", b"v1a,", b"v1,AAAA", b"v2,x", b"sha256=", b"sha256=00", b",", b"=", b"\xe9")),
    max_size=40,
).map(b" ".join)


@given(DIGITS | st.binary(max_size=20), DIGITS | st.binary(max_size=20), TOKENS, st.binary(max_size=20))
def test_signature_headers(message_id: bytes, timestamp: bytes, signature: bytes, body: bytes) -> None:
    targets.standard_signature(SEPARATOR.join((message_id, timestamp, signature, body)))
    targets.github_signature(SEPARATOR.join((signature, signature, body)))


@given(
    st.from_regex(rb"\A[0-9a-f]{11,13}-[0-9]{0,20}\n?\Z") | DIGITS,
    st.from_regex(rb"\A[0-9]{0,12}\n?\Z") | DIGITS,
)
def test_cursors(after: bytes, limit: bytes) -> None:
    targets.cursor(after + SEPARATOR + limit)


DATES = st.from_regex(
    rb"\A(Sun|Sunday|Xxx)?,? ?[0-9]{0,3}[ -](Nov|Xxx)[ -][0-9]{0,5} [0-9]{0,3}:[0-9]{0,3}(:[0-9]{0,3})? ?"
    rb"(GMT|EST|[+-][0-9]{0,8})?\Z"
)


@settings(max_examples=500)
@given(DATES | DIGITS | st.from_regex(rb"\A[0-9]{1,25}\Z"))
def test_retry_after(header: bytes) -> None:
    targets.retry_after(header)


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
    assert int(coverage[-1]) > 20, "nothing of ours is instrumented"


def test_atheris_on_every_parser(tmp_path: Path) -> None:
    run_atheris("every", RUNS, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SINGLE)
def test_atheris_on_each_parser_at_length(name: str, tmp_path: Path) -> None:
    run_atheris(name, MANY_RUNS, tmp_path)
