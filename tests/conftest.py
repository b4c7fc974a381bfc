"""What all tests share: a place of their own to write to."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# Reproducible, and never a matter of how fast the machine is.
settings.register_profile("hookbench", deadline=None, derandomize=True)
settings.load_profile("hookbench")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory that is the current one: runs land there and not in the clone."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
