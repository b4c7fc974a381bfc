"""Where figures come from: the commit, the versions and the machine a run was made with."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from sim.git import git

CODE_ROOT = Path(__file__).resolve().parent.parent
CODE = ("sim", "loadtest", "hookbench.py")
GIT_TIMEOUT_S = 10.0
PACKAGES = (
    "hookbench",
    "simpy",
    "numba",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "matplotlib",
    "uvicorn",
    "uvloop",
    "httptools",
    "aiohttp",
    "locust",
    "gevent",
)


@dataclass(frozen=True)
class Commit:
    """The commit of hookbench's own clone; `sha` is None outside a clone, `dirty` when its code differs."""

    sha: str | None
    dirty: bool = False

    @property
    def label(self) -> str:
        """For a folder's name: the first 8 digits, "-dirty" after them when so; or "nogit"."""
        if self.sha is None:
            return "nogit"
        return self.sha[:8] + ("-dirty" if self.dirty else "")


def code_commit(root: Path = CODE_ROOT) -> Commit:
    """The commit hookbench runs from.

    An installed copy inside somebody else's repository is not that repository's commit: `sim` must
    be tracked there. Dirty means that the packages differ from the commit or hold files unknown to it.
    """
    if not _git(root, "ls-files", "sim"):
        return Commit(None)
    sha = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "--", *CODE)
    return Commit(sha, changed != "") if sha else Commit(None)


def _git(root: Path, *arguments: str) -> str | None:
    """What git says, or None when git is absent, hangs or refuses (as outside a clone)."""
    try:
        done = git(root, *arguments, timeout_s=GIT_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def versions() -> dict[str, str | None]:
    """Python, platform and the packages that matter; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def machine() -> dict[str, Any]:
    """CPU model and count, and how many of them this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu_model": _cpu_model(), "cpu_count": os.cpu_count(), "cpu_usable": usable}


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: the platform module knows as much as there is to know
    return platform.processor() or platform.machine()
