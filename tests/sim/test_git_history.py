"""Protects: a repository's commits become a trace and a scenario that runs as it stands."""

import csv
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from sim import git_history as module
from sim.errors import TraceError
from sim.git_history import git_history, trace_from_git
from sim.scenario import TraceWorkload, load_scenario
from sim.traces import read_trace
from sim.workload import event_times

START = 1_714_564_800  # 2024-05-01T12:00:00Z


def git(folder: Path, *arguments: str, at: int = START) -> str:
    """Run git as a fixed person whose clock stands at `at`; author times differ on purpose."""
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "GIT_COMMITTER_DATE": f"{at} +0530",
        "GIT_AUTHOR_DATE": f"{START - 99_999} -0800",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    command = ["git", *who, "-C", str(folder), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def commit(folder: Path, offset_s: int) -> str:
    git(folder, "commit", "-q", "--allow-empty", "-m", "subject, with\na body", at=START + offset_s)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "My Repo_2"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    return folder


def refusal(path: Path, **options) -> str:
    with pytest.raises(TraceError) as caught:
        trace_from_git(path, path.parent / "out", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_commits_are_sorted_by_committer_time_and_twins_are_kept(repository):
    shas = [
        commit(repository, offset) for offset in (0, 500, 200, 500)
    ]  # the third committer's clock is behind
    history = git_history(repository)
    assert [(each.sha, int(each.created.timestamp()) - START) for each in history.commits] == [
        (shas[0], 0),
        (shas[2], 200),
        (shas[1], 500),
        (shas[3], 500),
    ]
    assert history.commits[0].created == datetime(2024, 5, 1, 12, tzinfo=UTC)
    assert not history.shallow
    assert history.name == "my-repo-2"


def test_every_commit_of_merged_branches_counts_once(repository):
    commit(repository, 0)
    git(repository, "checkout", "-q", "-b", "side")
    commit(repository, 10)
    git(repository, "checkout", "-q", "main")
    commit(repository, 20)
    git(repository, "merge", "-q", "--no-ff", "-m", "merge", "side", at=START + 30)
    offsets = [int(each.created.timestamp()) - START for each in git_history(repository).commits]
    assert offsets == [0, 10, 20, 30]


def test_the_scenario_beside_the_trace_runs_as_it_stands(repository, tmp_path):
    shas = [commit(repository, offset) for offset in (0, 0, 600)]
    csv_path, toml_path, trace = trace_from_git(repository, tmp_path / "out" / "deep")
    assert (csv_path.name, toml_path.name) == ("my-repo-2.csv", "my-repo-2.toml")
    with csv_path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["commit"] for row in rows] == shas
    assert rows[2]["created"] == "2024-05-01T12:10:00Z"
    assert trace.times_s.tolist() == [0.0, 0.0, 600.0]
    scenario = load_scenario(toml_path)
    assert isinstance(scenario.workload, TraceWorkload)
    assert scenario.polling.interval_s == 300
    assert scenario.run.duration_s == 900  # the first multiple of the poll interval after the last commit
    np.testing.assert_array_equal(event_times(scenario, 1), trace.times_s)
    assert "3 commits, from 2024-05-01 to 2024-05-01." in scenario.description


def test_a_subfolder_and_a_bare_clone_give_the_same_history(repository, tmp_path):
    commit(repository, 0)
    (repository / "inner").mkdir()
    git(tmp_path, "clone", "-q", "--bare", str(repository), str(tmp_path / "bare.git"))
    assert git_history(repository / "inner") == git_history(repository)
    bare = git_history(tmp_path / "bare.git")
    assert bare.commits == git_history(repository).commits
    assert bare.name == "bare"


def test_a_shallow_clone_says_that_it_is_one(repository, tmp_path):
    for offset in (0, 100):
        commit(repository, offset)
    git(tmp_path, "clone", "-q", "--depth", "1", repository.as_uri(), str(tmp_path / "shallow"))
    history = git_history(tmp_path / "shallow")
    assert (history.shallow, len(history.commits)) == (True, 1)
    _, toml_path, _ = trace_from_git(tmp_path / "shallow", tmp_path)
    assert "older commits are missing" in load_scenario(toml_path).description


def test_nothing_is_overwritten(repository, tmp_path):
    commit(repository, 0)
    csv_path, toml_path, _ = trace_from_git(repository, tmp_path / "out", name="again")
    toml_path.write_text("mine")
    csv_path.unlink()
    assert "again.toml exists and is not overwritten" in refusal(repository, name="again")
    assert toml_path.read_text() == "mine"
    assert not csv_path.exists()


def test_what_is_no_history_is_refused_in_one_line(repository, tmp_path, monkeypatch):
    assert "has no commits yet" in refusal(repository)
    assert "no such folder" in refusal(tmp_path / "gone")
    assert "no such folder" in refusal(Path(__file__))
    (tmp_path / "plain").mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert "is not a git repository" in refusal(tmp_path / "plain")
    assert "try 'no-such-name'" in refusal(repository, name="No such_name")


def test_without_git_or_with_one_that_hangs(repository, tmp_path, monkeypatch):
    commit(repository, 0)
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    monkeypatch.setenv("PATH", str(slow.parent))
    assert "git is needed to read a repository, and it is not installed" in refusal(repository)
    slow.write_text("#!/bin/sh\nwhile :; do :; done\n")
    slow.chmod(0o755)
    monkeypatch.setattr(module, "GIT_TIMEOUT_S", 0.2)
    assert "took longer than 0.2 s" in refusal(repository)


def test_the_caller_s_git_dir_does_not_redirect_it(repository, tmp_path, monkeypatch):
    sha = commit(repository, 0)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert git_history(repository).commits[0].sha == sha


def test_the_written_trace_needs_nothing_but_the_stated_options(repository, tmp_path):
    for offset in (0, 0, 7):
        commit(repository, offset)
    csv_path, _, _ = trace_from_git(repository, tmp_path / "out")
    assert read_trace(csv_path, "created", duplicates="keep").repeated == 1
    with pytest.raises(TraceError, match='duplicates = "keep"'):
        read_trace(csv_path, "created")
