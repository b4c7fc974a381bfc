"""Writing a load or a race into its run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loadtest.histograms import export
from loadtest.runner.results import LoadResult
from loadtest.timeline import timeline

if TYPE_CHECKING:
    from sim.results import RunFolder


def save(folder: RunFolder, result: LoadResult, *, figures: bool) -> None:
    """Write samples, records, tables, histograms and figures; note ledger, verdict and sample counts."""
    import pandas as pd  # noqa: PLC0415 - half a second that --help need not wait for

    for run in result.runs:
        run.samples.save(folder.path / f"samples_{run.arm}_{run.run}.npz")
        if run.received_us is not None:
            np.save(folder.path / f"received_{run.arm}_{run.run}.npy", run.received_us)
    records = [run.records.assign(arm=run.arm, run=run.run) for run in result.runs if run.records is not None]
    if records:
        folder.save_records(pd.concat(records, ignore_index=True))
    folder.save_table(result.summary(), "summary")
    rows = [(run.arm, run.run, name, value) for run in result.runs for name, value in run.metrics.items()]
    folder.save_table(pd.DataFrame(rows, columns=["arm", "run", "metric", "value"]), "metrics")
    folder.save_table(
        pd.concat(
            [run.server_load.assign(arm=run.arm, run=run.run) for run in result.runs], ignore_index=True
        ),
        "server_load",
    )
    folder.save_table(
        pd.concat(
            [timeline(result.command, run).assign(arm=run.arm, run=run.run) for run in result.runs],
            ignore_index=True,
        ),
        "timeline",
    )
    if result.differences is not None:
        folder.save_table(result.differences, "differences")
    for run in result.runs:
        export(folder.path, f"{run.arm}_{run.run}", run.samples, run.notes["origin_us"])
    folder.note(
        ledger={arm: result.ledger(arm) for arm in result.arms},
        void=result.void,
        shape=result.shape,
        thresholds=[each.__dict__ for each in result.thresholds],
        sample_counts={f"{run.arm}_{run.run}": run.samples.index.size for run in result.runs},
        arms={f"{run.arm}_{run.run}": run.notes for run in result.runs},
    )
    if figures:
        from loadtest.figures import draw  # noqa: PLC0415 - matplotlib takes a second

        for name, figure in draw(result).items():
            folder.save_figure(figure, name)
