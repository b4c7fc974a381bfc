"""The report of a load or a race: its verdict, and figures of what servers really did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from loadtest.report import metrics as tables
from loadtest.report import rivalry, tradeoff
from loadtest.report.distributions import Distribution, cumulative, percentiles
from loadtest.report.looks import looks
from loadtest.report.metrics import Estimates, estimates_of, mean_text
from loadtest.report.plot import Figure, Ids, Table
from loadtest.report.processes import peak_cpu_percent
from loadtest.report.provenance import machine_text, provenance_block, scenario_block
from loadtest.report.scales import time_text
from loadtest.report.section import Block, Section, Tile, Verdict
from loadtest.report.timelines import Timeline, figure, of_repetition
from loadtest.report.words import by_arm
from loadtest.runs import RecordedRun, Repetition
from sim.thresholds import THRESHOLD

if TYPE_CHECKING:
    import pandas as pd

MOST_REPETITIONS = 3
"""Drawn over time of each arm; distributions and differences hold all of them."""

LATENCIES = {
    "latency": "intended send to answer",
    "uncorrected_latency": "real send to answer",
    "visible_latency": "intended send to visible",
}
HEADLINE = {
    "load": {
        "achieved_rate_per_s": "achieved rate",
        "latency_p50_s": "median latency",
        "latency_p99_s": "p99 latency",
        "error_ratio": "errors",
        "receiver_cpu_s_per_1k": "receiver's CPU per 1,000 events",
        "provider_cpu_s_per_1k": "provider's CPU per 1,000 polls",
    },
    "race": {
        "latency_p50_s": "median latency",
        "latency_p99_s": "p99 latency",
        "requests_per_event": "requests an event",
        "bytes_per_event": "bytes an event",
        "provider_cpu_s_per_1k": "provider's CPU per 1,000 events",
        "receiver_cpu_s_per_1k": "receiver's CPU per 1,000 events",
        "lost_ratio": "lost",
    },
}
SHORT = {"uncorrected_latency": "from real send", "visible_latency": "to visible"}
HIDES = 0.9
"""An uncorrected p99 below so much of the corrected one hides a stall worth telling of."""


def section(run: RecordedRun, ids: Ids) -> Section:
    """A load or a race as a section of the page."""
    estimates = estimates_of(run.summary)
    found = rivalry.rivals(run) if run.kind == "race" else []
    verdict = _verdict(run, estimates, found)
    shown = distributions(run)
    blocks = [
        _thresholds(run, ids),
        _paired(run, found, ids, void=verdict.void),
        _latency(run, shown, estimates, ids, void=verdict.void),
        _over_time(run, ids, void=verdict.void),
        _server_load(run, estimates, ids, void=verdict.void),
        _ledger(run, ids),
        Block(
            ids.new("metrics"), "Every metric", folded=(tables.every_metric(estimates, _repetitions(run)),)
        ),
        scenario_block(run.folder, ids),
        provenance_block(run.folder, ids, run.folder.notes["arms"]),
    ]
    document = run.folder.document
    described = document["scenario"]["values"]
    return Section(
        id=ids.new(run.path.name),
        kind=run.kind,
        title=str(described.get("title") or described["name"]),
        folder=run.path.name,
        start=str(document["start"]),
        command=str(document["command"]),
        verdict=verdict,
        tiles=_tiles(run, estimates),
        headline=tables.headline(estimates, HEADLINE[run.kind]) if len(run.arms) > 1 else None,
        blocks=tuple(block for block in blocks if block is not None),
        machine=machine_text(document),
        digest=str(document["scenario"]["digest"]),
        curves=tuple(each for each in shown if "thin" not in each.look),
        estimates=estimates,
    )


def distributions(run: RecordedRun) -> list[Distribution]:
    """Every latency that was kept, all repetitions of an arm together; the one to believe comes last."""
    look = looks(run.arms)
    shown = []
    for arm in run.arms:
        kept = [each.latencies(run.warmup_s) for each in run.of(arm)]
        for prefix in ("visible_latency", "uncorrected_latency", "latency"):
            values = [each[prefix].latency_s for each in kept if prefix in each]
            if not values:
                continue
            main = prefix == "latency"
            extra = {"visible_latency": "thin", "uncorrected_latency": "thin dotted"}.get(prefix, "")
            name = arm if run.kind == "race" else f"{arm}, {LATENCIES[prefix]}"
            label = arm if main else f"{arm} {SHORT[prefix]}"
            shown.append(Distribution(name, np.concatenate(values), f"{look[arm]} {extra}".strip(), label))
    return shown


def _verdict(run: RecordedRun, estimates: Estimates, found: list[rivalry.Rival]) -> Verdict:
    missed = [
        f"{each['arm']}: {each['threshold']}, but it was "
        + ("undefined" if each["value"] is None else f"{each['value']:.4g}")
        for each in run.thresholds
        if not each["met"]
    ]
    if run.kind == "race" and found:
        told = rivalry.finding(found)
        details = rivalry.price(run.arms, estimates)
    elif run.kind == "race" and len(run.arms) == 1:
        p50, p99 = (mean_text(estimates[run.arms[0]], f"latency_{name}_s") for name in ("p50", "p99"))
        told = f"By {run.arms[0]} half of all events were visible within {p50} and 99 % within {p99}."
        details = ("A single arm ran, so there is nothing to compare it with.",)
    elif run.kind == "race":
        told = f"No event was visible by two arms, so {' and '.join(run.arms)} cannot be compared."
        details = rivalry.price(run.arms, estimates)
    else:
        told, *further = [_endured(run, arm, estimates) for arm in run.arms]
        details = (*further, *_hidden(run, estimates))
    if run.thresholds and not missed:
        met = (
            "The threshold was met."
            if len(run.thresholds) == 1
            else f"All {len(run.thresholds)} thresholds were met."
        )
        details = (*details, met)
    if run.void:
        details = (f"Had the run been sound: {told[0].lower()}{told[1:]}", *details)
        told = "These figures are not to be trusted, and here is why."
    state: Literal["void", "missed", "good"] = "void" if run.void else "missed" if missed else "good"
    return Verdict(state, told, details, tuple(run.void) + tuple(missed))


def _endured(run: RecordedRun, arm: str, estimates: Estimates) -> str:
    """What a server took under load, in a sentence."""
    of_arm, ledger = estimates[arm], run.ledger[arm]
    failed, unsent = ledger["failed"] or 0, ledger["unsent"] or 0
    fate = "every one was answered" if not failed else f"{failed:,} of them failed"
    fate += f" and {unsent:,} were never sent" if unsent else ""
    used = "".join(
        f"; the {role} used {mean_text(of_arm, f'{role}_cpu_share')} of a core"
        for role in ("receiver", "provider")
        if f"{role}_cpu_share" in of_arm
    )
    rate = mean_text(of_arm, "achieved_rate_per_s")
    p50, p99, slowest = (mean_text(of_arm, f"latency_{name}_s") for name in ("p50", "p99", "max"))
    return (
        f"{arm}: {ledger['scheduled'] or 0:,} requests at {rate}, and {fate}: half within {p50}, 99 % within "
        f"{p99}, the slowest in {slowest} from the intended send{used}."
    )


def _hidden(run: RecordedRun, estimates: Estimates) -> tuple[str, ...]:
    """What latency from the real send would have hidden: coordinated omission, where it shows."""
    told = []
    for arm in run.arms:
        corrected = estimates[arm].get("latency_p99_s")
        uncorrected = estimates[arm].get("uncorrected_latency_p99_s")
        if corrected and uncorrected and uncorrected.mean < HIDES * corrected.mean:
            told.append(
                f"{arm}: measured from the real send, as closed-loop tools do, p99 would read only "
                f"{time_text(uncorrected.mean)} instead of {time_text(corrected.mean)}."
            )
    return tuple(told)


def _tiles(run: RecordedRun, estimates: Estimates) -> tuple[Tile, ...]:
    """Of a single arm; several are told side by side."""
    if len(run.arms) > 1:
        return ()
    of_arm = estimates[run.arms[0]]
    return tuple(
        Tile(mean_text(of_arm, metric), words)
        for metric, words in HEADLINE[run.kind].items()
        if metric in of_arm
    )


def _thresholds(run: RecordedRun, ids: Ids) -> Block | None:
    table = tables.thresholds_table(run.thresholds)
    return None if table is None else Block(ids.new("thresholds"), "Thresholds", tables=(table,))


def _paired(run: RecordedRun, found: list[rivalry.Rival], ids: Ids, *, void: bool) -> Block | None:
    if not found:
        return None
    return Block(
        ids.new("paired"),
        "The same events, arm against arm",
        figures=rivalry.figures(found, looks(run.arms), ids, void=void),
    )


def _latency(
    run: RecordedRun, shown: list[Distribution], estimates: Estimates, ids: Ids, *, void: bool
) -> Block | None:
    if not any(np.isfinite(each.latency_s).any() for each in shown):
        return None
    what = "events" if run.kind == "race" else "requests"
    done = "visible" if run.kind == "race" else "answered"
    medians, tails = (by_arm(run.arms, estimates, f"latency_{name}_s") for name in ("p50", "p99"))
    note = (
        ""
        if run.kind == "race"
        else "Thick: from the intended send, the one to believe. Dotted: from the real send, as most tools "
        "report it. Thin: until the event was visible. "
    )
    curves = cumulative(
        shown, ids, f"Half of all {what} are {done} within {medians}.", what, void=void, note=note
    )
    tail = percentiles(
        shown, ids, f"99 % of all {what} are {done} within {tails}.", what,
        marks=_bounds(run), void=void, note=note,
    )  # fmt: skip
    return Block(ids.new("latency"), "Latency", figures=(tail, curves))


def _bounds(run: RecordedRun) -> dict[str, float]:
    """The thresholds that bound a latency from above, to be drawn."""
    bounds = {}
    for each in run.thresholds:
        match = THRESHOLD.match(str(each["threshold"]))
        # A bound on the difference of two arms lies on no axis of latencies.
        whole = match is not None and match.groupdict().get("minus") is None
        if match and whole and match["metric"].startswith("latency_") and match["sign"] in {"<", "<="}:
            bounds[f"threshold {each['threshold']}"] = float(match["limit"])
    return bounds


def _over_time(run: RecordedRun, ids: Ids, *, void: bool) -> Block | None:
    look = looks(run.arms)
    done = "visible" if run.kind == "race" else "answered"
    chosen = [each for each in run.repetitions if each.run < MOST_REPETITIONS]
    lines = [
        line
        for each in chosen
        if (line := of_repetition(each, look[each.arm], done, _seconds(run, each))) is not None
    ]
    if not lines:
        return None
    left_out = len(run.repetitions) - len(chosen)
    text = (f"Repetitions after the {MOST_REPETITIONS}rd are not drawn here.",) if left_out else ()
    drawn = [(line.run, _timeline(run, line, lines, ids, void=void)) for line in lines]
    return Block(
        ids.new("time"),
        "Over time",
        text=text,
        figures=tuple(each for number, each in drawn if number == 0),
        more=tuple(each for number, each in drawn if number > 0),
    )


def _seconds(run: RecordedRun, repetition: Repetition) -> pd.DataFrame | None:
    """One repetition's rows of `timeline.csv`; None where the run has none."""
    if not (run.path / "timeline.csv").is_file():
        return None
    table = run.folder.table("timeline")
    return table[(table["arm"] == repetition.arm) & (table["run"] == repetition.run)]


