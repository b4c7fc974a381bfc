"""The report of any other run folder, or of an incomplete one: its notes, tables and pictures as they are."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

import pandas as pd

from loadtest.report.plot import Ids, Table
from loadtest.report.provenance import machine_text, provenance_block, scenario_block
from loadtest.report.section import Block, Image, Section, State, Verdict
from sim.results import Run
from sim.tables import number_text

FINDINGS = ("sentences", "sentence", "finding")
"""Notes in which a run says in words what it found."""

FEW_ROWS, MOST_ROWS = 30, 200
MOST_IMAGE_BYTES = 400_000
MOST_IMAGES = 8


def section(run: Run, ids: Ids) -> Section:
    """Whatever a run folder holds, as a section of the page."""
    document, notes = run.document, run.notes
    reasons = [str(reason) for reason in notes.get("void") or ()]
    missed = [
        f"{each.get('arm')}: {each.get('threshold')}"
        for each in notes.get("thresholds") or ()
        if not each.get("met")
    ]
    failed = notes.get("passed") is False
    state: State = "void" if reasons else "failed" if failed else "missed" if missed else "good"
    told = (notes.get(name) for name in FINDINGS)
    end = "ended, and did not pass; its tables tell where" if failed else "ended normally"
    finding = str(next(filter(None, told), f"The run {document['name']} {end}."))
    if not run.complete:
        state, reasons = "incomplete", [f"the run is incomplete: {run.reason}", *reasons]
        finding = "This run did not reach its end; what it left is no result."
    images = sorted(run.path.glob("*.png")) if run.complete else []
    drawn = tuple(
        Image(path.stem.replace("_", " "), base64.b64encode(path.read_bytes()).decode())
        for path in images[:MOST_IMAGES]
        if path.stat().st_size <= MOST_IMAGE_BYTES
    )
    blocks = [
        Block(ids.new("pictures"), "Pictures", images=drawn) if drawn else None,
        _tables(run, ids) if run.complete else None,
        Block(ids.new("notes"), "Notes", folded=(_notes(notes),)) if notes else None,
        scenario_block(run, ids),
        provenance_block(run, ids, {}),
    ]
    described = document["scenario"]
    title = (
        str(document["name"])
        if described is None
        else str(described["values"].get("title") or document["name"])
    )
    return Section(
        id=ids.new(run.path.name),
        kind=str(document["name"]).partition("-")[0],
        title=title,
        folder=run.path.name,
        start=str(document["start"]),
        command=str(document["command"]),
        verdict=Verdict(state, finding, (), (*reasons, *missed)),
        tiles=(),
        blocks=tuple(block for block in blocks if block is not None),
        machine=machine_text(document),
        digest="" if described is None else str(described["digest"]),
    )


def _tables(run: Run, ids: Ids) -> Block | None:
    """Its tables, the short ones open."""
    tables = [_table(run.table(path.stem), path.name) for path in sorted(run.path.glob("*.csv"))]
    if not tables:
        return None
    return Block(
        ids.new("tables"),
        "Tables",
        tables=tuple(table for table in tables if len(table.rows) <= FEW_ROWS),
        folded=tuple(table for table in tables if len(table.rows) > FEW_ROWS),
    )


def _table(frame: pd.DataFrame, name: str) -> Table:
    rows = tuple(
        tuple(_cell(value) for value in row) for row in frame.head(MOST_ROWS).itertuples(index=False)
    )
    more = len(frame) - len(rows)
    note = f"{more:,} further rows are in the run folder." if more > 0 else ""
    return Table(name, tuple(str(column) for column in frame.columns), rows, note)


def _notes(notes: Mapping[str, object]) -> Table:
    rows = tuple((name, json.dumps(value, ensure_ascii=False)) for name, value in notes.items())
    return Table("What the run noted", ("note", "value"), rows)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "–" if pd.isna(value) else number_text(value, 5)
    return str(value)
