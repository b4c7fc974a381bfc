"""Asking git: bounded in time, blind to the caller's own GIT_DIR, without taking its locks."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# A git hook sets these, and they would point every command at the hook's repository.
_ELSEWHERE = {
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_COMMON_DIR",
    "GIT_PREFIX",
}


def git(folder: Path, *arguments: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run git in a folder and return what it said, whatever its exit code.

    Raises:
        OSError: git is not installed.
        subprocess.TimeoutExpired: it took longer than `timeout_s`.
    """
    return subprocess.run(
        ["git", "--no-optional-locks", "-C", str(folder), *arguments],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env={name: value for name, value in os.environ.items() if name not in _ELSEWHERE} | {"LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        timeout=timeout_s,
        check=False,
    )
