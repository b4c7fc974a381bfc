"""Run all of it, print it, and leave a run folder: ``python -m sim.benchmark [engines|queues|scale …]``."""

from __future__ import annotations

import sys

import pandas as pd
from rich.table import Table

from sim.benchmark import engines, queues, scale
from sim.results import RunFolder
from sim.tables import console, number_text

PARTS = {"engines": engines, "queues": queues, "scale": scale}


def shown(title: str, frame: pd.DataFrame) -> Table:
    """A frame as a table."""
    table = Table(title=title)
    for column in frame.columns:
        table.add_column(str(column), justify="left" if frame[column].dtype == object else "right")
    for row in frame.itertuples(index=False):
        table.add_row(*(value if isinstance(value, str) else number_text(float(value), 3) for value in row))
    return table


def main(chosen: list[str]) -> None:
    """Measure the parts chosen, or all."""
    if unknown := [name for name in chosen if name not in PARTS]:
        raise SystemExit(f"unknown part {unknown[0]!r}; known: {', '.join(PARTS)}")
    with RunFolder.create("bench-engines", ["python", "-m", "sim.benchmark", *chosen]) as run:
        for name in chosen or PARTS:
            frame = PARTS[name].measure()
            console().print(shown(PARTS[name].TITLE, frame))
            run.save_table(frame, name)
        console().print(str(run.path))


if __name__ == "__main__":
    main(sys.argv[1:])
