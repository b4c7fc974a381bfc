"""A git repository's commits as a workload: the CI/CD use of webhooks and polling.

A CI server learns of new commits by a push webhook or by asking every few minutes; the commits of
a real repository are the events. Each commit on HEAD's ancestry counts as one event at its committer
time, so a push of several commits is several events, and a rebase gives its commits one and the same second.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sim.errors import TraceError
from sim.git import git
from sim.scenario import load_scenario
from sim.traces import Trace, read_trace

GIT_TIMEOUT_S = 300.0
POLL_INTERVAL_S = 300

_SCENARIO = '''\
name = "{name}"
title = "A CI server learns of the commits in {name}"
description = """
{commits} commits, from {first} to {last}{shallow}. A CI server is told of each
by a push webhook, or asks every five minutes. One event is one commit at its committer time.
"""

[workload]
kind = "trace"
path = "{name}.csv"        # beside this file
column = "created"
duplicates = "keep"        # commits of one second, as a rebase makes them, are separate events
payload_bytes = 7300       # GitHub's example of a push payload (docs.github.com, webhook events and payloads)

[network]
one_way = {{ kind = "lognormal", mean_s = 0.05, cv = 0.5 }}   # assumed

[webhook]
timeout_s = 10             # GitHub waits 10 s (docs.github.com, best practices for using webhooks)
retry = {{ kind = "none" }} # GitHub does not redeliver by itself (docs.github.com, failed webhook deliveries)

[polling]
interval_s = {interval_s}           # assumed: a common setting of CI servers that poll
timeout_s = 30             # assumed
page_size = 100            # the most GitHub's REST API returns (docs.github.com, pagination)

[receiver]
workers = 2                                                # assumed: the CI server's queue of triggers
service = {{ kind = "lognormal", mean_s = 0.2, cv = 1.0 }}   # assumed: to schedule a build, not to run it
queue_limit = 1000
acknowledge = "on_receipt"

[provider_api]
workers = 8
service = {{ kind = "constant", mean_s = 0.05 }}             # assumed

[run]
duration_s = {duration_s}
drain_s = 3600
'''


@dataclass(frozen=True)
class Commit:
    """One event of a history: when it was committed, UTC, and its full sha."""

    created: datetime
    sha: str


@dataclass(frozen=True)
class History:
    """The commits reachable from HEAD, by committer time.

    Attributes:
        name: of the repository, as a scenario's name: lower case, digits and dashes.
        commits: sorted by time, then as git gives them oldest first; repeated times are kept.
        shallow: the clone ends before the history does, so older commits are missing.
    """

    name: str
    commits: tuple[Commit, ...]
    shallow: bool


def git_history(path: str | Path) -> History:
    """Read the committer times of every commit reachable from HEAD.

    Git's own order is topological: clocks differ between committers, so a child can be older than
    its parent. The history is therefore sorted by time. A folder inside a repository stands for the
    whole repository; bare ones are read as well.

    Raises:
        TraceError: no such folder, not a repository, no commits, a date no calendar holds, git missing
            or too slow.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise TraceError(f"{folder}: no such folder; give the path of a git repository")
    root = Path(_ask(folder, "rev-parse", "--absolute-git-dir", problem="is not a git repository"))
    _ask(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}", problem="has no commits yet")
    listed = _ask(
        folder, "rev-list", "--reverse", "--timestamp", "HEAD", problem="its history cannot be read"
    )
    commits = sorted((_commit(folder, line) for line in listed.splitlines()), key=lambda each: each.created)
    shallow = _ask(folder, "rev-parse", "--is-shallow-repository", problem="cannot be examined") == "true"
    name = root.parent.name if root.name == ".git" else root.name.removesuffix(".git")
    return History(_slug(name), tuple(commits), shallow)


def write_trace(history: History, csv_path: Path) -> None:
    """Write a history as CSV with the columns created (ISO 8601, UTC) and commit.

    Raises:
        TraceError: the file exists, or cannot be written.
    """
    rows = [f"{commit.created:%Y-%m-%dT%H:%M:%SZ},{commit.sha}\n" for commit in history.commits]
    _write_new(csv_path, "created,commit\n" + "".join(rows))


def trace_from_git(
    path: str | Path, out_dir: str | Path, name: str | None = None
) -> tuple[Path, Path, Trace]:
    """Write a repository's history as `NAME.csv` and, beside it, a scenario `NAME.toml` ready to simulate.

    Args:
        path: the repository.
        out_dir: where to write; made when missing.
        name: the scenario's; by default that of the repository's folder.

    Returns:
        The CSV's path, the scenario's path, and the trace as the scenario will read it.

    Raises:
        TraceError: as `git_history`; or a name that is no scenario's; or a file that exists.
    """
    if name is not None and name != _slug(name):
        raise TraceError(
            f"a scenario's name is lower case, digits and dashes, got {name!r}; try {_slug(name)!r}"
        )
    history = git_history(path)
    name = name or history.name
    csv_path, toml_path = Path(out_dir) / f"{name}.csv", Path(out_dir) / f"{name}.toml"
    for each in (csv_path, toml_path):
        if each.exists():
            raise TraceError(f"{each} exists and is not overwritten; remove it or give another name")
    write_trace(history, csv_path)
    trace = read_trace(csv_path, "created", duplicates="keep")
    first, last = history.commits[0].created, history.commits[-1].created
    text = _SCENARIO.format(
        name=name,
        commits=f"{trace.rows:,}",
        first=f"{first:%Y-%m-%d}",
        last=f"{last:%Y-%m-%d}",
        shallow=" (a shallow clone: older commits are missing)" if history.shallow else "",
        interval_s=POLL_INTERVAL_S,
        duration_s=(int(trace.times_s[-1]) // POLL_INTERVAL_S + 1) * POLL_INTERVAL_S,
    )
    _write_new(toml_path, text)
    load_scenario(toml_path)
    return csv_path, toml_path, trace


def _ask(folder: Path, *arguments: str, problem: str) -> str:
    try:
        done = git(folder, *arguments, timeout_s=GIT_TIMEOUT_S)
    except FileNotFoundError:
        raise TraceError(f"{folder}: git is needed to read a repository, and it is not installed") from None
    except OSError as error:
        raise TraceError(f"{folder}: git cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise TraceError(f"{folder}: git took longer than {GIT_TIMEOUT_S:g} s and was stopped") from None
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [""])[0]
        raise TraceError(f"{folder}: {problem}" + (f" (git: {said})" if said else ""))
    return done.stdout.strip()


def _commit(folder: Path, line: str) -> Commit:
    seconds, _, sha = line.partition(" ")
    try:
        return Commit(datetime.fromtimestamp(int(seconds), UTC), sha)
    except (ValueError, OverflowError, OSError):
        raise TraceError(f"{folder}: commit {sha} has no date of the calendar: {seconds}") from None


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "repository"


def _write_new(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise TraceError(f"{path} exists and is not overwritten; remove it or give another name") from None
    except OSError as error:
        raise TraceError(f"{path}: cannot be written: {error.strerror}") from None
