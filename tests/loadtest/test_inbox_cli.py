"""Protects `hookbench inbox`: what it shows, what it changes, and one line for whatever cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import hookbench
from loadtest.inbox import open_storage, read_ledger
from loadtest.inbox_cli import age_s
from sim.errors import InputError
from tests.loadtest.inboxes import lapse, query, row
from tests.loadtest.servers import event, eventually, running


@pytest.fixture
def filled(inbox_url: str) -> str:
    """Seven events: two wait, one is in service, two are visible, two are dead letters."""
    waiting = open_storage(inbox_url)
    waiting.beat(60, 0)
    waiting.insert([row(0), row(1)])
    lapse(inbox_url)
    storage = open_storage(inbox_url)
    storage.beat(60, 0)
    seqs = [seq for seq, _ in storage.insert([row(index) for index in range(2, 7)])]
    storage.settle([(seq, 100) for seq in seqs[:2]], [(seq, "ValueError at shop.py:7") for seq in seqs[2:4]])
    query(inbox_url, "UPDATE inbox SET finished_s = finished_s - 3600 WHERE finished_s IS NOT NULL")
    yield inbox_url
    storage.close()
    waiting.close()


def said(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = hookbench.run(["inbox", *arguments])
    out, err = capfd.readouterr()
    return code, out, err


def document(capfd: pytest.CaptureFixture[str], *arguments: str) -> Any:
    code, out, err = said(capfd, "list", "--json", *arguments)
    assert (code, err) == (0, "")
    return json.loads(out)


def test_list_counts_and_shows(filled: str, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = said(capfd, "list", "--inbox", filled)
    assert (code, err) == (0, "")
    assert "2 waiting, 1 in-service, 2 visible, 2 dead" in out
    assert "evt_6" in out
    everything = document(capfd, "--inbox", filled)
    assert everything["counts"] == {"waiting": 2, "in-service": 1, "visible": 2, "dead": 2}
    assert [event["event_id"] for event in everything["events"]] == [
        f"evt_{index}" for index in range(6, -1, -1)
    ]
    dead = document(capfd, "--inbox", filled, "--state", "dead", "--limit", "1")["events"]
    assert [(event["event_id"], event["reason"], event["state"]) for event in dead] == [
        ("evt_5", "ValueError at shop.py:7", "dead")
    ]
    for state, count in everything["counts"].items():
        assert len(document(capfd, "--inbox", filled, "--state", state)["events"]) == count


def test_looking_changes_nothing(filled: str, capfd: pytest.CaptureFixture[str]) -> None:
    before = query(filled, "SELECT * FROM inbox ORDER BY seq"), query(filled, "SELECT * FROM owners")
    said(capfd, "list", "--inbox", filled)
    assert (
        query(filled, "SELECT * FROM inbox ORDER BY seq"),
        query(filled, "SELECT * FROM owners"),
    ) == before


def test_replay_of_dead_letters_of_one_event_and_of_visible_ones(
    filled: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, _, err = said(capfd, "replay", "--inbox", filled, "--id", "evt_2")
    assert (code, err) == (
        2,
        "hookbench: there is no dead letter with the id 'evt_2' whose payload is still there\n",
    )
    assert said(capfd, "replay", "--inbox", filled, "--id", "evt_4")[1] == "events that wait again: 1\n"
    assert said(capfd, "replay", "--inbox", filled)[1] == "events that wait again: 1\n"
    assert said(capfd, "replay", "--inbox", filled, "--id", "evt_2", "--visible")[1].endswith(": 1\n")
    code, _, err = said(capfd, "replay", "--inbox", filled, "--visible")
    assert (code, "--yes" in err) == (2, True)
    assert said(capfd, "replay", "--inbox", filled, "--visible", "--yes")[1] == "events that wait again: 1\n"
    assert document(capfd, "--inbox", filled)["counts"] == {
        "waiting": 6, "in-service": 1, "visible": 0, "dead": 0,
    }  # fmt: skip


def test_purge_says_how_many_before_it_does(filled: str, capfd: pytest.CaptureFixture[str]) -> None:
    for arguments, says in (
        ((), "--older-than"),
        (("--older-than", "30m"), "the payloads of 2 events; say --yes"),
        (("--older-than", "30m", "--dead"), "the payloads of 4 events; say --yes"),
        (("--older-than", "3h"), "the payloads of 0 events; say --yes"),
        (("--older-than", "soon", "--yes"), "'soon' is not an age"),
    ):
        code, out, err = said(capfd, "purge", "--inbox", filled, *arguments)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert says in err
    purge = ("purge", "--inbox", filled, "--older-than", "30m", "--yes")
    assert said(capfd, *purge)[1] == "payloads dropped: 2; ids forgotten: 0\n"
    visible = document(capfd, "--inbox", filled, "--state", "visible")["events"]
    assert [event["purged"] for event in visible] == [True, True]
    assert (
        said(capfd, *purge, "--dead", "--forget-after", "45m")[1] == "payloads dropped: 2; ids forgotten: 4\n"
    )
    assert [row.event_index for row in read_ledger(filled)] == [0, 1, 6]


@pytest.mark.parametrize("command", ["list", "replay", "purge"])
def test_what_cannot_be_is_one_line(command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    more = ("--older-than", "1d", "--yes") if command == "purge" else ()
    for url, says in (
        (f"sqlite:///{tmp_path}/none.db", "there is no inbox"),
        ("inbox.db", "sqlite:///PATH or postgresql://"),
        ("postgresql://127.0.0.1:1/test", "cannot be opened"),
        ("postgresql://u:hunter2@127.0.0.1/test", "must not hold a password"),
    ):
        code, out, err = said(capfd, command, "--inbox", url, *more)
        assert (code, out, len(err.splitlines())) == (2, "", 1), err
        assert says in err
        assert "hunter2" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_does_not_exist_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    code, _, err = said(capfd, "list", "--state", "lost")
    assert (code, "waiting, in-service, visible, dead" in err) == (2, True)


@pytest.mark.parametrize(("text", "age"), [("90s", 90), ("15m", 900), ("1.5h", 5400), ("7d", 604_800)])
def test_ages(text: str, age: float) -> None:
    assert age_s("--older-than", text) == age


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "1w", "1e3s", "nans", "1 d", "٣d"])
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(InputError, match="90s, 15m, 12h or 7d"):
        age_s("--older-than", text)


def test_a_running_receiver_takes_up_what_an_operator_replays(
    inbox_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A handler that was broken is mended, its dead letter is replayed, and the receiver serves it."""
    mended = tmp_path / "mended"
    (tmp_path / "hb_mend.py").write_text(
        "from pathlib import Path\n"
        "async def handle(event):\n"
        f"    if not Path({str(mended)!r}).exists():\n"
        "        raise RuntimeError(event.payload)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with running(
        "receiver", "--inbox", inbox_url, "--handler", "hb_mend:handle", "--handler-attempts", "1",
        "--lease-s", "0.5", "--retain-s", "0",
    ) as server:  # fmt: skip
        name, body = event("mend", 1)
        assert server.post_event(body, name).status == 204
        eventually(lambda: server.status()["dead"] == 1)
        eventually(lambda: document(capfd, "--inbox", inbox_url)["counts"]["dead"] == 1)
        mended.touch()
        assert said(capfd, "replay", "--inbox", inbox_url)[1] == "events that wait again: 1\n"
        eventually(lambda: server.status()["visible"] == 1)
        code, _, err = server.stop()
        assert code == 0
        assert "RuntimeError at hb_mend.py:4" in err
        assert "ORD-" not in err
        assert "padding" not in err
