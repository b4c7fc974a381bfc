"""An inbox in each backend, for tests whose claim holds for both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loadtest.inboxes import BACKENDS, fresh_inbox


@pytest.fixture(params=BACKENDS)
def inbox_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh inbox: the test runs once for each backend."""
    with fresh_inbox(request.param, tmp_path) as url:
        yield url
