"""Protects what both databases promise: atomic, owned, fenced, and the same in either."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loadtest.inbox import MAX_SUBMISSION, Storage, StorageError, open_storage, read_ledger
from loadtest.inbox.sqlite import SqliteStorage, _places
from loadtest.inbox.storage import MAX_GROUP, SCHEMA_VERSION, Owned
from sim.errors import InputError
from tests.loadtest.inboxes import BACKENDS, POSTGRES, fresh_inbox, lapse, query, row


@contextmanager
def opened(url: str, count: int = 1, lease_s: float = 60.0) -> Iterator[list[Storage]]:
    """Several storages on one inbox, each with a lease, as different processes have them."""
    storages = [open_storage(url) for _ in range(count)]
    for storage in storages:
        storage.beat(lease_s, 0)
    yield storages
    for storage in storages:
        storage.close()


def seqs(owned: list[Owned]) -> list[int]:
    return [event.seq for event in owned]


def test_inserting_tells_the_new_from_the_known(inbox_url: str) -> None:
    """All new, all known, mixed, twice in one group, and known to another process."""
    with opened(inbox_url, 2) as (a, b):
        assert [index for _, index in a.insert([row(2), row(0), row(1)])] == [2, 0, 1]
        assert a.insert([row(0), row(1)]) == []
        assert [index for _, index in b.insert([row(1), row(9), row(9), row(3), row(1)])] == [9, 3]
        assert [index for _, index in a.insert([row(3), row(4), row(4)])] == [4]
        assert [index for _, index in b.insert([row(0, source="github"), row(4)])] == [0]
    rows = read_ledger(inbox_url)
    assert [row.event_index for row in rows] == [2, 0, 1, 9, 3, 4, 0]
    assert [row.copies for row in rows] == [1, 2, 4, 2, 2, 3, 1]


def test_new_after_others_wrote_and_after_a_takeover(inbox_url: str) -> None:
    """What was taken over lies between one's own events and must not be told as new."""
    with opened(inbox_url, 2) as (a, b):
        a.insert([row(0)])
        b.insert([row(1), row(2)])
        lapse(inbox_url, b.owner)
        assert len(a.beat(60, 10)) == 3
        assert [index for _, index in a.insert([row(2), row(3)])] == [3]


def test_the_largest_submission_fits(inbox_url: str) -> None:
    with opened(inbox_url) as (storage,):
        assert len(storage.insert([row(index) for index in range(MAX_SUBMISSION)])) == MAX_SUBMISSION
        assert len(storage.insert([row(index) for index in range(1, MAX_SUBMISSION + 1)])) == 1
        assert len(storage.beat(60, 0)) == MAX_SUBMISSION + 1


def test_a_process_alive_keeps_its_events(inbox_url: str) -> None:
    with opened(inbox_url, 2) as (a, b):
        a.insert([row(0), row(1)])
        assert b.beat(60, 10) == []
        assert len(a.beat(60, 0)) == 2


def test_what_a_lapsed_owner_left_is_taken_over_oldest_first_as_far_as_there_is_room(inbox_url: str) -> None:
    with opened(inbox_url, 3) as (a, b, c):
        a.insert([row(index) for index in range(5)])
        lapse(inbox_url, a.owner)
        first, then = b.beat(60, 2), c.beat(60, 10)
        assert [event.event_index for event in first] == [0, 1]
        assert [event.event_index for event in then] == [2, 3, 4]
        assert a.beat(60, 10) == []  # it wakes up and finds that all is gone


def test_a_closed_inbox_leaves_its_events_to_anybody_at_once(inbox_url: str) -> None:
    with opened(inbox_url) as (b,):
        with opened(inbox_url) as (a,):
            a.insert([row(0)])
        assert len(b.beat(60, 10)) == 1


@pytest.mark.parametrize("ahead_s", [3600, 0])
def test_a_lease_from_before_the_clock_was_set_back_has_lapsed(inbox_url: str, ahead_s: int) -> None:
    """A machine's monotonic clock starts anew at boot; a lease never ends later than its length from now."""
    with opened(inbox_url, 2) as (a, b):
        a.insert([row(0)])
        later = f"alive_until_us = alive_until_us + {ahead_s * 1_000_000}"
        query(inbox_url, f"UPDATE owners SET {later} WHERE owner = {a.owner}")
        assert len(b.beat(60, 10)) == (1 if ahead_s else 0)


