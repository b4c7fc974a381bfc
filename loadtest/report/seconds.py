"""What a run's `timeline.csv` adds, second by second: failures, queues, pressure and the event loops' lag."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from loadtest.report.looks import role_look
from loadtest.report.plot import Curve

if TYPE_CHECKING:
    import pandas as pd

PANELS = (
    ("failed per second", r"(failed)", 1.0, False),
    ("queued, events", r"(\w+)_waiting", 1.0, True),
    ("some task waited for it, % of the time", r"machine_pressure_(cpu|io|memory)", 100.0, True),
    ("machine, cores busy", r"(machine)_busy_cores", 1.0, True),
    ("event loop late by, ms", r"(\w+)_loop_lag_s", 1000.0, False),
)
"""Title, which columns, by what to multiply, and whether to show it even when it is 0 throughout."""

_LOOKS = {"failed": "c1 d0", "cpu": "c0 d0", "io": "c4 d1", "memory": "c3 d3", "machine": "c6 d0"}


def second_panels(table: pd.DataFrame) -> dict[str, list[Curve]]:
    """Panels of the columns that were recorded; what was not makes none.

    Args:
        table: one arm run's rows: `second`, and columns such as ``receiver_waiting``.
    """
    edges = np.append(table["second"].to_numpy(np.float64), float(table["second"].iloc[-1]) + 1)
    panels: dict[str, list[Curve]] = {}
    for title, pattern, factor, always in PANELS:
        curves = []
        for column in table.columns:
            match = re.fullmatch(pattern, str(column))
            if match is None:
                continue
            values = factor * table[column].to_numpy(np.float64)
            if np.isnan(values).all():
                continue
            name = match[1]
            look = _LOOKS.get(name) or role_look(name)
            curves.append(Curve(name, name, edges, np.append(values, values[-1]), look, "step", name))
        if curves and (always or any(np.nanmax(curve.y) > 0 for curve in curves)):
            panels[title] = curves
    return panels
