"""The report of a simulation: what the model says, with its uncertainty; nothing here was measured."""

from __future__ import annotations

from math import isnan

import numpy as np

from loadtest.report import metrics as tables
from loadtest.report import rivalry, timelines
from loadtest.report.distributions import Distribution, cumulative, percentiles
from loadtest.report.looks import looks
from loadtest.report.metrics import estimates_of, text_of
from loadtest.report.plot import Figure, Ids
from loadtest.report.provenance import machine_text, provenance_block, scenario_block
from loadtest.report.scales import time_text
from loadtest.report.section import Block, Section, Verdict
from loadtest.report.words import by_arm, listed
from loadtest.runs import RecordedRun

HEADLINE = {
    "latency_p50_s": "median latency",
    "latency_p99_s": "p99 latency",
    "requests_per_event": "requests an event",
    "bytes_per_event": "bytes an event",
    "duplicates_per_event": "duplicates an event",
    "lost_ratio": "lost",
}


def section(run: RecordedRun, ids: Ids) -> Section:
    """A simulation as a section of the page."""
    estimates = estimates_of(run.summary)
    replications = int(run.folder.notes["replications"])
    found = rivalry.rivals(run)
    shown = _distributions(run)
    told = listed([f"{text_of(estimates[m], 'latency_p50_s')} by {m}" for m in _by_median(estimates)])
    finding = f"The model expects half of all events to be visible within {told}"
    finding += f", ± half a 95 % interval over {replications} replications." if replications > 1 else "."
    details = (rivalry.finding(found),) if found else ()
    if not _by_median(estimates):
        finding = (
            "In the model no mechanism has a median latency in every replication: too few events arrive."
        )
    verdict = Verdict("model", finding, (*details, *rivalry.price(run.arms, estimates)))
    blocks = [
        _paired(run, found, ids),
        _latency(run, shown, tables.estimates_of(run.summary), ids),
        _over_time(run, ids),
        Block(ids.new("metrics"), "Every metric", folded=(tables.every_metric(estimates, replications),)),
        scenario_block(run.folder, ids),
        provenance_block(run.folder, ids, {"run": run.folder.notes}),
    ]
    document = run.folder.document
    described = document["scenario"]["values"]
    return Section(
        id=ids.new(run.path.name),
        kind="simulate",
        title=str(described.get("title") or described["name"]),
        folder=run.path.name,
        start=str(document["start"]),
        command=str(document["command"]),
        verdict=verdict,
        tiles=(),
        headline=tables.headline(estimates, HEADLINE),
        blocks=tuple(block for block in blocks if block is not None),
        machine=machine_text(document),
        digest=str(document["scenario"]["digest"]),
        curves=tuple(shown),
        estimates=estimates,
    )


def _by_median(estimates: tables.Estimates) -> list[str]:
    known = [
        m
        for m in estimates
        if "latency_p50_s" in estimates[m] and not isnan(estimates[m]["latency_p50_s"].mean)
    ]
    return sorted(known, key=lambda m: estimates[m]["latency_p50_s"].mean)


def _distributions(run: RecordedRun) -> list[Distribution]:
    look = looks(run.arms)
    shown = []
    for mechanism in run.arms:
        kept = [each.latencies(run.warmup_s).get("latency") for each in run.of(mechanism)]
        values = [each.latency_s for each in kept if each is not None]
        if values:
            shown.append(Distribution(mechanism, np.concatenate(values), look[mechanism], mechanism))
    return shown


def _paired(run: RecordedRun, found: list[rivalry.Rival], ids: Ids) -> Block | None:
    if not found:
        return None
    figures = rivalry.figures(found, looks(run.arms), ids, void=False, time_title=timelines.SIMULATED)
    return Block(ids.new("paired"), "The same events, mechanism against mechanism", figures=figures)


def _latency(
    run: RecordedRun, shown: list[Distribution], estimates: tables.Estimates, ids: Ids
) -> Block | None:
    if not any(np.isfinite(each.latency_s).any() for each in shown):
        text = "The run kept metrics only: too many deliveries to keep each, so there is no curve to draw."
        return Block(ids.new("latency"), "Latency", text=(text,))
    medians, tails = (by_arm(run.arms, estimates, f"latency_{name}_s") for name in ("p50", "p99"))
    return Block(
        ids.new("latency"),
        "Latency",
        figures=(
            percentiles(shown, ids, f"99 % of all events are visible within {tails}.", "events"),
            cumulative(shown, ids, f"Half of all events are visible within {medians}.", "events"),
        ),
    )


def _over_time(run: RecordedRun, ids: Ids) -> Block | None:
    if not (run.path / "series.csv").is_file():
        return None
    series, look = run.folder.table("series"), looks(run.arms)
    lines = [
        timelines.simulated(str(mechanism), rows, look[str(mechanism)])
        for mechanism, rows in series.groupby("mechanism", sort=False)
    ]
    spans = _outages(run)
    told = tuple(f"Shaded: {words}, {time_text(start)} to {time_text(end)}." for start, end, words in spans)
    return Block(
        ids.new("time"),
        "Over time",
        text=told,
        figures=tuple(_drawn(line, lines, ids, spans) for line in lines),
    )


def _outages(run: RecordedRun) -> tuple[tuple[float, float, str], ...]:
    """When each scheduled outage starts and ends, and what it is."""
    values = run.folder.document["scenario"]["values"]
    return tuple(
        (
            outage["start_s"],
            outage["start_s"] + outage["duration_s"],
            f"{words}, {outage['kind'].replace('_', ' ')}",
        )
        for name, words in (
            ("receiver", "outage of the receiver"),
            ("provider_api", "outage of the events API"),
        )
        for outage in values.get(name, {}).get("outages", ())
    )


def _drawn(
    line: timelines.Timeline,
    lines: list[timelines.Timeline],
    ids: Ids,
    spans: tuple[tuple[float, float, str], ...],
) -> Figure:
    backlog = line.panels["events not yet visible"][0]
    place = int(np.argmax(backlog.y))
    return timelines.figure(
        line,
        lines,
        ids,
        f"By {line.arm} at most {backlog.y[place]:,.0f} events wait to become visible, "
        f"{time_text(float(backlog.x[place]))} after the start.",
        void=False,
        spans=spans,
    )