def test_outcomes_count_once_and_only_from_the_owner(inbox_url: str) -> None:
    with opened(inbox_url, 2) as (a, b):
        (first, _), (second, _), (third, _) = a.insert([row(0), row(1), row(2)])
        assert a.settle([(first, 100)], []) == 1
        lapse(inbox_url, a.owner)
        assert seqs(b.beat(60, 1)) == [second]
        assert a.settle([(second, 111)], []) == 0, "it belongs to b now"
        assert a.settle([(third, 120)], []) == 1, "lapsed, but nobody took it over"
        assert b.settle([], [(second, "ValueError at shop.py:7")]) == 1
        assert b.settle([(second, 130)], []) == 0, "a dead letter does not become visible"
    assert [row.visible_us for row in read_ledger(inbox_url)] == [100, None, 120]


def test_an_outcome_whose_answer_was_lost_may_be_repeated(inbox_url: str) -> None:
    with opened(inbox_url) as (storage,):
        (first, _), (second, _) = storage.insert([row(0), row(1)])
        for _ in range(2):
            assert storage.settle([(first, 100)], [(second, "why")]) == 2
        assert storage.settle([(first, 101)], [(second, "another")]) == 0
    assert [row.visible_us for row in read_ledger(inbox_url)] == [100, None]


def test_attempts_are_counted_for_the_owner_while_its_lease_lasts(inbox_url: str) -> None:
    with opened(inbox_url, 2) as (a, b):
        (first, _), (second, _) = a.insert([row(0), row(1)])
        assert [
            (event.seq, event.id, event.attempt, event.payload) for event in a.begin([second, first])
        ] == [
            (first, "evt_0", 1, b"{}"),
            (second, "evt_1", 1, b"{}"),
        ]
        assert [event.attempt for event in a.begin([first])] == [2]
        a.settle([(first, 100)], [])
        assert a.begin([first, 12345]) == []
        assert b.begin([second]) == []
        lapse(inbox_url, a.owner)
        assert a.begin([second]) == [], "no service begins under a lapsed lease"
        assert b.beat(60, 10) == [Owned(second, 1, 1)]
        assert [event.attempt for event in b.begin([second])] == [2]


def test_replay_lets_events_wait_for_anybody(inbox_url: str) -> None:
    with opened(inbox_url, 2) as (a, b):
        (dead, _), (visible, _), (other, _) = a.insert([row(0), row(1), row(2)])
        a.begin([dead, visible, other])
        a.settle([(visible, 100)], [(dead, "why"), (other, "why")])
        assert a.counts() == {"waiting": 0, "in-service": 0, "visible": 1, "dead": 2}
        assert a.replay(["dead"], "evt_1") == 0
        assert a.replay(["dead"], "evt_0") == 1
        assert a.counts() == {"waiting": 1, "in-service": 0, "visible": 1, "dead": 1}
        assert b.beat(60, 10) == [Owned(dead, 0, 0)]
        assert a.settle([], [(dead, "why")]) == 0, "what was said before the replay does not count again"
        assert a.replay(["dead", "visible"], None) == 2
        assert seqs(b.beat(60, 10)) == [dead, visible, other]
        assert b.counts() == {"waiting": 0, "in-service": 3, "visible": 0, "dead": 0}


def test_purging_keeps_the_ids_for_as_long_as_copies_may_come(inbox_url: str) -> None:
    with opened(inbox_url) as (storage,):
        (visible, _), (dead, _), _ = storage.insert([row(0), row(1), row(2)])
        storage.settle([(visible, 100)], [(dead, "why")])
        query(inbox_url, "UPDATE inbox SET finished_s = finished_s - 100 WHERE finished_s IS NOT NULL")
        assert storage.purgeable(200, dead=True) == 0
        assert (storage.purgeable(50, dead=False), storage.purgeable(50, dead=True)) == (1, 2)
        assert storage.purge(50, 200, dead=False, limit=10) == (1, 0)
        assert storage.insert([row(0)]) == []
        assert storage.replay(["visible", "dead"], "evt_0") == 0, "there is nothing left to serve"
        assert [event.purged for event in storage.events("visible", 10)] == [True]
        assert storage.purge(50, 60, dead=True, limit=10) == (1, 2)
        assert [index for _, index in storage.insert([row(0)])] == [0]
    assert [(row.event_index, row.copies) for row in read_ledger(inbox_url)] == [(2, 1), (0, 1)]


def test_purging_goes_in_bounded_steps(inbox_url: str) -> None:
    with opened(inbox_url) as (storage,):
        storage.settle([(seq, 100) for seq, _ in storage.insert([row(index) for index in range(5)])], [])
        query(inbox_url, "UPDATE inbox SET finished_s = finished_s - 100")
        assert [storage.purge(1, 1, dead=False, limit=3) for _ in range(3)] == [(3, 3), (2, 2), (0, 0)]


