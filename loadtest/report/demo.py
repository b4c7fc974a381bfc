"""The report of `hookbench demo`: what the model predicted beside what was measured; its runs follow."""

from __future__ import annotations

import numpy as np
import pandas as pd

from loadtest.report.distributions import Distribution, cumulative
from loadtest.report.looks import looks
from loadtest.report.measured import distributions
from loadtest.report.metrics import estimates_of, every_metric
from loadtest.report.plot import Curve, Figure, Ids, Panel, Plot, Table
from loadtest.report.provenance import machine_text, provenance_block, scenario_block
from loadtest.report.scales import over, time_text
from loadtest.report.section import Block, Section, Verdict
from loadtest.runs import RecordedRun
from sim.experiment import Estimate
from sim.results import Run
from sim.tables import estimate_text


def section(run: Run, race: RecordedRun, ids: Ids) -> Section:
    """The demo as a section of the page.

    Args:
        run: its folder.
        race: the race within it.
        ids: of the page.
    """
    void = [str(reason) for reason in run.notes["void"]]
    verdict = Verdict("void" if void else "good", str(run.notes["sentences"]), (), tuple(void))
    document = run.document
    measured = distributions(race)
    blocks = [
        _predicted(run, measured, ids, void=bool(void)),
        _intervals(run.table("latency_vs_interval"), ids),
        Block(ids.new("metrics"), "Every metric", folded=(_table(run.table("predicted_and_measured")),)),
        scenario_block(run, ids),
        provenance_block(run, ids, {}),
    ]
    return Section(
        id=ids.new(run.path.name),
        kind="demo",
        title=str(document["scenario"]["values"].get("title") or document["name"]),
        folder=run.path.name,
        start=str(document["start"]),
        command=str(document["command"]),
        verdict=verdict,
        tiles=(),
        blocks=tuple(block for block in blocks if block is not None),
        machine=machine_text(document),
        digest=str(document["scenario"]["digest"]),
    )


def _predicted(run: Run, measured: list[Distribution], ids: Ids, *, void: bool) -> Block:
    """The model's distributions as broad pale bands, those of real servers as lines upon them."""
    records = run.records("predicted_records")
    look = looks([each.name for each in measured])
    bands = [
        Distribution(
            f"{mechanism}, predicted",
            np.nan_to_num((rows["visible"] - rows["created"]).to_numpy(np.float64), nan=np.inf),
            f"{look.get(str(mechanism), 'c6')} pale",
            "",
            "band",
        )
        for mechanism, rows in records.groupby("mechanism", sort=False, observed=True)
    ]
    medians = [
        f"{time_text(each.quantile(0.5))} {each.name.replace(', predicted', '')}"
        for each in (*bands, *measured)
    ]
    expected, found = ", ".join(medians[: len(bands)]), ", ".join(medians[len(bands) :])
    finding = f"Predicted medians: {expected}. Measured: {found}."
    drawn = cumulative(
        [*bands, *measured], ids, finding, "events", void=void,
        note="Pale band: what the model predicted. Line: what real servers did. ",
    )  # fmt: skip
    return Block(ids.new("latency"), "Predicted and measured", figures=(drawn,))


def _intervals(table: pd.DataFrame, ids: Ids) -> Block:
    """Mean latency against the poll interval, as the model has it."""
    names = [str(name) for name in dict.fromkeys(table["mechanism"])]
    look = looks(names)
    curves = []
    for name in names:
        rows = table[table["mechanism"] == name].sort_values("interval_s")
        x, y = (rows[column].to_numpy(np.float64) for column in ("interval_s", "latency_mean_s"))
        curves.append(Curve(name, name, x, y, look[name], "line", name))
    x_scale = over(np.concatenate([curve.x for curve in curves]), "time", kind="log")
    y_scale = over(np.concatenate([curve.y for curve in curves]), "time", kind="log")
    plot = Plot(x_scale, "poll interval", (Panel("mean latency", y_scale, tuple(curves)),))
    longest = table[table["interval_s"] == table["interval_s"].max()]
    told = ", ".join(
        f"{time_text(float(latency_s))} by {name}"
        for name, latency_s in zip(longest["mechanism"], longest["latency_mean_s"], strict=True)
    )
    interval = time_text(float(longest["interval_s"].iloc[0]))
    columns = (table[name].to_list() for name in ("mechanism", "interval_s", "latency_mean_s", "low", "high"))
    told_rows = tuple(
        (str(name), time_text(interval_s), estimate_text(Estimate(mean_s, low_s, high_s), "latency_s"))
        for name, interval_s, mean_s, low_s, high_s in zip(*columns, strict=True)
    )
    note, head = "Means ± half a 95 % interval.", ("mechanism", "poll interval", "mean latency")
    drawn = Figure(
        ids.new("intervals"), f"At one poll every {interval} an event takes {told} on average.",
        "Simulated, each interval over several replications.", plot,
        Table("mean latency at each poll interval", head, told_rows, note),
    )  # fmt: skip
    return Block(ids.new("intervals"), "What the poll interval costs", figures=(drawn,))


def _table(compared: pd.DataFrame) -> Table:
    """Each metric of each arm, predicted beside measured."""
    named = compared.assign(arm=compared["arm"] + ", " + compared["source"])
    table = every_metric(estimates_of(named), 1)
    note = "Predicted: ± half a 95 % interval; measured: one race."
    return Table("Every metric, predicted and measured", table.head, table.rows, note)
