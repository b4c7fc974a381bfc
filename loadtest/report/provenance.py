"""What a run was asked and what it ran on, as tables: enough to run it again and to distrust it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tomli_w

from loadtest.report.plot import Ids, Table
from loadtest.report.section import Block
from sim.results import Run


def scenario_block(run: Run, ids: Ids) -> Block | None:
    """The scenario as it ran, every default written out; None when there was none."""
    described = run.document["scenario"]
    if described is None:
        return None
    values = dict(described["values"])
    text = str(values.get("description") or "").strip()
    return Block(
        ids.new("scenario"),
        "Scenario",
        text=(text,) if text else (),
        source=tomli_w.dumps(_without_nothing(values)),
    )


def provenance_block(run: Run, ids: Ids, arms: Mapping[str, Mapping[str, Any]]) -> Block:
    """Command, code, machine, versions, seeds and hashes.

    Args:
        run: whose.
        ids: of the page.
        arms: what each arm's run noted, by its label.
    """
    document = run.document
    commit = str(document["commit"] or "not a git clone")
    facts = [
        ("command", str(document["command"])),
        ("run folder", run.path.name),
        ("status", "complete" if run.complete else f"incomplete: {run.reason}"),
        ("started", str(document["start"])),
        ("took", "–" if document["duration_s"] is None else f"{document['duration_s']:g} s"),
        ("code", commit + (", with changes not committed" if document["dirty"] else "")),
        ("seeds", ", ".join(str(seed) for seed in document["seeds"][:20])),
        *((key.replace("_", " "), str(value)) for key, value in document["machine"].items()),
    ]
    described = document["scenario"]
    if described is not None:
        facts += [("scenario SHA-256", described["digest"])]
        facts += [("trace SHA-256", described["trace_sha256"])] if "trace_sha256" in described else []
    facts += [
        (f"{label}: {name.replace('_', ' ')}", _told(value))
        for label, notes in arms.items()
        for name, value in notes.items()
        if name in {"event_loops", "cpus", "idle_cpu_per_s", "seed", "run_id", "interval_s", "pollers"}
    ]
    versions = tuple((name, str(version)) for name, version in document["versions"].items())
    files = tuple(
        (name, f"{listed['bytes']:,}", str(listed["sha256"])) for name, listed in document["files"].items()
    )
    return Block(
        ids.new("provenance"),
        "Provenance",
        tables=(Table("How this run was made", ("what", "value"), tuple(facts)),),
        folded=(
            Table("Versions", ("package", "version"), versions),
            Table(
                "Files of the run folder, verified when this report was made",
                ("file", "bytes", "SHA-256"),
                files,
            ),
        ),
    )


def machine_text(document: Mapping[str, Any]) -> str:
    """The machine and its system in one line."""
    machine = document["machine"]
    return f"{machine.get('cpu_usable')} of {machine.get('cpu_count')} cores of {machine.get('cpu_model')}"


def _told(value: object) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key} {_told(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(_told(each) for each in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else str(value)


def _without_nothing(value: Any) -> Any:
    """TOML has no null: a key without a value is left out."""
    if isinstance(value, dict):
        return {key: _without_nothing(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nothing(each) for each in value if each is not None]
    return value