def test_the_latest_events_are_listed_by_state(inbox_url: str) -> None:
    with opened(inbox_url) as (storage,):
        numbers = [seq for seq, _ in storage.insert([row(index) for index in range(4)])]
        storage.settle([(numbers[0], 100)], [(numbers[3], "why")])
        assert [event.seq for event in storage.events(None, 2)] == [numbers[3], numbers[2]]
        (dead,) = storage.events("dead", 10)
        assert (dead.event_id, dead.reason, dead.state, dead.purged) == ("evt_3", "why", "dead", False)
        assert [event.seq for event in storage.events("in-service", 10)] == [numbers[2], numbers[1]]
        lapse(inbox_url)
        assert [event.seq for event in storage.events("waiting", 10)] == [numbers[2], numbers[1]]


def test_what_a_forgotten_owner_stores_is_not_lost(inbox_url: str) -> None:
    """A process sleeps until its lapsed lease is cleared away, stores one more event, and dies."""
    with opened(inbox_url, 2) as (a, b):
        lapse(inbox_url, a.owner)
        b.beat(60, 0)
        assert query(inbox_url, "SELECT owner FROM owners") == [(b.owner,)]
        a.insert([row(0)])
        assert [event.event_index for event in b.beat(60, 10)] == [0]
        assert a.beat(60, 10) == []


def test_two_processes_may_make_the_same_inbox_at_once(inbox_url: str) -> None:
    outcomes = in_parallel([lambda: open_storage(inbox_url) for _ in range(6)])
    for storage in outcomes:
        assert not isinstance(storage, BaseException), storage
        storage.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_writers_of_the_same_events_never_wait_in_a_circle(backend: str, tmp_path: Path) -> None:
    """Four writers insert the same ids in different orders and settle what is theirs; none fails."""
    with fresh_inbox(backend, tmp_path) as url:
        open_storage(url).close()

        def work(number: int) -> int:
            new = 0
            storage = open_storage(url)
            storage.beat(60, 0)
            for turn in range(25):
                ids = list(range(turn * 10, turn * 10 + 40))
                group = [row(index) for index in (ids, ids[::-1], ids[20:] + ids[:20], ids[::-2])[number]]
                own = storage.insert(group)
                new += len(own)
                assert storage.settle([(seq, 1) for seq, _ in reversed(own)], []) == len(own)
            storage.close()
            return new

        outcomes = in_parallel([lambda number=number: work(number) for number in range(4)])
        assert all(isinstance(outcome, int) for outcome in outcomes), outcomes
        rows = read_ledger(url)
        assert sum(outcomes) == len(rows) == 280
        assert sum(row.copies for row in rows) == 25 * (40 + 40 + 40 + 20)
        assert all(row.visible_us == 1 for row in rows)


def in_parallel(calls: list[Callable[[], object]]) -> list[object]:
    outcomes: list[object] = [None] * len(calls)

    def run(number: int) -> None:
        try:
            outcomes[number] = calls[number]()
        except BaseException as error:
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return outcomes


def test_a_commit_is_on_the_disk_when_it_returns(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "inbox.db")
    assert storage._db is not None
    (level,) = storage._db.execute("PRAGMA synchronous").fetchone()
    (mode,) = storage._db.execute("PRAGMA journal_mode").fetchone()
    storage.close()
    assert (level, mode) == (2, "wal")  # FULL, see SQLite's documentation of "PRAGMA synchronous"


def test_a_commit_waits_for_the_disk_whatever_the_role_says(tmp_path: Path) -> None:
    with fresh_inbox("postgres", tmp_path) as url, opened(url) as (storage,):
        assert storage._db.execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_storing_a_group_is_one_statement(tmp_path: Path) -> None:
    """Whatever its size: a thread that takes the GIL again for every row waits for it every time."""
    with opened(f"sqlite:///{tmp_path / 'inbox.db'}") as (storage,):
        statements: list[str] = []
        storage._db.set_trace_callback(statements.append)
        storage.insert([row(index) for index in range(200)])
        assert len(statements) == 1
        storage.insert([row(index) for index in range(100, 300)])
        assert len(statements) == 4
        storage._db.set_trace_callback(None)


def test_groups_of_all_sizes_share_few_statements(tmp_path: Path) -> None:
    """To prepare one of a hundred rows takes half as long as to run it."""
    assert len({_places(size) for size in range(1, MAX_GROUP + 1)}) == 20
    stored = 0
    with opened(f"sqlite:///{tmp_path / 'inbox.db'}") as (storage,):
        for size in (1, 2, 3, 8, 9, 15, 16, 17, 32, 33, MAX_GROUP - 1, MAX_GROUP, MAX_GROUP + 1):
            indices = range(stored, stored + size)
            new = storage.insert([row(index) for index in indices])
            assert new == [(index + 1, index) for index in indices], "places that are left take no seq"
            stored += size
    assert [row.event_index for row in read_ledger(tmp_path / "inbox.db")] == list(range(stored))