def _faults(run: RecordedRun, arm: str, repetition: int) -> tuple[tuple[float, float, str], ...]:
    """What was done to a server meanwhile: from when to when, and what."""
    noted = run.folder.notes["arms"].get(f"{arm}_{repetition}", {}).get("faults", ())
    return tuple((each["begun_s"], each["ended_s"], f"{each['role']}: {each['text']}") for each in noted)


def _timeline(run: RecordedRun, line: Timeline, lines: list[Timeline], ids: Ids, *, void: bool) -> Figure:
    repetitions, spans = _repetitions(run), _faults(run, line.arm, line.run)
    peaks = {role: peak for role, peak in peak_cpu_percent(line.panels).items() if role != "generator"}
    busiest = max(peaks, key=lambda role: peaks[role], default=None)
    cpu = f"; the {busiest} used at most {peaks[busiest]:.0f} % of a core" if busiest else ""
    dots = next(curve for curve in line.panels["latency"] if curve.shape == "dots")
    label = line.arm + (f", run {line.run + 1} of {repetitions}" if repetitions > 1 else "")
    slowest = "nothing ever came"
    if dots.y.size:
        place = int(np.argmax(dots.y))
        slowest = f"the slowest took {time_text(float(dots.y[place]))}, due at {dots.x[place]:.3g} s"
    drawn = figure(line, lines, ids, f"By {line.arm} {slowest}{cpu}.", void=void, spans=spans)
    shaded = "".join(f" Shaded: {words}, {start:.3g} s to {end:.3g} s." for start, end, words in spans)
    return Figure(drawn.id, drawn.finding, drawn.how + shaded, drawn.plot, drawn.table, label)


