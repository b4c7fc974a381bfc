"""The page: every run read, and one HTML file made of them that needs no network and allows none."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from loadtest.report import demo, measured, other, simulated
from loadtest.report.distributions import Distribution, percentiles
from loadtest.report.drawing import draw
from loadtest.report.metrics import text_of
from loadtest.report.plot import Figure, Ids, Table
from loadtest.report.scales import time_text
from loadtest.report.section import Section
from loadtest.runs import read_recorded
from sim.errors import InputError
from sim.provenance import versions
from sim.results import read_run

MOST_CURVES = 10
MAIN_METRICS = (
    "latency_p50_s", "latency_p95_s", "latency_p99_s", "latency_max_s", "achieved_rate_per_s", "error_ratio",
    "lost_ratio", "requests_per_event", "bytes_per_event", "provider_cpu_s_per_1k", "receiver_cpu_s_per_1k",
    "provider_rss_mb", "receiver_rss_mb",
)  # fmt: skip


def write_report(runs: Sequence[str | Path], path: str | Path) -> Path:
    """Write one HTML file about one or several run folders; returns its path.

    Args:
        runs: run folders of any kind. A demo brings its load and its race with it.
        path: the file, overwritten if it exists: it can be made again from the runs.

    Raises:
        InputError: no run, not a run folder, one whose files have changed, or a file that cannot be written.
    """
    page = render(runs)
    written = Path(path)
    try:
        written.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write the report {written}: {error.strerror}") from None
    return written


def render(runs: Sequence[str | Path]) -> str:
    """The page as text; see `write_report`."""
    if not runs:
        raise InputError("report needs at least one run folder")
    ids = Ids({"top", "runs", "together"})
    sections = [section for run in runs for section in sections_of(run, ids)]
    environment = Environment(
        loader=PackageLoader("loadtest.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"draw": _drawn, "data": _data}
    style, script = (_asset(name) for name in ("report.css", "report.js"))
    together = _together(sections, ids)
    page = environment.get_template("report.html").render(
        sections=sections,
        together=together,
        metrics=_side_by_side(sections),
        differs=_differs(sections),
        style=style,
        script=script,
        policy=_policy(style, script),
        hookbench=versions()["hookbench"],
    )
    return page + "\n"


def sections_of(path: str | Path, ids: Ids) -> list[Section]:
    """A run folder as one section or, of a demo, several.

    Raises:
        InputError: not a run folder, or its files have changed.
    """
    run = read_run(path)
    if not run.complete:
        return [other.section(run, ids)]
    notes = run.notes
    if {"load", "race", "sentences"} <= notes.keys():
        inner = [read_recorded(run.path / str(notes[name])) for name in ("race", "load")]
        return [demo.section(run, inner[0], ids), *(measured.section(each, ids) for each in inner)]
    if "ledger" in notes and "arms" in notes:
        return [measured.section(read_recorded(path), ids)]
    if {"engine", "replications"} <= notes.keys() and (run.path / "summary.csv").is_file():
        return [simulated.section(read_recorded(path), ids)]
    return [other.section(run, ids)]


def _together(sections: Sequence[Section], ids: Ids) -> Figure | None:
    """The latencies of all runs on one scale; None for fewer than two that have any."""
    shown: list[Distribution] = []
    concerned = [section for section in sections if section.curves]
    for number, section in enumerate(sections, 1):
        for curve in section.curves:
            look = f"c{len(shown) % 6} d{len(shown) % 10}"
            arm = curve.label
            shown.append(
                Distribution(f"run {number}, {section.kind}: {arm}", curve.latency_s, look, f"{number} {arm}")
            )
    if len(concerned) < 2:
        return None
    told = "; ".join(f"{time_text(each.quantile(0.99))} in {each.name}" for each in shown[:MOST_CURVES])
    more = len(shown) - MOST_CURVES
    note = f"{more} further curves are drawn in their own sections only. " if more > 0 else ""
    return percentiles(shown[:MOST_CURVES], ids, f"p99: {told}.", "events or requests", note=note)


def _side_by_side(sections: Sequence[Section]) -> Table | None:
    """The main metrics of all runs, a column an arm of a run; None for a single run."""
    columns = [
        (f"{number} {arm}", of_arm)
        for number, section in enumerate(sections, 1)
        for arm, of_arm in section.estimates.items()
    ]
    if len([section for section in sections if section.estimates]) < 2:
        return None
    rows = tuple(
        (metric, *(text_of(of_arm, metric) for _, of_arm in columns))
        for metric in MAIN_METRICS
        if any(metric in of_arm for _, of_arm in columns)
    )
    head = ("metric", *(name for name, _ in columns))
    return Table(
        "Main metrics, a column an arm of a run", head, rows, "± half a 95 % interval where a run has one."
    )


def _differs(sections: Sequence[Section]) -> list[str]:
    """What stands in the way of comparing the runs, in words."""
    told = []
    if len({section.machine for section in sections}) > 1:
        told.append("The runs were made on different machines.")
    if len({section.digest for section in sections}) > 1:
        told.append("Their scenarios differ, a rate or a duration given on the command line included.")
    if len({section.kind == "simulate" for section in sections}) > 1:
        told.append("Some are simulated, some measured.")
    if any(section.verdict.void for section in sections):
        told.append("At least one is void.")
    return told


def _drawn(figure: Figure) -> Markup:
    return draw(figure.plot, f"Figure: {figure.heading or figure.table.caption}", f"{figure.id}-finding")


def _data(figure: Figure) -> Markup:
    """The figure's readable data as JSON that cannot end the script element it stands in."""
    text = json.dumps(figure.plot.readable(), separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    harmless = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(harmless)  # noqa: S704 - no character is left that HTML gives a meaning


def _asset(name: str) -> str:
    return resources.files("loadtest.report").joinpath("templates", name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """A Content-Security-Policy that runs what is in this file and fetches nothing.

    See https://www.w3.org/TR/CSP3/#framework-directive-source-list for hash sources.
    """
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    rules: dict[str, Any] = {
        "default-src": "'none'",
        "style-src": f"'sha256-{hashes[0]}'",
        "script-src": f"'sha256-{hashes[1]}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {source}" for name, source in rules.items())