def test_files_that_are_no_inbox(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database, and long enough to be looked at " * 10)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE t (x)")
    other.close()
    for path in (tmp_path / "text.db", tmp_path / "other.db", tmp_path / "no" / "folder.db", tmp_path):
        with pytest.raises(InputError, match="cannot be opened"):
            SqliteStorage(path)
    for path in (tmp_path / "text.db", tmp_path / "other.db", tmp_path / "missing.db"):
        with pytest.raises(InputError):
            read_ledger(path)
    with pytest.raises(InputError, match="there is no inbox"):
        open_storage(f"sqlite:///{tmp_path / 'missing.db'}", must_exist=True)
    assert not (tmp_path / "missing.db").exists()


def test_an_inbox_of_another_version_is_refused(inbox_url: str) -> None:
    open_storage(inbox_url).close()
    older = SCHEMA_VERSION - 1
    if inbox_url.startswith("sqlite"):
        query(inbox_url, f"PRAGMA user_version = {older}")
    else:
        query(inbox_url, f"UPDATE inbox_version SET version = {older}")
    with pytest.raises(InputError, match=f"version {older} and this is version {SCHEMA_VERSION}") as refusal:
        open_storage(inbox_url)
    assert "\n" not in str(refusal.value)


def test_a_database_with_other_tables_of_these_names_is_refused(tmp_path: Path) -> None:
    with fresh_inbox("postgres", tmp_path) as url:
        open_storage(url).close()
        query(url, "DROP TABLE inbox_version")
        with pytest.raises(InputError, match="schema=NAME"):
            open_storage(url)


@pytest.mark.parametrize(
    "url", ["inbox.db", "sqlite://inbox.db", "sqlite:///", "", "mysql://x/y", "postgresql:x", "http://[x"]
)
def test_other_inbox_urls_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="sqlite:///PATH or postgresql://"):
        open_storage(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@127.0.0.1/test",
        "postgresql://u@127.0.0.1/test?password=hunter2",
        "mysql://u:hunter2@127.0.0.1/test",
        "postgresql://u:hunter2@[x/test",
        "mysql://127.0.0.1/test?password=hunter2",
    ],
)
def test_a_password_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InputError) as refusal:
        open_storage(url)
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("schema", ["", "Public", "a-b", 'x"; DROP TABLE y', "1a", "a" * 64])
def test_a_schema_that_would_need_quoting_is_refused(schema: str) -> None:
    with pytest.raises(InputError, match="schema"):
        open_storage(f"{POSTGRES}?schema={schema}")


@pytest.mark.parametrize("url", ["postgresql://127.0.0.1:1/x", "postgresql://127.0.0.1/x?nonsense=1"])
def test_a_database_that_cannot_be_reached_is_one_line(url: str) -> None:
    with pytest.raises(InputError, match="cannot be opened") as refusal:
        open_storage(url)
    assert "\n" not in str(refusal.value)


def test_a_lost_connection_is_an_error_once_and_then_made_again(tmp_path: Path) -> None:
    with fresh_inbox("postgres", tmp_path) as url, opened(url) as (storage,):
        storage.insert([row(0)])
        query(url, f"SELECT pg_terminate_backend({storage._db.info.backend_pid})")
        with pytest.raises(StorageError):
            storage.insert([row(1)])
        assert [index for _, index in storage.insert([row(1)])] == [1]


def test_an_sqlite_file_that_was_busy_is_written_once_it_is_free(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'inbox.db'}"
    with opened(url) as (storage,):
        intruder = sqlite3.connect(tmp_path / "inbox.db", isolation_level=None)
        intruder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="locked"):
            storage.insert([row(1)])
        intruder.execute("ROLLBACK")
        intruder.close()
        assert [index for _, index in storage.insert([row(1)])] == [1]


def test_what_failed_and_was_stored_all_the_same_is_known_afterwards(inbox_url: str) -> None:
    """The retry of an event whose commit got through is a duplicate, and `beat` names the event."""
    with opened(inbox_url) as (storage,):
        storage.insert([row(0)])
        columns = "source, event_id, event_index, event_type, via, payload, created_us, received_us, owner"
        payload = "x'7b7d'" if inbox_url.startswith("sqlite") else "'{}'"
        values = f"'standard', 'evt_1', 1, 'new_order', 'webhook', {payload}, 1, 1, {storage.owner}"
        query(inbox_url, f"INSERT INTO inbox ({columns}) VALUES ({values})")
        storage._disconnect()
        assert [index for _, index in storage.insert([row(1), row(2)])] == [2]
        assert [event.event_index for event in storage.beat(60, 0)] == [0, 1, 2]
