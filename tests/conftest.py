"""What all tests share: a place of their own to write to."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory that is the current one: runs land there and not in the clone."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
