"""What a test leaves behind: a few lines for who runs plain Locust, and files that are whole or not there."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.recorder import Samples

logger = logging.getLogger(__name__)


def tell(samples: Samples) -> None:
    """Log latency, corrected and not, and the schedule's lag, where anything was answered."""
    if samples.corrected_us.size == 0:
        return
    for name, values in (
        ("latency from the intended time", samples.corrected_us),
        ("the same uncorrected, from the real send", samples.uncorrected_us),
        ("schedule lag", samples.lag_us),
    ):
        p50, p99, top = np.percentile(values, (50, 99, 100)) / 1000.0
        logger.info("%s: p50 %.2f ms, p99 %.2f ms, max %.2f ms", name, p50, p99, top)


def write_whole(path: Path, document: Mapping[str, Any]) -> None:
    """Write JSON to a file that somebody waits for."""
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(document), encoding="utf-8")
    unfinished.replace(path)
