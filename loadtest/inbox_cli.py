"""``hookbench inbox``: look into an inbox, let events wait again, drop what is no longer needed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sim.errors import InputError

if TYPE_CHECKING:
    from loadtest.inbox.storage import Listed, Storage

app = typer.Typer(
    help="Look into an inbox, replay its events, drop old ones.", no_args_is_help=True, rich_markup_mode=None
)

InboxOption = Annotated[
    str,
    typer.Option("--inbox", metavar="URL", help="sqlite:///PATH or postgresql://USER@HOST/DB[?schema=NAME]"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="one JSON document on standard output")]

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_BATCH = 500


@app.command("list")
def list_command(
    inbox: InboxOption = "sqlite:///inbox.db",
    state: Annotated[
        str | None, typer.Option("--state", help="waiting, in-service, visible or dead (default: all)")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=0, metavar="N", help="how many events, newest first")
    ] = 20,
    as_json: JsonOption = False,
) -> None:
    """Count the events in each state and show the newest.

    waiting: no process alive has it in hand; in-service: one has; visible: served; dead: given up after
    the handler's last attempt.
    """
    from loadtest.inbox.storage import STATES  # noqa: PLC0415 - heavy imports wait until a command runs

    if state is not None and state not in STATES:
        raise InputError(f"--state {state} is not one of {', '.join(STATES)}")
    with _opened(inbox) as storage:
        counts = storage.counts()
        events = storage.events(state, limit)
        url = storage.url
    if as_json:
        document = {"inbox": url, "counts": counts, "events": [event._asdict() for event in events]}
        typer.echo(json.dumps(document))
        return
    typer.echo(f"{url}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    if events:
        _show(events)


@app.command("replay")
def replay_command(
    inbox: InboxOption = "sqlite:///inbox.db",
    event_id: Annotated[
        str | None, typer.Option("--id", metavar="EVENT", help="only the event with this id")
    ] = None,
    visible: Annotated[
        bool, typer.Option("--visible", help="also what was served: it is served again")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="needed to serve everything again")] = False,
) -> None:
    """Let dead letters wait again, with all their attempts; running receivers take them up by themselves."""
    states: list[Literal["visible", "dead"]] = ["dead", "visible"] if visible else ["dead"]
    with _opened(inbox) as storage:
        if visible and event_id is None and not yes:
            count = storage.counts()["visible"]
            raise InputError(
                f"--visible without --id would serve all {count} visible events again; say --yes to mean it"
            )
        replayed = storage.replay(states, event_id)
    if event_id is not None and not replayed:
        kinds = "visible event or dead letter" if visible else "dead letter"
        raise InputError(f"there is no {kinds} with the id {event_id!r} whose payload is still there")
    typer.echo(f"events that wait again: {replayed}")


@app.command("purge")
def purge_command(
    inbox: InboxOption = "sqlite:///inbox.db",
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="AGE", help="how long ago it was served, e.g. 12h or 7d"),
    ] = None,
    dead: Annotated[bool, typer.Option("--dead", help="dead letters too")] = False,
    forget_after: Annotated[
        str,
        typer.Option(
            "--forget-after", metavar="AGE", help="drop ids too, so that a later copy counts as a new event"
        ),
    ] = "30d",
    yes: Annotated[bool, typer.Option("--yes", help="do it; without it, only say how many")] = False,
) -> None:
    """Drop the payloads of old visible events; their ids stay until --forget-after, to know copies by."""
    if older_than is None:
        raise InputError("purge needs --older-than, e.g. --older-than 7d")
    older_than_s, forget_after_s = age_s("--older-than", older_than), age_s("--forget-after", forget_after)
    with _opened(inbox) as storage:
        if not yes:
            count = storage.purgeable(older_than_s, dead=dead)
            raise InputError(f"purge would drop the payloads of {count} events; say --yes to do it")
        dropped = forgotten = 0
        while True:
            payloads, ids = storage.purge(older_than_s, forget_after_s, dead=dead, limit=_BATCH)
            dropped += payloads
            forgotten += ids
            if max(payloads, ids) < _BATCH:
                break
    typer.echo(f"payloads dropped: {dropped}; ids forgotten: {forgotten}")


def age_s(option: str, text: str) -> float:
    """``90s``, ``15m``, ``12h`` or ``7d`` in seconds.

    Raises:
        InputError: something else.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)([smhd])", text)
    if match is None:
        raise InputError(f"{option} {text!r} is not an age such as 90s, 15m, 12h or 7d")
    return float(match[1]) * _UNITS_S[match[2]]


@contextmanager
def _opened(url: str) -> Iterator[Storage]:
    from loadtest.inbox.storage import StorageError, open_storage  # noqa: PLC0415

    storage = open_storage(url, must_exist=True)
    try:
        yield storage
        storage.close()
    except StorageError as error:
        raise InputError(f"the inbox {storage.url} failed: {error}") from None


def _show(events: list[Listed]) -> None:
    from rich import box  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE)
    for name in ("seq", "copies", "attempts", "state", "finished", "source", "id", "reason"):
        right = name in ("seq", "copies", "attempts")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for event in events:
        finished = (
            "" if event.finished_s is None else f"{datetime.fromtimestamp(event.finished_s, UTC):%F %T}Z"
        )
        values = (
            event.seq,
            event.copies,
            event.attempts,
            event.state,
            finished,
            event.source,
            event.event_id,
        )
        # As Text: what came from outside is not markup.
        table.add_row(*(Text(str(value)) for value in (*values, event.reason or "")))
    Console().print(table)