def _server_load(run: RecordedRun, estimates: Estimates, ids: Ids, *, void: bool) -> Block | None:
    table = tables.server_costs(estimates)
    if table is None:
        return None
    drawn = tradeoff.figure(estimates, looks(run.arms), ids, void=void) if run.kind == "race" else None
    figures = () if drawn is None else (drawn,)
    return Block(ids.new("servers"), "Server load", figures=figures, tables=(table,))


def _ledger(run: RecordedRun, ids: Ids) -> Block:
    failures = [
        (label, kind, f"{count:,}")
        for label, notes in run.folder.notes["arms"].items()
        for kind, count in notes.get("failures", {}).items()
    ]
    failed = Table("Failures by kind", ("arm and run", "kind", "how many"), tuple(failures))
    unlike = dict.fromkeys(
        note for notes in run.folder.notes["arms"].values() for note in notes.get("unlike_the_model", ())
    )
    unknown = dict.fromkeys(
        note for notes in run.folder.notes["arms"].values() for note in notes.get("not_measured", ())
    )
    text = tables.balance_text(run.ledger)
    if unlike:
        text = (*text, f"Unlike the model: {'; '.join(unlike)}.")
    if unknown:
        text = (*text, f"Not measured: {'; '.join(unknown)}.")
    return Block(
        ids.new("ledger"),
        "Ledger",
        text=text,
        tables=(tables.ledger_table(run.ledger), *((failed,) if failures else ())),
    )


def _repetitions(run: RecordedRun) -> int:
    return max((len(run.of(arm)) for arm in run.arms), default=0)
